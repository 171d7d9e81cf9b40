"""Networks as the tensors and the metadata of a file; `docs/formats.md` says which."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.check import shown
from .._core.grid import Granularity, PerGroup, PerRow, PerTensor
from .._native import _build
from ..arrays.codebook import CODEBOOK_PARTS, Codebook, codebook_of, codebook_parts
from ..arrays.half import Half
from ..arrays.quantize import Quantized
from ..arrays.rate import RateQuantized
from ..formats.sparse import Sparse
from ..io import Checkpoint
from ..io.dtypes import word_of
from ..io.strict_json import parse_object
from ..networks.layer import Dense, Weights
from ..networks.network import RANGE, Network
from ..products.lowrank import LowRank
from ..products.model import ENDS
from .manifest import KEY as MANIFEST
from .manifest import read_manifest, write_manifest
from .methods.coded import Coded
from .methods.quantize import Quantize
from .methods.rate import QuantizeRate
from .rule import Rule
from .stored import (
    CAST,
    DENSE,
    LOSSLESS,
    TensorPlan,
    declare,
    decompress_tensor,
    encode,
    restore_tensor,
    stored_word,
)

#: The name of the entry in the metadata, and the version of what it holds.
KEY = "pyfq_network"
VERSION = 1

_ENTRY = f"entry {KEY!r}"
# What JSON calls the types of its values.
_WORDS = {
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "an integer",
    list: "a list",
    str: "text",
    type(None): "null",
}
# The arrays of weights that are no array, each a tensor of the file.
_PARTS = {
    "codes": ("packed", "scale", "zero_point", "minimum"),
    "codebook": CODEBOOK_PARTS,
    "lowrank": ("u", "v"),
    "csr": ("values", "indices", "indptr", "scale"),
    "nm": ("values", "positions", "scale"),
    "rows": ("values", "rows", "scale"),
}
# Arrays of the inputs and outputs of a network, any of which may be there.
_ENDS = (*ENDS, *RANGE)
# What safetensors calls the formats of 2 bytes.
_HALVES = {"bfloat16": "BF16", "float16": "F16"}
# What codes are, by signed, with zero points, with minima, in the words of a recipe.
_SCHEMES = {
    (True, False, False): "symmetric",
    (False, True, False): "affine",
    (False, False, True): "minmax",
}


def tensors_of(network: Network) -> tuple[dict[str, NDArray], dict[str, str], dict[str, str]]:
    """Return the tensors and the metadata of the file of a network, and the dtypes of bits.

    Raises
    ------
    TypeError
        Its classes are neither strings nor numbers that the format has a dtype for.
    """
    tensors, layers, compressed, words = {}, [], [], {}
    for i, layer in enumerate(network.layers):
        arrays, about, plan = _parts_of(f"layers.{i}.weight", layer.weights)
        tensors |= arrays
        if isinstance(layer.weights, Half):
            words[f"layers.{i}.weight"] = _HALVES[layer.weights.format]
        if layer.bias is not None:
            tensors[f"layers.{i}.bias"] = layer.bias
        activation = _activation_words(layer.activation)
        about |= {"bias": layer.bias is not None, "activation": activation}
        if layer.x_scale is not None:
            about |= {"x_scale": float(layer.x_scale), "x_zero_point": layer.x_zero_point}
        layers.append(about)
        compressed += [] if plan is None else [plan]
    ends = {name: getattr(network, name) for name in _ENDS if getattr(network, name) is not None}
    classes, labels = _classes_of(network.classes)
    entry = {
        "version": VERSION,
        "sizes": [int(n) for n in network.sizes],
        "layers": layers,
        "ends": list(ends),
        "classes": labels,
        "activation_bits": None if network.activation_bits is None else 8,
    }
    metadata = {KEY: json.dumps(entry, ensure_ascii=False, separators=(",", ":"))}
    if compressed:
        metadata[MANIFEST] = write_manifest(compressed, _build.VERSION)
    return tensors | ends | classes, metadata, words


def network_in(checkpoint: Checkpoint) -> Network:
    """Return the network in a file, its arrays in memory of their own.

    Raises
    ------
    TypeError, ValueError
        There is none, or its parts do not fit each other.
    """
    text = checkpoint.metadata.get(KEY)
    if text is None:
        raise ValueError(
            f"expected a network that save_network wrote, but the metadata has no entry {KEY!r}"
        )
    entry = parse_object(text.encode(), checkpoint.path, _ENTRY)
    version = _field(entry, "version", int)
    if version != VERSION:
        raise ValueError(f"{_ENTRY}: version must be {VERSION}, not {shown(version)}")
    sizes = _field(entry, "sizes", list)
    if len(sizes) < 2 or not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(
            f"{_ENTRY}: sizes must be at least 2 positive integers, not {shown(sizes)}"
        )
    layers = _field(entry, "layers", list)
    if len(layers) != len(sizes) - 1:
        raise ValueError(
            f"{_ENTRY}: layers must be {len(sizes) - 1} for {len(sizes)} sizes, not {len(layers)}"
        )
    manifest = checkpoint.metadata.get(MANIFEST)
    stored = _Stored(checkpoint, {} if manifest is None else read_manifest(manifest))
    built = []
    for i, about in enumerate(layers):
        try:
            built.append(_read_layer(f"layers.{i}", about, (sizes[i + 1], sizes[i]), stored))
        except (TypeError, ValueError) as e:
            raise ValueError(f"layers.{i}: {e}") from e
    ends = _field(entry, "ends", list)
    if any(name not in _ENDS for name in ends):
        raise ValueError(f"{_ENTRY}: ends must be some of {', '.join(_ENDS)}, not {shown(ends)}")
    classes = _field(entry, "classes", list, str, type(None))
    bits = _field(entry, "activation_bits", int, type(None))
    network = Network(
        tuple(built),
        **{name: stored.array(name) for name in ends},
        classes=_read_classes(classes, sizes[-1], stored),
        activation_bits=bits,
    )
    if unknown := [name for name in checkpoint if name not in stored.used]:
        raise ValueError(f"tensor {shown(unknown[0])} is none of the network's")
    return network


def _parts_of(
    name: str, w: Weights
) -> tuple[dict[str, NDArray], dict[str, Any], TensorPlan | None]:
    """Return the tensors that weights become, what the entry says, and what a manifest does."""
    plan = None
    match w:
        case Sparse():
            about = {"format": w.format}
            if w.format == "nm":
                about |= {"n": int(w.n), "m": int(w.m)}
        case Quantized():
            plan = _plan_of(name, w)
            if plan is not None:
                return encode(plan, w), {"format": "array"}, plan
            about = {
                "format": "codes",
                "bits": int(w.bits),
                "signed": bool(w.signed),
                "per": _granularity_word(w.granularity),
            }
        case RateQuantized():
            plan = _plan_of_stream(name, w)
            return encode(plan, w), {"format": "array"}, plan
        case LowRank():
            if not isinstance(w.u, np.ndarray) or not isinstance(w.v, np.ndarray):
                raise TypeError(f"{name}: factors must be arrays to be saved, not quantized")
            about = {"format": "lowrank", "error": None if w.error is None else float(w.error)}
        case Half():  # an array too, whose dtype in the file says what it is
            bits = w.bits if w.format == "bfloat16" else w.bits.view(np.float16)
            return {name: bits}, {"format": "array"}, None
        case Codebook():
            about = {
                "format": "codebook",
                "bits": int(w.bits),
                "per": _granularity_word(w.granularity),
                "scale_bits": None if w.scale_codes is None else int(w.scale_codes.bits),
            }
        case _:
            return {name: w}, {"format": "array"}, None
    if isinstance(w, Codebook):
        there = codebook_parts(w)
    else:
        arrays = {part: getattr(w, part) for part in _PARTS[about["format"]]}
        there = {part: array for part, array in arrays.items() if array is not None}
    about["parts"] = list(there)
    return {f"{name}_{part}": array for part, array in there.items()}, about, None


def _granularity_word(granularity: Granularity) -> str | int:
    """Return a granularity as JSON has it."""
    word = {PerTensor(): "tensor", PerRow(): "row"}.get(granularity)
    return int(granularity.size) if word is None else word


def _plan_of(name: str, w: Quantized) -> TensorPlan | None:
    """Return what a manifest says of codes; None if it can't say it exactly.

    It has no words for unsigned codes of neither zero point nor minimum, for example, which
    `quantize_fixed_point` gives. Those for how weights were rounded are not known.
    """
    scheme = _SCHEMES.get((bool(w.signed), w.zero_point is not None, w.minimum is not None))
    reals = [w.scale] if w.minimum is None else [w.scale, w.minimum]
    if scheme is None or not w.scale.all() or not all(np.isfinite(x).all() for x in reals):
        return None
    granularity: Granularity = w.granularity
    if isinstance(granularity, PerGroup):
        granularity = PerGroup(int(granularity.size))
    bits = int(w.bits)
    quantize = Quantize(
        bits,
        scheme,
        granularity,
        range="full" if w.signed else "narrow",
        scale="signed_max" if w.signed and bits == 1 else None,  # what one bit goes with
    )
    word, shape = word_of(w.scale.dtype), tuple(int(extent) for extent in w.shape)
    return declare(name, word, shape, Rule((name,), quantize=quantize))


def _plan_of_stream(name: str, w: RateQuantized) -> TensorPlan:
    """Return what a manifest says of entropy-coded codes."""
    coded = Coded(int(w.stream.size), w.step)
    rate = QuantizeRate(trellis=w.trellis, granularity=w.granularity, found=coded)
    shape = tuple(int(extent) for extent in w.shape)
    return declare(name, word_of(w.dtype), shape, Rule((name,), rate=rate))


def _activation_words(activation: Any) -> Any:
    """Return an activation as JSON has it."""
    if activation is None or isinstance(activation, str):
        return activation
    name, slope = activation
    return [name, float(slope)]


def _classes_of(classes: Any) -> tuple[dict[str, NDArray], str | list[str] | None]:
    """Return the tensor of classes that are numbers, and what the entry says of them."""
    if classes is None:
        return {}, None
    classes = np.asarray(classes)
    if classes.dtype.kind == "U":
        return {}, classes.tolist()
    if word_of(classes.dtype) is None:
        raise TypeError(
            f"classes must be strings, or numbers of a dtype of safetensors, not {classes.dtype}"
        )
    return {"classes": classes}, "tensor"


@dataclass(frozen=True, eq=False)
class _Stored:
    """The tensors of a file, under the names they had before compression."""

    checkpoint: Checkpoint
    plans: Mapping[str, TensorPlan]
    used: set[str] = field(default_factory=set)

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> NDArray:
        """Return a tensor as an array."""
        plan = self._compressed(name)
        if plan is not None:
            array = decompress_tensor(plan, self._read(plan.parts))
            array.flags.writeable = False
        elif name in self.checkpoint:
            array = self._read([name])[name]
        else:
            raise ValueError(f"tensor {shown(name)} is missing")
        if shape is not None and array.shape != shape:
            raise ValueError(f"tensor {shown(name)} must have shape {shape}, not {array.shape}")
        return array

    def weights(self, name: str, shape: tuple[int, int]) -> Weights:
        """Return weights as an array, of 2 bytes if they are, or in the form a recipe gave them."""
        plan = self._compressed(name)
        if plan is None or plan.format in (CAST, LOSSLESS):
            return self._half(name, shape, plan) or self.array(name, shape)
        if plan.shape != shape:
            raise ValueError(f"tensor {shown(name)} must have shape {shape}, not {plan.shape}")
        return restore_tensor(plan, self._read(plan.parts))

    def _half(self, name: str, shape: tuple[int, int], plan: TensorPlan | None) -> Half | None:
        """Return weights that are stored in 2 bytes; None if they are not, or were float64."""
        packed = plan is not None and plan.format == LOSSLESS
        word = stored_word(plan.word, plan.rule) if packed else self.checkpoint.dtypes.get(name)
        formats = [format for format, its_word in _HALVES.items() if its_word == word]
        if not formats or (plan is not None and plan.word == "F64"):
            return None
        parts = self._read(plan.parts if packed else [name])
        array = restore_tensor(plan, parts) if packed else parts[name]
        if array.shape != shape:
            raise ValueError(f"tensor {shown(name)} must have shape {shape}, not {array.shape}")
        return Half(array.view(np.uint16), formats[0])

    def _compressed(self, name: str) -> TensorPlan | None:
        plan = self.plans.get(name)
        return None if plan is None or plan.format == DENSE else plan

    def _read(self, names: Sequence[str] | Mapping[str, Any]) -> dict[str, NDArray]:
        """Return the arrays that there are, read-only, in memory that no file stands behind."""
        arrays = {}
        for name in names:
            if name in self.checkpoint:
                array = self.checkpoint[name]
                arrays[name] = array.astype(array.dtype.newbyteorder("="))
                arrays[name].flags.writeable = False
                self.used.add(name)
        return arrays


def _read_layer(name: str, about: Any, shape: tuple[int, int], stored: _Stored) -> Dense:
    if not isinstance(about, dict):
        raise ValueError(f"{_ENTRY}: a layer must be an object, not {shown(about)}")
    weights = _read_weights(f"{name}.weight", about, shape, stored)
    bias = stored.array(f"{name}.bias", shape[:1]) if _field(about, "bias", bool) else None
    activation = _field(about, "activation", str, list, type(None))
    activation = tuple(activation) if isinstance(activation, list) else activation
    if "x_scale" not in about:
        return Dense(weights, bias, activation)
    x_zero_point = _field(about, "x_zero_point", int, type(None))
    return Dense(weights, bias, activation, _field(about, "x_scale", int, float), x_zero_point)


def _read_weights(
    name: str, about: Mapping[str, Any], shape: tuple[int, int], stored: _Stored
) -> Weights:
    kind = _field(about, "format", str)
    if kind == "array":
        return stored.weights(name, shape)
    if kind not in _PARTS:
        raise ValueError(
            f"{_ENTRY}: format must be one of array, {', '.join(_PARTS)}, not {shown(kind)}"
        )
    parts = _field(about, "parts", list)
    if any(part not in _PARTS[kind] for part in parts):
        raise ValueError(
            f"{_ENTRY}: parts must be some of {', '.join(_PARTS[kind])}, not {shown(parts)}"
        )
    arrays = {part: stored.array(f"{name}_{part}") for part in parts}
    if kind == "lowrank":
        error = _field(about, "error", int, float, type(None))
        return LowRank(arrays.get("u"), arrays.get("v"), error)
    if kind not in ("codes", "codebook"):
        counts = {key: _field(about, key, int) for key in ("n", "m") if kind == "nm"}
        return Sparse(kind, shape, arrays.pop("values", None), **arrays, **counts)
    per = _field(about, "per", str, int)
    if isinstance(per, str) and per not in ("tensor", "row"):
        raise ValueError(f"{_ENTRY}: per must be 'tensor', 'row' or a number, not {shown(per)}")
    granularity = {"tensor": PerTensor(), "row": PerRow()}.get(per) or PerGroup(per)
    bits = _field(about, "bits", int)
    if kind == "codebook":
        scale_bits = _field(about, "scale_bits", int, type(None))
        return codebook_of(arrays, shape, bits, granularity, scale_bits)
    return Quantized(
        arrays.get("packed"),
        shape,
        bits,
        _field(about, "signed", bool),
        granularity,
        arrays.get("scale"),
        arrays.get("zero_point"),
        arrays.get("minimum"),
    )


def _read_classes(labels: Any, outputs: int, stored: _Stored) -> NDArray | None:
    if labels is None:
        return None
    if labels == "tensor":
        return stored.array("classes", (outputs,))
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{_ENTRY}: classes must be text, not {shown(labels)}")
    return np.array(labels)


def _field(table: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """Return a field of the entry, of one of the types; true is no integer."""
    if key not in table:
        raise ValueError(f"{_ENTRY}: {key} is missing")
    value = table[key]
    if type(value) not in kinds:
        words = " or ".join(_WORDS[kind] for kind in kinds)
        raise ValueError(f"{_ENTRY}: {key} must be {words}, not {shown(value)}")
    return value
