"""Reference of `pyfq.networks`."""
