"""Neural-network compression with Fortran kernels."""

from . import reference
from ._native import _build, isa
from .activation import activate
from .allocate import Allocation, allocate_bits
from .codebook import Codebook, quantize_codebook
from .configuration import show_config
from .convert import cast_from, cast_to
from .correct_bias import correct_bias
from .distill import distill
from .distortion import Distortion, distortion
from .equalize import equalize
from .errors import FqError
from .evaluate import Evaluation, evaluate
from .exchange import from_arrays, from_sklearn, from_torch, to_npz
from .fastest import Fastest, fastest
from .integer import matmul_integer, quantized_matmul
from .linear import Prepared, linear, prepare
from .losses import soften
from .lowrank import LowRank, break_even_rank, svd_lowrank
from .matmul import matmul
from .mixed import Half, to_half
from .network import Dense, Network
from .observer import Observer
from .onnx_graph import from_onnx, to_onnx
from .pack import pack, unpack
from .prune import (
    Pruned,
    prune_global,
    prune_nm,
    prune_percentile,
    prune_ratio,
    prune_rows,
    prune_threshold,
)
from .quantize import Quantized, fake_quantize, quantize, quantize_fixed_point
from .select import select_kth
from .shrink import LayerTrial, Shrunk, prune_layers, prune_neurons
from .sparse import Sparse, to_sparse
from .store import load_network, save_network
from .threads import get_num_threads, num_threads, set_num_threads
from .train import SGD, Adam, AdamW, Epoch, FakeQuantize, Hint, Schedule, Training, train
from .types import PerColumn, PerGroup, PerRow, PerTensor

__version__: str = _build.VERSION

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Allocation",
    "Codebook",
    "Dense",
    "Distortion",
    "Epoch",
    "Evaluation",
    "FakeQuantize",
    "Fastest",
    "FqError",
    "Half",
    "Hint",
    "LayerTrial",
    "LowRank",
    "Network",
    "Observer",
    "PerColumn",
    "PerGroup",
    "PerRow",
    "PerTensor",
    "Prepared",
    "Pruned",
    "Quantized",
    "Schedule",
    "Shrunk",
    "Sparse",
    "Training",
    "activate",
    "allocate_bits",
    "break_even_rank",
    "cast_from",
    "cast_to",
    "correct_bias",
    "distill",
    "distortion",
    "equalize",
    "evaluate",
    "fake_quantize",
    "fastest",
    "from_arrays",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "get_num_threads",
    "isa",
    "linear",
    "load_network",
    "matmul",
    "matmul_integer",
    "num_threads",
    "pack",
    "prepare",
    "prune_global",
    "prune_layers",
    "prune_neurons",
    "prune_nm",
    "prune_percentile",
    "prune_ratio",
    "prune_rows",
    "prune_threshold",
    "quantize",
    "quantize_codebook",
    "quantize_fixed_point",
    "quantized_matmul",
    "reference",
    "save_network",
    "select_kth",
    "set_num_threads",
    "show_config",
    "soften",
    "svd_lowrank",
    "to_half",
    "to_npz",
    "to_onnx",
    "to_sparse",
    "train",
    "unpack",
]
