"""What ``pyfq check`` runs of functions that `pyfq.reference` does not have.

Nothing says what they return, but it is the same for every number of threads, and, but for sums of
floats, on every variant. ``pyfq check --digest`` keeps it, so that another build or machine can
be compared.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import pyfq
from pyfq import PerColumn, PerGroup, PerRow, PerTensor, recipes
from pyfq.arrays.observer import METHODS
from pyfq.cli._check_cases import Case, Unspecified, weights

#: Functions of `pyfq` that no case calls, and why.
LEFT_OUT = {
    "fastest": "its result is a matter of time",
    "from_onnx": "needs another library, whose version it would depend on",
    "from_sklearn": "needs another library, whose version it would depend on",
    "from_torch": "needs another library, whose version it would depend on",
    "to_onnx": "needs another library, whose version it would depend on",
    "to_torch": "needs another library, whose version it would depend on",
    "load_checkpoint": "reads what other functions wrote",
    "get_num_threads": "a setting",
    "num_threads": "a setting",
    "set_num_threads": "a setting",
    "show_config": "tells of the build",
}

_EXACT = Unspecified()
# Sums of floats in another order: networks of these sizes stay this near.
_FLOATS = Unspecified(1e-3)
# The same, of a function that adds up with NumPy.
_FLOATS_OF_NUMPY = Unspecified(1e-3, ours=False)

_SIZES = ((0,), (1,), (3, 0), (1, 1), (7,), (1, 65), (65, 1), (5, 33))


def size_cases() -> list[Case]:
    """Functions of entries, of arrays that are empty, of one entry, and with odd tails."""
    functions: dict[str, Callable[[NDArray], Any]] = {
        "prune_threshold": lambda w: pyfq.prune_threshold(w, 0.5),
        "prune_ratio": lambda w: pyfq.prune_ratio(w, 0.5),
        "prune_nm": lambda w: pyfq.prune_nm(w, 2, 4),
        "quantize": lambda w: pyfq.quantize(w, 4, scheme="affine", granularity=PerGroup(5)),
        "fake_quantize": lambda w: pyfq.fake_quantize(w, 3),
        "quantize_codebook": lambda w: pyfq.quantize_codebook(w, granularity=PerGroup(5)),
        "quantize_rate": lambda w: _of_rate(w, step=0.5),
        "activate": lambda w: pyfq.activate(w, "gelu"),
        "distortion": lambda w: pyfq.distortion(w, w / 3),
        "pack": lambda w: pyfq.pack((w > 0).astype(np.uint8), 3),
    }
    return [
        _case(f"{name} {shape} {np.dtype(dtype)}", partial(_on, function, shape, dtype))
        for name, function in functions.items()
        for shape in _SIZES
        for dtype in (np.float32, np.float64)
    ]


def array_cases() -> list[Case]:
    """Arrays to arrays, and choices between them."""
    cases = [_case("break_even_rank", lambda: pyfq.break_even_rank(151, 509))]
    for dtype in (np.float32, np.float64):
        w, label = weights(dtype), np.dtype(dtype).name
        parts = {"a": w[:50].copy(), "b": w[50:, :101].copy()}
        codes = pyfq.quantize(w, 4, scheme="affine", granularity=PerGroup(48))
        cases += [
            _case(f"prune_global {label}", partial(pyfq.prune_global, parts, 0.7)),
            _case(f"soften {label}", partial(pyfq.soften, w, 3.0)),
            _case(f"allocate_bits {label}", partial(pyfq.allocate_bits, parts, 4.5)),
            _case(f"dequantize {label}", codes.dequantize),
            _case(f"bits met {label}", partial(_of_rate, w, bits=2.5)),
            _case(f"SQNR met {label}", partial(_of_rate, w, sqnr=20, granularity=PerRow())),
            _case(f"error {label}", partial(codes.error, w)),
            *_table_cases(w, label),
            *_observer_cases(w, label),
        ]
    return cases


def _of_rate(w: NDArray, **how: Any) -> tuple[NDArray, NDArray]:
    q = pyfq.quantize_rate(w, **how)
    return q.stream, q.scale


def _table_cases(w: NDArray, label: str) -> list[Case]:
    fit = partial(pyfq.quantize_codebook, w[:60].copy(), "lloyd")
    own = np.array([-1, -0.25, 0, 0.5, 1], w.dtype)
    return [
        _case(f"lloyd {label}", partial(fit, 3, granularity=PerRow())),
        _case(f"lloyd in groups {label}", partial(fit, 3, calibration="mse", scale_bits=8)),
        _case(f"own levels {label}", partial(pyfq.quantize_codebook, w, own)),
    ]


def _observer_cases(w: NDArray, label: str) -> list[Case]:
    def observe(method: str, granularity: PerTensor | PerRow | PerColumn) -> Any:
        seen = pyfq.Observer(method, granularity, 512).update(w / 4).update(w)
        return seen.clip_range(8, "affine"), seen.scale(4)

    return [
        _case(f"{method} {granularity} {label}", partial(observe, method, granularity))
        for method in METHODS
        for granularity in (PerTensor(), PerRow(), PerColumn())
    ]


def network_cases() -> list[Case]:
    """Networks that are trained, measured, made smaller, and kept in files."""
    cases = []
    for dtype in (np.float32, np.float64):
        label = np.dtype(dtype).name
        network = pyfq.Network.create((40, 30, 30, 5), activation="relu", dtype=dtype, seed=3)
        x = weights(dtype)[:, :40].copy()
        y = np.arange(len(x)) % 5
        coded = network.map_weights(partial(pyfq.quantize, bits=4, granularity=PerGroup(16)))
        cases += [
            _case(f"equalize {label}", partial(pyfq.equalize, network, power_of_two=True)),
            _case(
                f"correct_bias {label}",
                partial(pyfq.correct_bias, coded, network, x),
                _FLOATS_OF_NUMPY,
            ),
            _case(f"evaluate {label}", partial(_evaluated, network, x, y), _FLOATS_OF_NUMPY),
            _case(
                f"prune_neurons {label}",
                lambda network=network: pyfq.prune_neurons(network, 0.5).network,
                _FLOATS_OF_NUMPY,
            ),
            _case(
                f"prune_layers {label}",
                lambda network=network, x=x, y=y: pyfq.prune_layers(network, x, y).network,
                _FLOATS_OF_NUMPY,
            ),
            *_training_cases(network, x, y, label),
            *_file_cases(network, label),
        ]
    return cases


def _training_cases(network: pyfq.Network, x: NDArray, y: NDArray, label: str) -> list[Case]:
    how: dict[str, Any] = {"epochs": 1, "batch_size": 32, "schedule": pyfq.Schedule("cosine", 0.5)}
    student = pyfq.Network.create((40, 10, 5), dtype=network.dtype, seed=4)
    trainings: dict[str, Callable[[], pyfq.Training]] = {
        "AdamW": lambda: pyfq.train(network, x, y, optimizer=pyfq.AdamW(0.01), **how),
        "huber": lambda: pyfq.train(network, x, x[:, :5].copy(), loss="huber", **how),
        "FakeQuantize": lambda: pyfq.train(
            network, x, y, fake_quantize=pyfq.FakeQuantize(4), optimizer=pyfq.SGD(0.05), **how
        ),
        "distill": lambda: pyfq.distill(network, student, x, y, **how),
        "Hint": lambda: pyfq.distill(network, student, x, hints=[pyfq.Hint(0, 1)], **how),
    }
    return [
        _case(f"{name} {label}", lambda run=run: run().network, _FLOATS)
        for name, run in trainings.items()
    ]


def _file_cases(network: pyfq.Network, label: str) -> list[Case]:
    forms: dict[str, Callable[[NDArray], Any]] = {
        "arrays": lambda w: w,
        "codes": partial(pyfq.quantize, bits=5, scheme="minmax"),
        "tables": partial(pyfq.quantize_codebook, codebook="fp4", granularity=PerGroup(16)),
        "csr": lambda w: pyfq.to_sparse(pyfq.prune_ratio(w, 0.8)),
        "2:4": lambda w: pyfq.to_sparse(pyfq.prune_nm(w, 2, 4), "nm"),
        "rows": lambda w: pyfq.to_sparse(pyfq.prune_rows(w, 0.4), "rows"),
        "factors": lambda w: pyfq.LowRank(w[:, :3].copy(), w[:3].copy()),
    }
    if network.dtype == np.float32:
        forms["bfloat16"] = pyfq.to_half
    cases = [
        _case(f"save_network, {form} {label}", partial(_saved, network.map_weights(make)))
        for form, make in forms.items()
    ]
    return [*cases, _case(f"to_npz {label}", partial(_exported, network))]


def recipe_cases() -> list[Case]:
    """Checkpoints by rules: the tensors of the file."""
    rules = {
        "prune": {"prune": {"ratio": 0.5, "per": "row"}},
        "nm": {"prune": {"nm": "2:4"}, "quantize": {"bits": 8}},
        "int4": {"quantize": {"bits": 4, "scheme": "affine", "group_size": 64}},
        "int3": {"quantize": {"bits": 3, "scheme": "minmax", "calibration": "hqq"}},
        "nf4": {"codebook": {"levels": "nf4", "scale_bits": 8}},
        "lloyd": {"codebook": {"levels": "lloyd", "bits": 3, "calibration": "mse"}},
        "bfloat16": {"precision": "bfloat16"},
    }
    model = {
        "F32": weights(np.float32)[:64, :96].copy(),
        "F64": weights(np.float64)[:64, :96].copy(),
        "BF16": pyfq.cast_to(weights(np.float32)[:64, :96].copy(), "bfloat16"),
        "F16": pyfq.cast_to(weights(np.float32)[:64, :96].copy(), "float16"),
    }
    budget = {"bits_per_weight": 4.5, "choices": [2, 4, 8]}
    asking = {"match": "*", "quantize": {"bits": "budget", "group_size": 32}}
    tables = {name: {"rule": [{"match": "*"} | rule]} for name, rule in rules.items()}
    tables["budget"] = {"rule": [asking], "budget": budget}
    return [
        _case(f"{name}{' dense' * dense}", partial(_compressed, model, table, dense))
        for name, table in tables.items()
        for dense in (False, True)
    ]


#: The cases of each topic.
TOPICS: dict[str, Callable[[], list[Case]]] = {
    "sizes": size_cases,
    "arrays": array_cases,
    "networks": network_cases,
    "recipes": recipe_cases,
}


def _case(name: str, run: Callable[[], Any], known: Unspecified = _EXACT) -> Case:
    return Case(name, run, lambda: known)


def _on(function: Callable[[NDArray], Any], shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    w = np.random.default_rng(5).standard_normal(shape).astype(dtype)
    try:
        return function(w)
    except ValueError as e:  # what an empty array has no answer to is part of the result
        return type(e).__name__


def _evaluated(network: pyfq.Network, x: NDArray, y: NDArray) -> Any:
    found = pyfq.evaluate(network, x, y, teacher=network)
    return found.loss, found.accuracy, found.confusion, found.agreement


def _saved(network: pyfq.Network) -> Any:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "network.safetensors")
        pyfq.save_network(network, path)
        return pyfq.load_network(path)


def _exported(network: pyfq.Network) -> Any:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "network.npz")
        pyfq.to_npz(network, path)
        with np.load(path) as arrays:
            return pyfq.from_arrays(arrays)


def _compressed(model: dict[str, NDArray], table: dict[str, Any], dense: bool) -> Any:
    recipe = recipes.parse_recipe(table)
    words = {name: name for name in model}
    return [
        (tensor.plan.format, tensor.parts, tensor.sqnr)
        for tensor in recipes.compress(model, recipe, words=words, dense=dense)
    ]
