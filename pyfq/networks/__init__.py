"""Networks: their layers, their forward pass, and what is done to them as a whole."""
