"""What the name of an array says it is, where that is no weights and no bias of a layer.

Many arrays that are no layers have two axes, and square ones fit into a chain of layers wherever
they stand. State dicts tell them apart by name alone.
"""

import itertools
import re
from collections.abc import Collection

# What helps where a name is doubted.
WAY_OUT = "pass the arrays of the layers alone, as a list in their order"

# What an array is, by all of its name; the first that is found is told.
_BY_NAME = (
    (
        r"(?<![a-z])(lora|loha|lokr|hada|ia3|vera|oft|boft|adapters?)(?![a-z])|lora[AB]\b",
        "belongs to an adapter: merge it into the weights (merge_and_unload() of PEFT)",
    ),
    (
        r"(^|[._])parametrizations\.",
        "is what a parametrization computes a tensor from: call "
        "torch.nn.utils.parametrize.remove_parametrizations, or pass the module to from_torch",
    ),
    (
        r"(^|[._/\d])masks?([._/\d]|$)|(?<=[a-z])Masks?\b",
        "is a mask: call torch.nn.utils.prune.remove first, or pass the module to from_torch",
    ),
    (
        r"_orig$",
        "is a tensor before it is pruned or normalized: call torch.nn.utils.prune.remove or "
        "remove_spectral_norm first, or pass the module to from_torch",
    ),
    (
        r"(^|[._/])(weight|kernel|bias)_[guv]$",
        "is a factor of a normalization of weights: call torch.nn.utils.remove_weight_norm or "
        "remove_spectral_norm first, or pass the module to from_torch",
    ),
    (
        r"(^|[._/])(running|moving)_(mean|var|variance)$|num_batches_tracked$|(^|[._/])gamma$",
        "belongs to a normalization, which is no layer: fold it into the layer before it",
    ),
    (
        r"(^|[._/])((weight|bias)_([ih]h|hr)(_|$)|recurrent_|(gru|lstm|rnn)\d*([._/]|$))",
        "belongs to a recurrent layer, which is no layer of a chain",
    ),
    (
        r"(^|[._/])(in_proj|[qkv]_proj|qkv(_proj)?|kv_proj|(query|key|value)_proj|c_attn|to_[qkv])"
        r"(\.|_weight|_bias|$)|(^|[._/])(to_(quer(y|ies)|keys?|values?)|attn|attention|mha)([._/]|$)",
        "belongs to attention, which is no layer of a chain",
    ),
    (
        r"(^|[._/])(gates?|gating|router)(_proj)?\d*([._/]|$)",
        "belongs to a gate, which is no layer of a chain",
    ),
    (
        r"(^|[._/])(experts?|ensembles?|members?|branch(es)?|towers?|heads)_?\d*([._/]|$)"
        r"|(^|[._/])(shortcut|downsample|skip|residual)\d*([._/]|$)",
        "belongs to a branch beside others, which is no layer of a chain",
    ),
    (
        r"(^|[._/])(exp_avg(_sq)?|max_exp_avg_sq|momentum(_buffer)?|velocity|grads?|fisher|hessian"
        r"|adam\w?|rmsprop|adagrad|optimi[sz]er)([_./:]\w*)?$|(^|[._/])optimi[sz]ers?[._/]",
        "belongs to an optimizer: pass the weights alone",
    ),
    (r"(^|[._/])shards?_?\d+([._/]|$)", "is one part of weights: join them"),
    (
        r"(^|[._])q(weight|zeros)$|(^|[._/])g_idx$|_packed(_params)?(\.|$)|packed_params|(^|[._/])SCB$"
        r"|(^|[._])(absmax|quant_map|nested_absmax|quant_state)(\.|$)"
        r"|(^|[._])(weight|input|output|activation|[kqv])_(global_)?(scales?|scale_inv|zero_point|zeros"
        r"|shape)$|(^|[._/])(scales?|zero_points?)$",
        "belongs to quantized weights: pass the weights that they stand for",
    ),
)
# Words of the names of modules, which stand before "weight" or are the name themselves.
_NORMALIZATION = re.compile(r"(layer|batch|group|instance|rms|sync)?_?norm(alization)?|bn|ln")
_EMBEDDING = re.compile(
    r"emb|embeds?|embeddings?|wte|wpe|pe|pos|positional?|tok|tokens?|codebooks?"
)
_SPREAD = re.compile(r"sigma|rho|logvar|logstd|logsigma|epsilon|covariance")
_AVERAGE = re.compile(r"ema|swa|shadow|avg|average|averaged|polyak")
_COPY = re.compile(
    r"target|online|teacher|student|old|new|previous|current|best|backup|copy|master"
)


