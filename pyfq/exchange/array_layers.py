"""Whether the names of arrays, together, are those of the weights and biases of one chain.

What an array is can't be told by a list of words alone: masks, copies and factors have any name.
But layers are named alike: all weights are ``<layer>.weight``, or all have the names of layers.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from .array_names import WAY_OUT

# What ends the names of weights and of biases.
_WEIGHT = re.compile(r"weights?|kernels?|w|coefs?", re.I)
_END = re.compile(r"(^|[\s_-])(?P<word>weights?|kernels?|w|W|coefs?)[\s_:-]*\d*$")
# Weights as Keras, Flax, Haiku, TensorFlow and multi-layer perceptrons of scikit-learn name them,
# which are products x @ w: one row an input.
_IN_OUT = re.compile(
    r"(^|[\s._/-])(kernels?|coefs)[\s_:-]*\d*$|(^|[/._])weights?:\d+$|/~/.*/w$"
    r"|(^|/)linear(_\d+)?[./]w$|/weights$|in_out$",
    re.I,
)
# Any weights that are called transposed.
_TURNED = re.compile(
    r"((?<=[a-z\d])|(?<![A-Za-z])(?<=W)|[\s._/-])T\d*$|[\s._/-]?[Tt]ransposed\d*$"
    r"|[\s._/-](t|[Tt]rans)\d*$"
)
_BIAS = re.compile(r"bias(es)?|b|offsets?|intercepts?", re.I)
# Parts of one chain that are built alike, and stand one behind the other.
_STAGES = re.compile(
    r"encoder|decoder|enc|dec|features?|classifier|body|trunk|stem|backbone|neck|head|embedder"
    r"|first|last|in|out|input|output|hidden|mid|middle|pre|post|final|layers?|blocks?|fc|linear"
    r"|dense"
)
# Those, and what is besides numbered along a chain.
_NUMBERED = re.compile(
    rf"{_STAGES.pattern}|stages?|mlp|ffn?|res|units?|groups?|sections?|parts?|modules?|seq"
    r"|sequential|cells?|lin|conv|down|up|proj|projection|[hl]"
)
# Networks of which there are often two that are alike, for one input.
_NETWORKS = re.compile(
    r"q|qf|qs|qnets?|vf?|critics?|actors?|polic(y|ies)|values?|agents?|twins?|discriminators?"
    r"|generators?|learners?"
)


def refuse_other_patterns(weights: Sequence[str]) -> None:
    """Raise ValueError if names of arrays of two axes are not those of a chain of layers.

    All end in the same word for weights, or none has one; no layer is in another one or has two
    weights; no two layers are one layer in two networks.

    Examples
    --------
    >>> refuse_other_patterns(["encoder.0.weight", "encoder.2.weight", "head.weight"])
    >>> refuse_other_patterns(["fc.weight", "fc.delta"])
    Traceback (most recent call last):
    ValueError: fc.delta is not named as fc.weight is: pass the arrays of the layers alone, as a \
