"""Activation functions."""

from functools import partial

import numpy as np
from case import Case, Contenders, copying, weights
from peers import module, torch

import pyfq
from pyfq import reference
from pyfq.arrays.activation import ACTIVATIONS

special = module("scipy.special")

SHORT = ("relu", "gelu", "softmax")


def cases(quick: bool) -> list[Case]:
    side = 128 if quick else 1024
    n = side * side
    words = [word for word in ACTIVATIONS if word != "leaky_relu"]
    return [
        *(Case(word, partial(of, (side, side), word), 8 * n, n) for word in words),
        Case("gelu, float64", partial(of, (side, side), "gelu", np.float64), 16 * n, n),
        Case("softmax, float64", partial(of, (side, side), "softmax", np.float64), 16 * n, n),
    ]


def of(shape: tuple[int, int], word: str, dtype: type = np.float32) -> Contenders:
    x = weights(shape, dtype) * dtype(100)
    contenders = {
        "pyfq": lambda: pyfq.activate(x, word),
        "reference": lambda: reference.activate(x, word),
        **copying(x),
    }
    if word in IN_NUMPY:
        contenders["numpy"] = lambda: IN_NUMPY[word](x)
    if special and word in IN_SCIPY:
        contenders["scipy.special"] = lambda: IN_SCIPY[word](x)
    if torch:
        t = torch.from_numpy(x)
        function = in_torch(word)
        contenders["torch"] = lambda: function(t)
    return contenders


IN_NUMPY = {
    "relu": lambda x: np.maximum(x, 0),
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu_tanh": lambda x: x / (1 + np.exp(-1.5957691 * (x + 0.044715 * x * x * x))),
    "softplus": lambda x: np.logaddexp(x, 0),
}

IN_SCIPY = {
    "sigmoid": lambda x: special.expit(x),
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: x * special.ndtr(x),
    "softmax": lambda x: special.softmax(x, axis=-1),
}


def in_torch(word: str):
    f = torch.nn.functional
    return {
        "gelu_tanh": lambda t: f.gelu(t, approximate="tanh"),
        "softmax": lambda t: f.softmax(t, dim=-1),
        "exp": torch.exp,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "clipped_relu": f.relu6,
    }.get(word) or getattr(f, word)
