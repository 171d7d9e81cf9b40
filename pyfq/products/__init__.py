"""Products of matrices, matrices as products, and layers with weights in any form."""
