"""Checkpoint files: bytes on disk, arrays in memory, no arithmetic.

| to | call |
|---|---|
| read any checkpoint | `open_checkpoint` |
| read one file | `open_safetensors`, `open_npz` |
| write one file | `write_safetensors`, `write_npz` |
| write one file tensor by tensor | `SafetensorsWriter`, `aligned_order` |
| read, write the index of shards | `read_index`, `write_index` |

Reading returns lazy, read-only mappings from names to arrays, with `dtypes` in the words of
safetensors and `shapes`. Writing replaces the target when the file is complete, never before. A
file that breaks the rules of its format raises `FormatError`, which names it and says why.
"""

from pyfq.io.checkpoint import Checkpoint, open_checkpoint
from pyfq.io.errors import FormatError
from pyfq.io.npz import NpzFile, open_npz, write_npz
from pyfq.io.safetensors import SafetensorsFile, open_safetensors
from pyfq.io.safetensors_writer import SafetensorsWriter, aligned_order, write_safetensors
from pyfq.io.sharded import read_index, write_index

__all__ = [
    "Checkpoint",
    "FormatError",
    "NpzFile",
    "SafetensorsFile",
    "SafetensorsWriter",
    "aligned_order",
    "open_checkpoint",
    "open_npz",
    "open_safetensors",
    "read_index",
    "write_index",
    "write_npz",
    "write_safetensors",
]
