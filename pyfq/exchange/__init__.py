"""Networks from other libraries, and for them; those are imported on first use.

| to | call | in |
|---|---|---|
| take a fitted MLP of scikit-learn | `from_sklearn` | `sklearn.py` |
| take a Sequential of PyTorch | `from_torch` | `torch.py`, `torch_modules.py`, `torch_tensors.py` |
| take weights and biases by name | `from_arrays` | `arrays.py`, `array_names.py` |
| write them by name | `to_npz` | `arrays.py` |
| take a chain of layers from an ONNX file | `from_onnx` | `../onnx_graph` |
| write one | `to_onnx` | `../onnx_graph` |

An importer takes what an object of the other library computes. What it can't be sure of it refuses
by name: `overrides.py` finds what subclasses and instances do in another way than their library.
"""

from .arrays import from_arrays, to_npz
from .sklearn import from_sklearn
from .torch import from_torch

__all__ = ["from_arrays", "from_sklearn", "from_torch", "to_npz"]
