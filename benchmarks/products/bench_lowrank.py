"""Low rank by random projection, against other libraries at the same error, and all of the SVD."""

from collections.abc import Callable
from functools import partial

import numpy as np
from case import Case, Contenders, PerThreads, Target, blas, weights
from numpy.typing import NDArray
from peers import module, threadpoolctl, torch

import pyfq

extmath = module("sklearn.utils.extmath")
# Those of SciPy and of NumPy: each has a BLAS of its own.
controller = extmath and threadpoolctl and threadpoolctl.ThreadpoolController()

OVERSAMPLING = 10
FASTER = (Target("speed", "sklearn randomized_svd", 2),)
# Entries of the largest matrix whose whole SVD is timed: that of a larger one takes seconds.
MOST_WHOLE = 2**20

SHORT = ("1536 x 384 rank 32", "2048 x 2048 rank 128")


def cases(quick: bool) -> list[Case]:
    shapes = [(96, 64)] if quick else [(1536, 384), (2048, 2048)]
    return [case(m, n, rank) for m, n in shapes for rank in ((8,) if quick else (32, 128))]


def case(m: int, n: int, rank: int) -> Case:
    # Products with the matrix: of each block by it and its transpose, and of the left factor.
    blocks, vectors = 6 if rank < 0.1 * min(m, n) else 4, -(-(rank + OVERSAMPLING) // 2)
    flops = 2 * m * n * (2 * blocks * vectors + rank)
    return Case(
        f"{m} x {n} rank {rank}", partial(factors, m, n, rank), moved=4 * (m * n + rank * (m + n)),
        elements=m * n, flops=flops, unit="float32", targets=FASTER,
    )  # fmt: skip


def factors(m: int, n: int, rank: int) -> Contenders:
    w = decaying(m, n)
    contenders: Contenders = {"pyfq": lambda: by_pyfq(w, rank)}
    if controller:
        contenders["sklearn randomized_svd"] = PerThreads(partial(limited, by_sklearn, w, rank))
    if torch:
        contenders["torch.svd_lowrank"] = lambda: by_torch(w, rank)
    if w.size <= MOST_WHOLE:
        contenders["numpy linalg.svd"] = blas(lambda: by_numpy(w, rank))
        contenders["pyfq exact"] = lambda: by_pyfq(w, rank, method="exact")
    return equally_good(contenders, w)


def decaying(m: int, n: int) -> NDArray:
    """Return weights whose singular values fall by a few times, as those of trained layers."""
    return weights((m, n)) * np.geomspace(1, 0.1, n, dtype=np.float32)


def by_pyfq(w: NDArray, rank: int, method: str = "randomized") -> tuple[NDArray, NDArray]:
    low = pyfq.svd_lowrank(w, rank, method=method, oversampling=OVERSAMPLING)
    return low.u, low.v


def by_sklearn(w: NDArray, rank: int) -> tuple[NDArray, NDArray]:
    u, s, vt = extmath.randomized_svd(w, rank, n_oversamples=OVERSAMPLING, random_state=0)
    return u * s, vt


def by_torch(w: NDArray, rank: int) -> tuple[NDArray, NDArray]:
    iterations = 7 if rank < 0.1 * min(w.shape) else 4
    matrix = torch.from_numpy(w)
    u, s, v = torch.svd_lowrank(matrix, q=rank + OVERSAMPLING, niter=iterations)
    return (u * s)[:, :rank].numpy(), v[:, :rank].numpy().T


def by_numpy(w: NDArray, rank: int) -> tuple[NDArray, NDArray]:
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    return u[:, :rank] * s[:rank], vt[:rank]


def limited(
    call: Callable[[NDArray, int], object], w: NDArray, rank: int, threads: int
) -> Callable[[], object]:
    def run() -> object:
        with controller.limit(limits=threads, user_api="blas"):
            return call(w, rank)

    return run


def equally_good(contenders: Contenders, w: NDArray) -> Contenders:
    """Return the contenders; an error if another one is nearer to the weights by 0.2 %."""
    errors = {}
    for name, call in contenders.items():
        left, right = call.make(1)() if isinstance(call, PerThreads) else call()
        errors[name] = np.linalg.norm(w - left.astype(np.float64) @ right)
    for name in errors.keys() - {"numpy linalg.svd", "pyfq exact"}:
        if errors["pyfq"] > 1.002 * errors[name]:
            raise ValueError(f"{name} is nearer than pyfq: {errors[name]} to {errors['pyfq']}")
    return contenders
