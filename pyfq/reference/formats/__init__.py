"""Reference of `pyfq.formats`."""
