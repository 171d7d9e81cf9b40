"""Every kernel again in a few lines of NumPy."""
