"""Every kernel again in a few lines of NumPy: the specification the Fortran must meet.

The names and arguments are those of the functions they specify; validation is left out, and results
are plain arrays. Reading them needs no compiled code.
"""

from .activation import activate
from .codebook import calibrate_codebook, dequantize_codebook, fit_codebook, quantize_codebook
from .convert import cast_from, cast_to
from .distortion import distortion
from .integer import matmul_integer, quantized_matmul
from .linear import linear
from .lowrank import svd_lowrank
from .matmul import matmul
from .mixed import linear_half, to_half
from .network import forward_network
from .observer import count_bins
from .pack import pack, unpack
from .prune import (
    prune_global,
    prune_nm,
    prune_percentile,
    prune_ratio,
    prune_rows,
    prune_threshold,
)
from .quantize import dequantize, fake_quantize, quantize, quantize_fixed_point
from .select import select_kth
from .sparse import linear_sparse, to_sparse
from .train import train_epoch

__all__ = [
    "activate",
    "calibrate_codebook",
    "cast_from",
    "cast_to",
    "count_bins",
    "dequantize",
    "dequantize_codebook",
    "distortion",
    "fake_quantize",
    "fit_codebook",
    "forward_network",
    "linear",
    "linear_half",
    "linear_sparse",
    "matmul",
    "matmul_integer",
    "pack",
    "prune_global",
    "prune_nm",
    "prune_percentile",
    "prune_ratio",
    "prune_rows",
    "prune_threshold",
    "quantize",
    "quantize_codebook",
    "quantize_fixed_point",
    "quantized_matmul",
    "select_kth",
    "svd_lowrank",
    "to_half",
    "to_sparse",
    "train_epoch",
    "unpack",
]
