"""How weights lie in memory, and how each kernel multiplies by them."""
