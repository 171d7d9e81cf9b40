"""What people have becomes an array, or is refused by its name."""

import array
import tracemalloc

import numpy as np
import pytest

import pyfq
from pyfq._core.array_like import as_array, as_columns, as_floats

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)
WANTED = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


class Tensor:
    """Of a library that knows one of the protocols."""

    def __init__(self, x, protocol):
        method = getattr(x, protocol)
        setattr(Tensor, protocol, lambda self, *args, **how: method(*args, **how))
        Tensor.__dlpack_device__ = lambda self: x.__dlpack_device__()


def tensor(protocol):
    for name in ("__array__", "__dlpack__"):
        if hasattr(Tensor, name):
            delattr(Tensor, name)
    return Tensor(WANTED.copy(), protocol)


def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": [1, 3, 5], "b": [2.0, 4.0, 6.0]})


def nullable():
    return frame().convert_dtypes()


def torch_tensor():
    return pytest.importorskip("torch").tensor(WANTED)


def added_dtype():
    return WANTED.astype(pytest.importorskip("ml_dtypes").bfloat16)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WANTED.tolist(),
        lambda: tuple(map(tuple, WANTED)),
        lambda: [np.array([1, 2]), np.array([3, 4]), np.array([5, 6])],
        lambda: np.asfortranarray(WANTED),
        lambda: WANTED[::-1][::-1],
        lambda: np.repeat(WANTED, 2, axis=1)[:, ::2],
        lambda: WANTED.astype(">f8"),
        lambda: WANTED.astype(np.float16),
        lambda: WANTED.astype(np.longdouble),
        lambda: WANTED.astype(np.uint8),
        lambda: WANTED.astype(object),
        lambda: WANTED.astype(int).astype(object),
        lambda: np.matrix(WANTED),
        lambda: np.ma.array(WANTED),
        lambda: tensor("__array__"),
        lambda: tensor("__dlpack__"),
        frame,
        nullable,
        torch_tensor,
        added_dtype,
    ],
)
@pytest.mark.parametrize("dtype", [F4, F8])
def test_what_people_have_becomes_floats(make, dtype):
    got = as_floats(make(), "x", dtype)
    assert type(got) is np.ndarray and got.dtype == dtype and got.flags.c_contiguous
    np.testing.assert_array_equal(got, WANTED)


@pytest.mark.parametrize("dtype", [F4, F8])
def test_arrays_as_they_must_be_are_not_copied(dtype):
    x = WANTED.astype(dtype)
    assert as_floats(x, "x", dtype) is x
    assert np.shares_memory(as_floats(x.view(np.matrix), "x", dtype), x)
    assert np.shares_memory(as_columns(x[0], "y", dtype, 1), x)


def test_memory_is_that_of_one_copy():
    x = np.ones((1000, 1000), np.float32, order="F")
    tracemalloc.start()
    as_floats(x, "x", F4)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.1 * x.nbytes


def test_nan_and_infinities_stay_and_pass_as_a_network_decides():
    x = [[np.nan, np.inf]]
    np.testing.assert_array_equal(as_floats(x, "x", F4), np.array(x, np.float32))


def test_columns_of_text_become_text():
    labels = as_array(np.array(["cat", "dog"], object), "y")
    assert labels.dtype.kind == "U" and labels.tolist() == ["cat", "dog"]
    pandas = pytest.importorskip("pandas")
    assert as_array(pandas.Series(["a", "b"], dtype="category"), "y").tolist() == ["a", "b"]


MASKED = np.ma.array([1.0, 2.0], mask=[0, 1])


class FilledByAMask:
    """A variable of a file whose fill values become masked, as netCDF's do."""

    def __array__(self, dtype=None, copy=None):
        return MASKED


def grad():
    torch = pytest.importorskip("torch")
    return torch.ones(2, requires_grad=True)


def sparse_matrix():
    return pytest.importorskip("scipy.sparse").csr_matrix(WANTED)


def missing():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": ["x", None]})


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: None, TypeError, "x must be an array or a list of numbers, not NoneType"),
        (lambda: "1 2", TypeError, "a list of numbers, not str"),
        (lambda: {"a": 1}, TypeError, "a list of numbers, not dict"),
        (lambda: (i for i in range(3)), TypeError, "an array or a list, not generator"),
        (lambda: object(), TypeError, "an array or a list, not object"),
        (lambda: [[1], [2, 3]], ValueError, r"x \(list\) does not convert to an array: setting an"),
        (lambda: WANTED + 1j, TypeError, "x must be numbers, not complex128"),
        (lambda: [["red", "1"]], TypeError, "x must be numbers, not <U3 such as 'red'"),
        (lambda: np.array([[1, "red"]], object), TypeError, r"but x\[0, 1\] is 'red'"),
        (lambda: np.array([[1, None]], object), TypeError, r"but x\[0, 1\] is None"),
        (lambda: np.array([10**400], object), ValueError, "x must be numbers of 64 bits"),
        (lambda: np.array(["2020"], "M8[D]"), TypeError, r"x must be numbers, not datetime64\[D\]"),
        (lambda: np.zeros(2, "i4,f4"), TypeError, "x must be numbers, not"),
        (lambda: np.ma.array([1.0, 2.0], mask=[0, 1]), ValueError, "masked entries: fill them"),
        (lambda: [MASKED, MASKED], ValueError, "masked entries: fill them"),
        (lambda: ((1.0, 2.0), [MASKED[0], np.ma.masked]), ValueError, "masked entries: fill them"),
        (FilledByAMask, ValueError, "masked entries: fill them"),
        (lambda: [1.0, 1e300], ValueError, r"x must fit float32, but x\[1\] is 1e\+300"),
        (grad, TypeError, r"x \(Tensor\) does not convert to an array: .*detach"),
        (sparse_matrix, TypeError, r"not csr_matrix: pass x.toarray\(\)"),
        (missing, TypeError, r"x must be numbers, but x\[0, 0\] is 'x'"),
    ],
)
def test_what_is_no_data_is_refused_by_name(make, error, match):
    with pytest.raises(error, match=match) as raised:
        as_floats(make(), "x", F4)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "x", [[1.0, 2.0], np.arange(4), np.ones(3, np.float16), np.ones((4, 4)).T[:, :2]]
)
def test_errors_of_kernels_show_the_call_that_converts(x):
    with pytest.raises((TypeError, ValueError), match=r"pass np\.ascontiguous") as raised:
        pyfq.select_kth(x, 0)
    call = str(raised.value).partition(": pass ")[2]
    name = call.partition("(")[2].partition(",")[0].partition(")")[0]
    assert pyfq.select_kth(eval(call, {"np": np, name: x}), 0) == np.min(x)


@pytest.mark.parametrize("x", [None, "text", np.ones(3, complex), array, {1: 2}])
def test_errors_of_kernels_show_no_call_that_would_not_help(x):
    with pytest.raises(TypeError) as raised:
        pyfq.select_kth(x, 0)
    assert "pass" not in str(raised.value)
