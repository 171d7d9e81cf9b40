"""Neural-network compression with Fortran kernels."""

from ._core import command as _command  # noqa: F401 -- first: all else takes a while

# isort: split
import importlib
from typing import TYPE_CHECKING, Any

from . import reference
from ._core.config import show_config
from ._core.grid import PerColumn, PerGroup, PerRow, PerTensor
from ._core.threads import get_num_threads, num_threads, set_num_threads
from ._native import _build, isa
from .arrays.activation import activate
from .arrays.allocate import Allocation, allocate_bits
from .arrays.codebook import Codebook, quantize_codebook
from .arrays.convert import cast_from, cast_to
from .arrays.distortion import Distortion, distortion
from .arrays.entropy import EntropyHeader, entropy_decode, entropy_encode, entropy_header
from .arrays.half import Half, to_half
from .arrays.lossless import lossless_decode, lossless_encode
from .arrays.observer import Observer
from .arrays.pack import pack, unpack
from .arrays.prune import (
    Pruned,
    prune_global,
    prune_nm,
    prune_percentile,
    prune_ratio,
    prune_rows,
    prune_threshold,
)
from .arrays.quantize import Quantized, fake_quantize, quantize, quantize_fixed_point
from .arrays.rate import RateQuantized, quantize_rate
from .arrays.select import select_kth
from .errors import FqError
from .formats.sparse import Sparse, to_sparse
from .learning.distill import Hint, distill
from .learning.evaluate import Evaluation, evaluate
from .learning.fake_quantize import FakeQuantize
from .learning.losses import soften
from .learning.optimizers import SGD, Adam, AdamW, Schedule
from .learning.shrink import LayerTrial, Shrunk, prune_layers, prune_neurons
from .learning.train import Epoch, Training, train
from .networks.correct_bias import correct_bias
from .networks.equalize import equalize
from .networks.layer import Dense
from .networks.network import Network
from .products.fastest import Fastest, fastest
from .products.integer import matmul_integer, quantized_matmul
from .products.linear import Prepared, linear, prepare
from .products.lowrank import LowRank, break_even_rank, svd_lowrank
from .products.matmul import matmul

if TYPE_CHECKING:
    from . import io as io
    from . import plot as plot
    from . import recipes as recipes
    from .exchange import (
        from_arrays,
        from_onnx,
        from_sklearn,
        from_torch,
        load_checkpoint,
        load_network,
        save_network,
        to_npz,
        to_onnx,
        to_torch,
    )
    from .learning.estimators import StudentClassifier as StudentClassifier
    from .learning.estimators import StudentRegressor as StudentRegressor

__version__: str = _build.VERSION

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Allocation",
    "Codebook",
    "Dense",
    "Distortion",
    "EntropyHeader",
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
    "RateQuantized",
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
    "entropy_decode",
    "entropy_encode",
    "entropy_header",
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
    "load_checkpoint",
    "load_network",
    "lossless_decode",
    "lossless_encode",
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
    "quantize_rate",
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
    "to_torch",
    "train",
    "unpack",
]

# Programs without files and other libraries do not wait for what only these need.
_PARTS = ("io", "plot", "recipes")
_EXCHANGE = (
    "from_arrays", "from_onnx", "from_sklearn", "from_torch", "load_checkpoint", "load_network",
    "save_network", "to_npz", "to_onnx", "to_torch",
)  # fmt: skip
# They need scikit-learn: not in `__all__`, so that `from pyfq import *` does without it.
_ESTIMATORS = ("StudentClassifier", "StudentRegressor")


def __getattr__(name: str) -> Any:
    """Return a part of pyfq, a function of `pyfq.exchange` or an estimator, imported when used."""
    if name in _PARTS:
        return importlib.import_module(f".{name}", __name__)
    home = ".exchange" if name in _EXCHANGE else ".learning.estimators"
    if name not in _EXCHANGE + _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, those as well that are imported on their first use."""
    return sorted({*__all__, *_PARTS, *_ESTIMATORS, "__version__"})
