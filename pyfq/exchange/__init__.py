"""What names and arrays in files and in other libraries mean; those are imported on first use.

| to | call | in |
|---|---|---|
| take a fitted MLP of scikit-learn | `from_sklearn` | `sklearn.py` |
| take a Sequential of PyTorch | `from_torch` | `torch.py`, `torch_modules.py`, `torch_tensors.py` |
| make one | `to_torch` | `torch_writer.py` |
| take weights and biases by name | `from_arrays` | `arrays.py`, `array_names.py` |
| write them by name | `to_npz` | `arrays.py` |
| take a chain of layers from an ONNX file | `from_onnx` | `onnx` |
| write one | `to_onnx` | `onnx` |
| write a network to safetensors, exactly | `save_network` | `save.py`, `network_format.py` |
| read it | `load_network` | `save.py`, `network_format.py` |

What the tensors of a compressed checkpoint mean:

| | in |
|---|---|
| what is done to a tensor | `rule.py`, `methods` |
| what its rows are | `rows.py` |
| the parts that it becomes in a file | `stored.py`, `compressed_tensors.py`, `floats.py` |
| what a file says of that | `manifest.py`, `contents.py` |
| the tensors of a file as what they are: `load_checkpoint` | `compressed_checkpoint.py` |

An importer takes what an object of the other library computes. What it can't be sure of it refuses
by name: `overrides.py` finds what subclasses and instances do in another way than their library.
"""

from .arrays import from_arrays, to_npz
from .compressed_checkpoint import load_checkpoint
from .onnx import from_onnx, to_onnx
from .save import load_network, save_network
from .sklearn import from_sklearn
from .torch import from_torch
from .torch_writer import to_torch

__all__ = [
    "from_arrays",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "load_checkpoint",
    "load_network",
    "save_network",
    "to_npz",
    "to_onnx",
    "to_torch",
]
