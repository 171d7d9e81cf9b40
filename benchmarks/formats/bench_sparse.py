"""Layers of pruned weights without their zeros, against the same layers with them."""

import warnings
from functools import partial

import numpy as np
from case import Case, Contenders, Target, agreeing, blas, weights
from numpy.typing import NDArray
from peers import module, torch

import pyfq
from pyfq import reference

# torch says that its sparse CSR tensors are in beta.
warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
scipy_sparse = module("scipy.sparse")

FASTER = (Target("speed", "pyfq dense", 1),)

# Of each kind its format, the bits of a value, and what prunes for it.
KINDS = {
    "csr 95 %": ("csr", 32, lambda w: pyfq.prune_ratio(w, 0.95)),
    "2:4": ("nm", 32, lambda w: pyfq.prune_nm(w, 2, 4)),
    "2:4 int8": ("nm", 8, lambda w: pyfq.prune_nm(w, 2, 4)),
    "rows 50 %": ("rows", 32, lambda w: pyfq.prune_rows(w, 0.5)),
}

SHORT = tuple(f"{kind} {m} x 1024 x 1024" for kind in KINDS for m in (1, 64))


def cases(quick: bool) -> list[Case]:
    shapes = [(8, 64, 96)] if quick else [*((m, 1024, 1024) for m in (1, 64, 512)), (1, 4096, 4096)]
    return [case(kind, *shape) for kind in KINDS for shape in shapes]


def case(kind: str, m: int, k: int, n: int) -> Case:
    format, bits, _ = KINDS[kind]
    kept = n * k - round(0.95 * n * k) if format == "csr" else n * k // 2
    # Columns and counts, places of 2 bits, or rows; and steps of codes.
    where = {"csr": 4 * kept + 8 * (n + 1), "nm": kept // 4, "rows": 4 * n}[format]
    held = kept * bits // 8 + where + 4 * n * (bits == 8)
    return Case(
        f"{kind} {m} x {k} x {n}", partial(layer, kind, m, k, n), moved=held + 4 * m * (k + n),
        elements=m * n, flops=2 * m * kept, unit="int8" if bits == 8 else "float32",
        targets=FASTER,
    )  # fmt: skip


def layer(kind: str, m: int, k: int, n: int) -> Contenders:
    format, bits, prune = KINDS[kind]
    x = np.random.default_rng(1).standard_normal((m, k), np.float32)
    w = prune(weights((n, k))).weights
    return codes(x, w, format) if bits == 8 else floats(x, w, format)


def floats(x: NDArray, w: NDArray, format: str) -> Contenders:
    sparse, dense = pyfq.to_sparse(w, format), pyfq.prepare(w, batch=len(x))
    contenders: Contenders = {
        "pyfq": lambda: pyfq.linear(x, sparse),
        "reference": lambda: reference.linear(x, w),
        "pyfq dense": lambda: pyfq.linear(x, dense),
        "numpy matmul": blas(lambda: x @ w.T),
    }
    if format == "rows":
        contenders["numpy matmul of the rows"] = blas(partial(rows_in_numpy, x, sparse))
    if scipy_sparse:
        held = scipy_sparse.csr_array(w)
        contenders["scipy csr_array"] = lambda: (held @ x.T).T
    if torch:
        tx, tw = torch.from_numpy(x), torch.from_numpy(w).to_sparse_csr()
        contenders["torch sparse CSR"] = lambda: (tw @ tx.T).T
    return agreeing(contenders, 1e-5)


def rows_in_numpy(x: NDArray, w: pyfq.Sparse) -> NDArray:
    y = np.zeros((len(x), w.shape[0]), x.dtype)
    y[:, w.rows] = x @ w.values.T
    return y


def codes(x: NDArray, w: NDArray, format: str) -> Contenders:
    """Return layers of codes with activations of 8 bits."""
    q = pyfq.quantize(w)
    sparse = pyfq.to_sparse(q, format)
    dense = pyfq.prepare(q, activation_bits=8, batch=len(x))
    contenders: Contenders = {
        "pyfq": lambda: pyfq.linear(x, sparse, activation_bits=8),
        "pyfq dense": lambda: pyfq.linear(x, dense),
    }
    if w.size <= 2**20:
        contenders["reference"] = lambda: reference.linear(x, q, activation_bits=8)
    return agreeing(contenders, 0)
