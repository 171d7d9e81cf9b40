"""Array in, array out: select, prune, quantize, pack, convert, measure."""
