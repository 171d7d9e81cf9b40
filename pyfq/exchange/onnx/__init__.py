"""Networks from ONNX files, and in them; the package onnx is imported on first use.

Reading goes from file to network through the modules in this order:

| module | does |
|---|---|
| `file` | bytes to a ModelProto, and data that lie beside it |
| `nodes` | which nodes the output needs, in order; what errors call them; shapes of results |
| `constants` | what does not depend on the input becomes arrays |
| `functions` | groups of elementwise nodes become activation functions |
| `operators` | one node becomes operations of `pyfq.networks.operations` |
| `reader` | the way from the input to the output: `from_onnx` |

`writer` is the other way, `to_onnx`.
"""

from .reader import from_onnx
from .writer import to_onnx

__all__ = ["from_onnx", "to_onnx"]