# Words, in lower case, of which one stands in a name where another name has the other.
_BY_PAIR = (
    (
        tuple(
            pair
            for words in (
                ("query", "key", "value"),
                ("queries", "keys", "values"),
                ("q", "k", "v"),
                ("wq", "wk", "wv"),
            )
            for pair in itertools.combinations(words, 2)
        ),
        "belongs to attention, which is no layer of a chain",
    ),
    (
        tuple((f"w{gate}", f"u{gate}") for gate in "cfghiorxz"),
        "belongs to a recurrent layer, which is no layer of a chain",
    ),
    (
        tuple((rf"(?<=[._/]){one}", other) for one, other in ("ab", "gv", "uv")),
        "is a factor of weights, or of what is added to them: pass their product",
    ),
    (
        (("mean", "std"), ("mean", "var"), ("mu", "std"), ("mu", "var")),
        "belongs to a distribution of weights or outputs, which is no layer of a chain",
    ),
    ((("base", "spline"),), "is one of two products that a layer adds"),
    ((("mu", "nu"), ("m", "v")), "belongs to an optimizer: pass the weights alone"),
    (
        (
            ("actor", "critic"),
            ("policy", "value"),
            ("head_?0", "head1"),
            ("head_?1", "head2"),
            ("head_1", "head_2"),
            ("left", "right"),
        ),
        "belongs to a branch beside others, which is no layer of a chain",
    ),
)


def refuse_roles(names: Collection[str]) -> None:
    """Raise ValueError at the first name that is not that of a layer's weights or bias.

    Examples
    --------
    >>> refuse_roles(["fc1.weight", "fc1.bias"])
    >>> refuse_roles(["fc1.weight_orig", "fc1.weight_mask"])
    Traceback (most recent call last):
    ValueError: fc1.weight_orig is a tensor before it is pruned or normalized: call \
torch.nn.utils.prune.remove or remove_spectral_norm first, or pass the module to from_torch; if it \
is a layer, pass the arrays of the layers alone, as a list in their order
    """
    in_lower_case = {name.lower() for name in names}
    for name in names:
        role = (
            _role_by_module(name)
            or _role_by_name(name)
            or _role_among(name, names)
            or _role_by_pair(name.lower(), in_lower_case)
        )
        if role:
            way_out = f"; if it is a layer, {WAY_OUT}" if ":" in role else f": {WAY_OUT}"
            raise ValueError(f"{name} {role}{way_out}")


def _role_by_name(name: str) -> str | None:
    return next((role for pattern, role in _BY_NAME if re.search(pattern, name, re.I)), None)


def _role_by_module(name: str) -> str | None:
    """Return what the module is that an array belongs to, if it is no layer."""
    words = [word for part in _parts(name)[-2:] for word in _words(part)]
    if any(_SPREAD.fullmatch(word) for word in words) or {"log", "var"} <= set(words):
        return "belongs to a distribution of weights or outputs, which is no layer of a chain"
    if any(_NORMALIZATION.fullmatch(word) for word in words):
        return "belongs to a normalization, which is no layer: fold it into the layer before it"
    if any(_EMBEDDING.fullmatch(word) for word in words):
        return "belongs to an embedding, which looks rows up and multiplies nothing"
    return None


def _role_among(name: str, names: Collection[str]) -> str | None:
    """Return what an array is beside the others: a copy, a factor, one of several products."""
    if _has_word(name, _AVERAGE) and not all(_has_word(other, _AVERAGE) for other in names):
        return "is an average of weights that are given too: pass the one or the other"
    if _has_word(name, _COPY) and any(_is_copy(name, other) for other in names):
        return "is a copy of weights that are given too: pass the one or the other"
    if name.endswith(("_g", "_v")) and {name[:-1] + "g", name[:-1] + "v"} <= set(names):
        return "is a factor of a normalization of weights: pass the weights that they stand for"
    return None


def _role_by_pair(name: str, names: Collection[str]) -> str | None:
    """Return what an array is whose name says one word of a pair, if another says the other."""
    for pairs, role in _BY_PAIR:
        for one, other in pairs:
            place = re.compile(rf"(?<![a-z])({one})(?![a-z])")
            its_name = place.sub(other, name)
            if its_name != name and its_name in names:
                if other == "b" and place.sub("c", name) in names:
                    continue  # layers by letters, as layer_a, layer_b and layer_c
                return role
    return None


def _is_copy(name: str, other: str) -> bool:
    """Tell whether two names differ in one part only, where the first says that it is a copy.

    As ``target.0.weight`` and ``q.0.weight`` do, ``fc_old.weight`` and ``fc.weight``, but not
    ``target.weight`` and ``fc.weight``, which may be two layers.
    """
    parts, its_parts = _parts(name), _parts(other)
    if len(parts) != len(its_parts):
        return [part for part in parts if not _COPY.fullmatch(part)] == its_parts
    differing = [(a, b) for a, b in zip(parts, its_parts, strict=True) if a != b]
    if len(differing) != 1 or not _has_word(differing[0][0], _COPY):
        return False
    kept = [word for word in _words(differing[0][0]) if not _COPY.fullmatch(word)]
    return len(parts) > 2 or _has_word(differing[0][1], _COPY) or kept == _words(differing[0][1])


def _has_word(name: str, pattern: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(word) for part in _parts(name) for word in _words(part))


def _parts(name: str) -> list[str]:
    return re.split(r"[./]", name)


def _words(part: str) -> list[str]:
    """Return the words of a part of a name, without numbers, in lower case."""
    return [word.lower() for word in re.split(r"[_\d\s-]+|(?<=[a-z])(?=[A-Z])", part) if word]
