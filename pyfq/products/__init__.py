"""Products of matrices, and layers with weights in any form."""
