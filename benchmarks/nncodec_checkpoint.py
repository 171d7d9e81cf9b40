"""Compress the matrices of a checkpoint with NNCodec (ISO/IEC 15938-17) and write what comes back.

NNCodec needs an older NumPy than pyfq, and so an environment of its own:

    python -m venv other && other/bin/pip install nncodec==2.1.3 safetensors
    other/bin/python benchmarks/nncodec_checkpoint.py model.safetensors 0.003 -o nncodec.safetensors
    python benchmarks/sentences.py --checkpoint nncodec.safetensors

Tables of positions and of token types stay as they are.  Steps are in proportion to the root mean
square of a matrix and to the 0.4th power of its size; `pyfq compress` takes the 0.34th ... 0.45th.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from nncodec import nnc
from safetensors.numpy import load_file, save_file

LEFT_OUT = ("position", "token_type")


def qp_of(step: float) -> int:
    """Return the quantization parameter whose step is the nearest; four of them double a step."""
    return min(range(-80, 20), key=lambda qp: abs(math.log2(step_of(qp) / step)))


def step_of(qp: int) -> float:
    """Return the step of a quantization parameter."""
    return (4 + (qp & 3)) * 2.0 ** ((qp >> 2) - 2)


parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("source", type=Path)
parser.add_argument("steps", type=float, help="step of a matrix of one weight of magnitude 1")
parser.add_argument("-o", "--output", type=Path, required=True)
args = parser.parse_args()

model = load_file(args.source)
matrices = {
    name: w
    for name, w in model.items()
    if w.ndim == 2 and w.dtype == np.float32 and not any(word in name for word in LEFT_OUT)
}
qps = {
    name: qp_of(args.steps * float(np.sqrt(np.mean(w.astype(np.float64) ** 2))) * w.size**0.4)
    for name, w in matrices.items()
}
with tempfile.TemporaryDirectory() as directory:
    path = str(Path(directory) / "stream.nnc")
    started = time.perf_counter()
    stream = nnc.compress(
        matrices, bitstream_path=path, qp_per_tensor=qps, use_dq=True, return_bitstream=True
    )
    written = time.perf_counter()
    decoded = nnc.decompress(path)
    read = time.perf_counter()
for name, w in matrices.items():
    model[name] = np.ascontiguousarray(decoded[name], np.float32).reshape(w.shape)
save_file(model, args.output)
bits = 8 * len(stream) / sum(w.size for w in matrices.values())
print(
    f"{bits:.3f} bits a weight, {written - started:.1f} s to write, {read - written:.1f} s to read"
)
