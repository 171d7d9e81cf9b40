"""Reference of `pyfq.arrays`."""
