"""Reference of `pyfq.products`."""
