"""Pruning: what is kept, and a mask that says so."""

import math
from functools import partial

import numpy as np
from case import Case, Contenders, Target, copying, weights
from numpy.typing import NDArray
from peers import module, torch

import pyfq
from pyfq import PerGroup, PerRow, PerTensor, reference
from pyfq._core.grid import Granularity

torch_prune = module("torch.nn.utils.prune")

SHORT = ("ratio 0.5 of all", "2:4")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 4096
    square, odd, flat = (side, side), (side - 3, side + 3), (side // 4, side)
    tensor, row, group, f64 = PerTensor(), PerRow(), PerGroup(128), np.float64
    tenfold = Target("speed", "numpy percentile", 10)
    return [
        case("threshold", partial(threshold, square)),
        case("ratio 0.5 of all", partial(ratio, square, 0.5, tensor), targets=(tenfold,)),
        case("ratio 0.9 of all", partial(ratio, square, 0.9, tensor)),
        case("ratio 0.5 of all, float64", partial(ratio, square, 0.5, tensor, f64), itemsize=8),
        case("ratio 0.5 per row", partial(ratio, square, 0.5, row)),
        case("ratio 0.5 per group of 128", partial(ratio, square, 0.5, group)),
        case("percentile 50 of all", partial(percentile, square, tensor)),
        case("percentile 50 per row", partial(percentile, square, row)),
        case("2:4", partial(n_of_m, square, 2, 4)),
        case("4:8", partial(n_of_m, square, 4, 8)),
        case("2:4, odd extents", partial(n_of_m, odd, 2, 4)),
        case("half of the rows", partial(rows, square)),
        case("ratio 0.5 of four arrays together", partial(together, (4, *flat))),
    ]


def case(name: str, setup: partial, *, itemsize: int = 4, targets: tuple = ()) -> Case:
    n = math.prod(setup.args[0])
    return Case(name, setup, (2 * itemsize + 1) * n, n, targets)  # a byte of mask to each weight


def threshold(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    contenders = {
        "pyfq": lambda: pyfq.prune_threshold(w, 0.01),
        "reference": lambda: reference.prune_threshold(w, 0.01),
        "numpy": lambda: cut(w, np.abs(w), 0.01),
        **copying(w),
    }
    if torch:
        t = torch.from_numpy(w)
        contenders["torch where"] = lambda: cut(t, t.abs(), 0.01)
    return contenders


def ratio(
    shape: tuple[int, int], ratio: float, granularity: Granularity, dtype: type = np.float32
) -> Contenders:
    w = weights(shape, dtype)
    rows, grouped = grouping(w, granularity)
    count = round(ratio * grouped.shape[1])
    contenders = {
        "pyfq": lambda: pyfq.prune_ratio(w, ratio, granularity=granularity),
        "reference": lambda: reference.prune_ratio(w, ratio, granularity=granularity),
        "numpy percentile": lambda: percentile_in_numpy(grouped, 100 * ratio),
        "numpy partition": lambda: partition_in_numpy(grouped, count),
        **copying(w),
    }
    if torch:
        t = torch.from_numpy(grouped)
        contenders["torch.kthvalue"] = lambda: kthvalue_in_torch(t, count)
        contenders["torch.topk"] = lambda: topk_in_torch(t, count)
        if rows == 1:
            l1 = torch_prune.L1Unstructured(count)
            contenders["torch l1_unstructured"] = lambda: l1.prune(t)
    return contenders


def percentile(shape: tuple[int, int], granularity: Granularity) -> Contenders:
    w = weights(shape)
    _, grouped = grouping(w, granularity)
    return {
        "pyfq": lambda: pyfq.prune_percentile(w, 50, granularity=granularity),
        "reference": lambda: reference.prune_percentile(w, 50, granularity=granularity),
        "numpy percentile": lambda: percentile_in_numpy(grouped, 50),
        **copying(w),
    }


def n_of_m(shape: tuple[int, int], n: int, m: int) -> Contenders:
    w = weights(shape)
    contenders = {
        "pyfq": lambda: pyfq.prune_nm(w, n, m),
        "reference": lambda: reference.prune_nm(w, n, m),
        **copying(w),
    }
    if shape[1] % m == 0:  # what follows knows no short block
        blocks = w.reshape(-1, m)
        contenders["numpy argsort"] = lambda: argsort_in_numpy(blocks, m - n)
        if torch:
            t = torch.from_numpy(blocks)
            contenders["torch.topk"] = lambda: topk_in_torch(t, m - n)
    return contenders


def rows(shape: tuple[int, int]) -> Contenders:
    w = weights(shape)
    count = shape[0] // 2
    contenders = {
        "pyfq": lambda: pyfq.prune_rows(w, 0.5),
        "reference": lambda: reference.prune_rows(w, 0.5),
        "numpy": lambda: rows_in_numpy(w, count),
        **copying(w),
    }
    if torch:
        t = torch.from_numpy(w)
        structured = torch_prune.LnStructured(count, n=2, dim=0)
        contenders["torch ln_structured"] = lambda: structured.prune(t)
    return contenders


def together(shape: tuple[int, int, int]) -> Contenders:
    tensors = {str(i): part for i, part in enumerate(weights(shape))}
    joined = np.concatenate([w.reshape(-1) for w in tensors.values()])
    return {
        "pyfq": lambda: pyfq.prune_global(tensors, 0.5),
        "reference": lambda: reference.prune_global(tensors, 0.5),
        "numpy percentile": lambda: together_in_numpy(tensors, 50),
        **copying(joined),
    }


def grouping(w: NDArray, granularity: Granularity) -> tuple[int, NDArray]:
    """Return how many groups there are, and the array with one in each row."""
    size = {PerTensor(): w.size, PerRow(): w.shape[-1]}.get(granularity) or granularity.size
    grouped = w.reshape(-1, size)
    return grouped.shape[0], grouped


def cut(w, scores, least):
    """Return arrays of NumPy or torch."""
    mask = scores >= least
    return w * mask, mask


def percentile_in_numpy(w, rate):
    scores = np.abs(w)
    return cut(w, scores, np.percentile(scores, rate, axis=1, keepdims=True))


def partition_in_numpy(w, count):
    scores = np.abs(w)
    return cut(w, scores, np.partition(scores, count, axis=1)[:, count : count + 1])


def argsort_in_numpy(w, count):
    mask = np.ones(w.shape, bool)
    np.put_along_axis(mask, np.argsort(np.abs(w), axis=1)[:, :count], False, axis=1)
    return w * mask, mask


def rows_in_numpy(w, count):
    norms = np.linalg.norm(w, axis=1, keepdims=True)
    mask = np.broadcast_to(norms >= np.partition(norms, count, axis=0)[count], w.shape)
    return w * mask, mask


def together_in_numpy(tensors, rate):
    scores = {name: np.abs(w) for name, w in tensors.items()}
    least = np.percentile(np.concatenate([s.reshape(-1) for s in scores.values()]), rate)
    return {name: cut(w, scores[name], least) for name, w in tensors.items()}


def kthvalue_in_torch(w, count):
    scores = w.abs()
    return cut(w, scores, torch.kthvalue(scores, count + 1, dim=1, keepdim=True).values)


def topk_in_torch(w, count):
    lowest = torch.topk(w.abs(), count, dim=1, largest=False, sorted=False).indices
    mask = torch.ones_like(w, dtype=torch.bool).scatter_(1, lowest, False)
    return w * mask, mask