list in their order
    """
    split = {name: _layer_and_end(name) for name in weights}
    for name in weights:
        if split[name][1] != split[weights[0]][1]:
            one, other = (weights[0], name) if split[weights[0]][1] else (name, weights[0])
            raise ValueError(f"{other} is not named as {one} is: {WAY_OUT}")
    names: dict[tuple[str, ...], str] = {}
    for name, (layer, _) in split.items():
        numbered = all(each[-1:].isdigit() for each in (name, names.get(layer, name)))
        if layer in names and not numbered:
            raise ValueError(f"{name} belongs to the layer of {names[layer]}: {WAY_OUT}")
        names.setdefault(layer, name)
    seen: dict[tuple, tuple[tuple[str, ...], str]] = {}
    for layer, name in names.items():
        above = (names[layer[:i]] for i in range(1, len(layer)) if layer[:i] in names)
        twins = (*_shorter(layer, names), *_alike(layer, name, seen))
        for what, others in (("is in the layer of", above), ("is the same layer as", twins)):
            for other in others:
                raise ValueError(f"{name} {what} {other}: {WAY_OUT}")
    _refuse_extended(names)
    _refuse_numbered(names)


def _shorter(layer: tuple[str, ...], names: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    """Yield what the name of a layer is without one word that is not the last, as ``ema.fc``."""
    for i in range(len(layer) - 1):
        without = layer[:i] + layer[i + 1 :]
        if _stem(layer[i]) and without in names:
            yield names[without]


def _alike(
    layer: tuple[str, ...], name: str, seen: dict[tuple, tuple[tuple[str, ...], str]]
) -> Iterator[str]:
    """Yield what has another word in a place that is not the last, as ``q.0`` and ``target.0``.

    Stages of a chain may be built alike: ``encoder.0`` and ``decoder.0``.
    """
    for i in range(len(layer) - 1):
        stem = _stem(layer[i])
        other, its_name = seen.setdefault((i, layer[:i], layer[i + 1 :]), (stem, name))
        are_stages = all(map(_STAGES.fullmatch, stem + other))
        if stem and other and stem != other and not are_stages:
            yield its_name


def _refuse_extended(names: Mapping[tuple[str, ...], str]) -> None:
    """Refuse a layer whose name is that of another and a word, as ``fc_old`` and ``fc``."""
    stems = {(layer[:-1], _stem(layer[-1])): name for layer, name in names.items() if layer}
    for (path, stem), name in stems.items():
        for i in range(1, len(stem)):
            for kept, added in ((stem[:i], stem[i:]), (stem[i:], stem[:i])):
                if (path, kept) in stems and not all(map(_STAGES.fullmatch, added)):
                    raise ValueError(f"{name} is the same layer as {stems[path, kept]}: {WAY_OUT}")


def _refuse_numbered(names: Mapping[tuple[str, ...], str]) -> None:
    """Refuse networks that differ in a number, as ``q1`` and ``q2`` of ``q1.0`` and ``q2.0``.

    Blocks of a chain are numbered, too: they have other words, or one layer each.
    """
    networks: dict[tuple, dict[str, dict[tuple[str, ...], str]]] = {}
    for layer, name in names.items():
        for i in range(len(layer) - 1):
            stem = _stem(layer[i])
            outer = () if stem or not i else _stem(layer[i - 1])  # critics.0.fc and critics.1.fc
            if stem or any(map(_NETWORKS.fullmatch, outer)):
                alike = networks.setdefault((layer[:i], stem), {})
                alike.setdefault(layer[i], {})[layer[i + 1 :]] = name
    for (above, stem), alike in networks.items():
        certain = any(map(_NETWORKS.fullmatch, stem or _stem(above[-1])))
        if not certain and all(map(_NUMBERED.fullmatch, stem)):
            continue
        for one, other in itertools.combinations(alike.values(), 2):
            both = [layer for layer in one if layer in other]
            if both and (certain or (len(both) > 1 and one.keys() == other.keys())):
                layer = both[0]
                raise ValueError(f"{other[layer]} is the same layer as {one[layer]}: {WAY_OUT}")


def is_named_in_out(weights: str) -> bool:
    """Tell whether weights have a name that those of shape ``(in_features, out_features)`` have.

    Examples
    --------
    >>> is_named_in_out("dense/kernel:0"), is_named_in_out("fc.weight_T")
    (True, True)
    >>> is_named_in_out("fc.weight")
    False
    """
    return _IN_OUT.search(weights) is not None or _TURNED.search(weights) is not None


def is_bias_of(bias: str, weights: str) -> bool:
    """Tell whether two names are those of a bias and its weights, or say nothing but numbers.

    Examples
    --------
    >>> is_bias_of("b1", "W1"), is_bias_of("fc_bias", "fc.weight"), is_bias_of("3", "2")
    (True, True, True)
    >>> is_bias_of("fc.alpha", "fc.weight")
    False
    """
    if _without_numbers(bias) == _without_numbers(weights):
        return True
    words, its_words = _words(bias), _words(_TURNED.sub("", weights))
    kept = [word for word in words if not _BIAS.fullmatch(word)]
    return kept != words and kept == [word for word in its_words if not _WEIGHT.fullmatch(word)]


def _layer_and_end(name: str) -> tuple[tuple[str, ...], str]:
    """Return the path of the layer that weights belong to, and the word for weights in the name."""
    *path, last = re.split(r"[./]", name)
    found = _END.search(last)
    if found is None:
        return (*path, last), ""
    rest = last[: found.start()]
    return (*path, *([rest] if rest else [])), found["word"]


def _stem(part: str) -> tuple[str, ...]:
    """Return the words of a part of a name, without numbers."""
    return tuple(word for word in _words(part) if not word.isdigit())


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "", text)


def _words(text: str) -> list[str]:
    """Return words and numbers in their order, in lower case."""
    return [
        word.lower()
        for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])|(?<=\d)(?=\D)|(?<=\D)(?=\d)", text)
        if word
    ]
