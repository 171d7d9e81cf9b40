"""Array in, array out: select, prune, quantize, factorize, pack, convert, measure."""
