"""How errors show what came: on one line, of bounded length, whatever it is."""

import numpy as np
import pytest

import pyfq
from pyfq._core.check import MOST_SHOWN, as_float_dtype, as_sequence, shown


class Lines:
    def __repr__(self):
        return "first\n   second\r\nthird"


class Raises:
    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("relu", "'relu'"),
        (b"\x01", r"b'\x01'"),
        ("a\nb", r"'a\nb'"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (10**400, "a number of 1329 bits"),
        ([1, [2, (3,)]], "[1, [2, (3,)]]"),
        (Lines(), "first second third"),
        (np.ones((8, 8)), "an array of shape (8, 8)"),
        (np.ma.ones(3), "array([1., 1., 1.])"),
        (np.eye(2), "array([[1., 0.], [0., 1.]])"),
        ([np.ones(9), 10**400], "[an array of shape (9,), a number of 1329 bits]"),
        (np.array(2.5), "array(2.5)"),
        (pyfq.PerGroup(8), "PerGroup(size=8)"),
    ],
)
def test_small_values_are_shown_as_they_are(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    "value",
    [
        list(range(10**6)),
        {i: "x" * 10**4 for i in range(1000)},
        [[[["x" * 10**4] * 100] * 100] * 100] * 100,
        "x" * 10**6,
        b"x" * 10**6,
        {*range(10**5)},
        np.ones((100, 100)),
        [np.ones((100, 100))] * 50,
        [10**5000] * 50,
        [Lines()] * 50,
        Raises(),
    ],
    ids=lambda x: type(x).__name__,
)
def test_any_value_is_shown_on_one_short_line(value):
    text = shown(value)
    assert 0 < len(text) <= MOST_SHOWN
    assert len(text.splitlines()) == 1


MANY = list(range(10**6))
W = np.eye(4, dtype=np.float32)
CALLS = {
    "scheme": lambda x: pyfq.quantize(W, scheme=x),
    "granularity": lambda x: pyfq.prune_ratio(W, 0.5, granularity=x),
    "activation": lambda x: pyfq.activate(W, x),
    "norm": lambda x: pyfq.prune_rows(W, 0.5, norm=x),
    "dtype": lambda x: pyfq.Network.create((4, 3), dtype=x),
    "activation_bits": lambda x: pyfq.linear(W, W, activation_bits=x),
    "optimizer": lambda x: pyfq.train(pyfq.Network.create((4, 3)), W, W, optimizer=x),
    "format": lambda x: pyfq.to_sparse(W, x),
    "signed": lambda x: pyfq.unpack(np.zeros((4, 1), np.uint8), 2, 4, signed=x),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("value", [MANY, np.ones((8, 8)), Lines(), "x" * 10**6, {1: MANY}])
def test_errors_name_the_argument_on_one_short_line(name, value):
    with pytest.raises((TypeError, ValueError), match=f"^{name}") as raised:
        CALLS[name](value)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", ["x", ">f4", ">f8", "f2", int, "f4,f4", "(2,)f4", 5, MANY, W])
def test_what_is_no_float_dtype_is_refused_by_name(dtype):
    with pytest.raises(TypeError, match=r"^dtype must be float32 or float64, not ") as raised:
        as_float_dtype(dtype)
    assert len(str(raised.value)) < 400
    assert as_float_dtype("f4") == np.float32


@pytest.mark.parametrize("value", ["12", b"\x01", bytearray(2), 5, {1, 2}, {1: 2}, None, iter([1])])
def test_text_and_bytes_are_no_sequences(value):
    with pytest.raises(
        TypeError, match=f"^k must be a sequence of int, not {type(value).__name__}$"
    ):
        as_sequence(value, "k", "int")
    assert list(as_sequence(range(2), "k", "int")) == [0, 1]
    with pytest.raises(ValueError, match=r"^k must be a sequence of int, not an array of"):
        as_sequence(W, "k", "int")
