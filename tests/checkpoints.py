"""Checkpoints as arrays."""

import numpy as np

from pyfq.io import open_checkpoint


def tensors_of(path):
    """Return the arrays of a checkpoint by name."""
    with open_checkpoint(path) as checkpoint:
        return {name: np.array(checkpoint[name]) for name in checkpoint}


def same(a, b):
    """Assert that two checkpoints have the same arrays under the same names."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)
