"""Reference of `pyfq.learning`."""
