"""Every kernel again in a few lines of NumPy: the specification the Fortran must meet.

The names and arguments are those of the functions they specify; validation is left out, and results
are plain arrays. Reading them needs no compiled code.
"""

from .arrays.activation import activate
from .arrays.codebook import (
    calibrate_codebook,
    dequantize_codebook,
    fit_codebook,
    quantize_codebook,
)
from .arrays.convert import cast_from, cast_to
from .arrays.distortion import distortion
from .arrays.entropy import entropy_decode, entropy_encode
from .arrays.lossless import lossless_decode, lossless_encode
from .arrays.observer import count_bins
from .arrays.pack import pack, unpack
from .arrays.prune import (
    prune_global,
    prune_nm,
    prune_percentile,
    prune_ratio,
    prune_rows,
    prune_threshold,
)
from .arrays.quantize import dequantize, fake_quantize, quantize, quantize_fixed_point
from .arrays.rate import quantize_rate
from .arrays.select import select_kth
from .formats.sparse import linear_sparse, to_sparse
from .learning.train import train_epoch
from .networks.derivatives import jvp_network, vjp_network
from .networks.network import count_outside, forward_network
from .products.integer import matmul_integer, quantized_matmul
from .products.linear import linear
from .products.lowrank import svd_lowrank
from .products.matmul import matmul
from .products.mixed import linear_half, to_half

__all__ = [
    "activate",
    "calibrate_codebook",
    "cast_from",
    "cast_to",
    "count_bins",
    "count_outside",
    "dequantize",
    "dequantize_codebook",
    "distortion",
    "entropy_decode",
    "entropy_encode",
    "fake_quantize",
    "fit_codebook",
    "forward_network",
    "jvp_network",
    "linear",
    "linear_half",
    "linear_sparse",
    "lossless_decode",
    "lossless_encode",
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
    "quantize_rate",
    "quantized_matmul",
    "select_kth",
    "svd_lowrank",
    "to_half",
    "to_sparse",
    "train_epoch",
    "unpack",
    "vjp_network",
]
