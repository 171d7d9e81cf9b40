"""Topic `integer`: equal to its reference and to others' products, everywhere; what it refuses."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx_session import exact_session
from variants import everywhere, same

import pyfq
from pyfq import reference

BYTES = (np.int8, np.uint8)
PAIRS = list(itertools.product(BYTES, repeat=2))
# Rows, steps and columns: around the edges of tiles (2 or 4 rows, 4 or 6 columns), vectors and
# squares (16, 64), chunks and items (48 rows; 48 and 192 columns) and parts (2048 steps), and what
# is worth a team.
SHAPES = [
    (1, 1, 1),
    (4, 64, 6),
    (5, 65, 7),
    (3, 15, 17),
    (49, 17, 191),
    (47, 33, 193),
    (130, 127, 131),
    (2, 2047, 5),
    (5, 2049, 49),
    (97, 4133, 50),
    (301, 403, 197),
    (1100, 2100, 13),
    (7, 300, 1201),
]


def extremes(dtype):
    limits = np.iinfo(dtype)
    return st.one_of(
        st.sampled_from([int(limits.min), int(limits.max), 0, 1]),
        st.integers(int(limits.min), int(limits.max)),
    )


@st.composite
def operands(draw):
    """Matrices with leading axes or not, and zero points in every form there is."""
    k = draw(st.integers(0, 70))
    lead = draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]))
    m, n = draw(st.integers(0, 9)), draw(st.integers(0, 21))
    a_dtype, b_dtype = draw(st.sampled_from(PAIRS))
    a = draw(arrays(a_dtype, (*lead, m, k), elements=extremes(a_dtype)))
    b = draw(arrays(b_dtype, (k, n), elements=extremes(b_dtype)))
    a_forms = [(), (1,), (m,), (*lead, m, 1)]
    a_shape = draw(st.sampled_from([None, *a_forms]))
    b_shape = draw(st.sampled_from([None, (), (1,), (n,), (1, n)]))
    return a, b, zero_point(draw, a_dtype, a_shape), zero_point(draw, b_dtype, b_shape)


def zero_point(draw, dtype, shape):
    if shape is None:
        return draw(extremes(dtype))
    return draw(arrays(dtype, shape, elements=extremes(dtype)))


def scale(draw, x):
    """Return scales of the form of a zero point."""
    positive = st.floats(0.001953125, 1000, width=32)
    if not isinstance(x, np.ndarray):
        return draw(positive)
    return draw(arrays(np.float32, x.shape, elements=positive))


def random(dtype, *shape, seed=0):
    """Return random codes, a tenth of them the smallest and a tenth the largest."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng([seed, *shape])
    x = rng.integers(limits.min, limits.max + 1, shape, dtype)
    place = rng.random(shape)
    x[place < 0.1] = limits.min
    x[place > 0.9] = limits.max
    return x


def product_of_floats(a, b, a_zero=0, b_zero=0):
    """Return the product from BLAS, exact below 2**53, as int32 holds it."""
    left = a.astype(np.float64) - np.asarray(a_zero, np.float64)
    right = b.astype(np.float64) - np.asarray(b_zero, np.float64)
    return (left @ right).astype(np.int64).astype(np.int32)


@given(operands())
def test_matmul_integer_matches_reference(drawn):
    want = reference.matmul_integer(*drawn)
    for where in everywhere():
        same(pyfq.matmul_integer(*drawn), want, where)


@given(operands(), st.data())
def test_quantized_matmul_matches_reference(drawn, data):
    a, b, a_zero, b_zero = drawn
    y_zero = zero_point(
        data.draw, data.draw(st.sampled_from(BYTES)), data.draw(st.sampled_from([(), (1,)]))
    )
    y_scale = data.draw(st.floats(0.0078125, 1e6, width=32))
    arguments = (a, scale(data.draw, a_zero), a_zero, b, scale(data.draw, b_zero), b_zero)
    want = reference.quantized_matmul(*arguments, y_scale, y_zero)
    for where in everywhere():
        same(pyfq.quantized_matmul(*arguments, y_scale, y_zero), want, where)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtypes", PAIRS, ids=lambda pair: "-".join(t.__name__ for t in pair))
def test_products_of_any_size_on_any_number_of_threads(shape, dtypes):
    m, k, n = shape
    a, b = random(dtypes[0], m, k), random(dtypes[1], k, n, seed=1)
    a_zero, b_zero = random(dtypes[0], m, seed=2), random(dtypes[1], n, seed=3)
    rng = np.random.default_rng(4)
    a_scale, b_scale = rng.random(m, np.float32) + 0.5, rng.random(n, np.float32) + 0.5
    y_scale, y_zero = float(100 * k**0.5), dtypes[1](3)
    plain = product_of_floats(a, b)
    shifted = product_of_floats(a, b, a_zero[:, None], b_zero)
    step = a_scale[:, None] * b_scale / np.float32(y_scale)
    limits = np.iinfo(dtypes[1])
    codes = np.rint(shifted.astype(np.float32) * step) + np.float32(3)
    codes = np.clip(codes, limits.min, limits.max).astype(dtypes[1])
    for where in everywhere():
        same(pyfq.matmul_integer(a, b), plain, where)
        same(pyfq.matmul_integer(a, b, a_zero, b_zero), shifted, where)
        got = pyfq.quantized_matmul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)
        same(got, codes, where)


@pytest.mark.parametrize("k", [65535, 65536, 65537, 65793, 65794, 70000])
def test_long_sums_are_exact_and_wrap_only_where_int32_ends(k):
    # Of 65793 * 255 * -128 is the last that int32 holds.
    for a_code, b_code in [(255, -128), (255, 127), (0, -128)]:
        a = np.full((5, k), a_code, np.uint8)
        b = np.full((k, 7), b_code, np.int8)
        true = k * a_code * b_code
        wrapped = (true + 2**31) % 2**32 - 2**31
        assert (true == wrapped) == (abs(true) < 2**31)
        want = np.full((5, 7), wrapped, np.int32)
        for where in everywhere():
            same(pyfq.matmul_integer(a, b), want, where)
    a, b = random(np.int8, 5, k), random(np.uint8, k, 7)
    for where in everywhere():
        same(pyfq.matmul_integer(a, b, -128, 255), product_of_floats(a, b, -128, 255), where)


@pytest.mark.parametrize("k", [33025, 33026, 70000])
def test_products_of_shifted_codes_wrap_like_products_of_codes(k):
    a, b = np.full((2, k), 255, np.uint8), np.full((k, 3), 127, np.int8)
    true = k * 255 * 255  # zero points at the other end
    want = np.full((2, 3), (true + 2**31) % 2**32 - 2**31, np.int32)
    codes = reference.quantized_matmul(a, 1.0, 0, b, 1.0, -128, 2.0**26, np.int8(5))
    for where in everywhere():
        same(pyfq.matmul_integer(a, b, 0, -128), want, where)
        got = pyfq.quantized_matmul(a, 1.0, 0, b, 1.0, -128, 2.0**26, np.int8(5))
        same(got, codes, where)


def test_sums_do_not_saturate_where_16_bits_do():
    # Of oneDNN's notes on int8: a kernel that adds pairs in 16 bits gives 32767 and 255.
    b = np.array([[127], [127], [0], [0]], np.int8)
    for where in everywhere():
        unsigned = np.array([[255, 255, 0, 0]], np.uint8)
        same(pyfq.matmul_integer(unsigned, b), np.array([[64770]], np.int32), where)
        signed = np.array([[127, 127, 0, 0]], np.int8)
        same(pyfq.matmul_integer(signed, b), np.array([[32258]], np.int32), where)


def test_ties_are_rounded_to_even_before_the_zero_point():
    a = np.arange(-9, 10, dtype=np.int8)[:, None]
    b = np.ones((1, 1), np.int8)
    even = np.array([-4, -4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4])
    for zero in (0, 1, -3):
        for where in everywhere():
            y = pyfq.quantized_matmul(a, 0.5, 0, b, 1.0, 0, 1.0, np.int8(zero))
            same(y[:, 0], (even + zero).astype(np.int8), where)


def test_published_vectors():
    a = np.array([[208, 236, 0, 238], [3, 214, 255, 29]], np.uint8)
    b = np.array([[152, 51, 244], [60, 26, 255], [0, 127, 246], [127, 254, 247]], np.uint8)
    sums = np.array([[11475, -778, 31402], [-26914, -11872, 7513]], np.int32)
    codes = np.array([[168, 115, 255], [1, 66, 151]], np.uint8)
    signed = np.array([[41, -12, -9], [1, -75, -128]], np.int8)
    a8, b8 = (a - np.uint8(127)).view(np.int8), (b - np.uint8(127)).view(np.int8)
    for where in everywhere():
        same(pyfq.matmul_integer(a, b, 113, 114), sums, where)
        y = pyfq.quantized_matmul(a, 0.0066, 113, b, 0.00705, 114, 0.0107, np.uint8(118))
        same(y, codes, where)
        y = pyfq.quantized_matmul(a8, 0.0066, -14, b8, 0.00705, -13, 0.0107, np.int8(-9))
        same(y, signed, where)


@pytest.fixture(scope="module")
def node_tests():
    """Return ONNX's own tests of the two operators: inputs and outputs by name."""
    loader = pytest.importorskip("onnx.backend.test.loader", reason="needs the oracles extra")
    with np.errstate(all="ignore"):  # of the tests of other operators, made along with these
        cases = loader.load_model_tests(kind="node")
    names = ("test_matmulinteger", "test_qlinearmatmul")
    return [
        (case.name, inputs, outputs)
        for case in cases
        if case.name.startswith(names)
        for inputs, outputs in case.data_sets
    ]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_node_tests_of_onnx(node_tests):
    assert len(node_tests) >= 9
    for name, inputs, (want,) in node_tests:
        # Scales in float16 are those numbers in float32; a stack on the right is one after another.
        inputs = [x.astype(np.float32) if x.dtype == np.float16 else x for x in inputs]
        integer = name.startswith("test_matmulinteger")
        function = pyfq.matmul_integer if integer else pyfq.quantized_matmul
        at = 1 if integer else 3
        for where in everywhere():
            if inputs[at].ndim == 2:
                got = function(*inputs)
            else:
                stacks = zip(inputs[0], inputs[at], strict=True)
                got = [function(a, *inputs[1:at], b, *inputs[at + 1 :]) for a, b in stacks]
            same(np.asarray(got), want, f"{name} {where}")


def onnx_run(operator, x, *constants):
    """Return what one ONNX operator makes of an input and of constants in ONNX Runtime."""
    onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
    names = [f"x{i}" for i in range(1 + len(constants))]
    dtype = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    given = onnx.helper.make_tensor_value_info(names[0], dtype, x.shape)
    weights = [
        onnx.numpy_helper.from_array(np.asarray(constant), name)
        for name, constant in zip(names[1:], constants, strict=True)
    ]
    node = onnx.helper.make_node(operator, names, ["y"])
    empty = [onnx.helper.make_empty_tensor_value_info("y")]
    graph = onnx.helper.make_graph([node], "g", [given], empty, weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    model.ir_version = 10
    return exact_session(model.SerializeToString()).run(None, {names[0]: x})[0]


@pytest.mark.parametrize("shape", [(5, 33, 7), (64, 257, 100)], ids=str)
@pytest.mark.parametrize("dtypes", PAIRS, ids=lambda pair: "-".join(t.__name__ for t in pair))
def test_products_are_those_of_onnxruntime(shape, dtypes):
    m, k, n = shape
    a, b = random(dtypes[0], m, k), random(dtypes[1], k, n, seed=1)
    a_zero, b_zero = dtypes[0](17), random(dtypes[1], n, seed=3)
    b_scale = np.random.default_rng(0).random(n, np.float32) + 0.5
    scales = [np.float32(0.02), b_scale, np.float32(1.7 * k**0.5)]
    zero = dtypes[0](100)
    as_scalars = [np.asarray(x) for x in (a_zero, scales[0], scales[2], zero)]
    try:
        sums = onnx_run("MatMulInteger", a, b, as_scalars[0], b_zero)
        codes = onnx_run(
            "QLinearMatMul",
            *(a, as_scalars[1], as_scalars[0]),
            *(b, b_scale, b_zero),
            *as_scalars[2:],
        )
    except Exception as e:
        if "NOT_IMPLEMENTED" not in str(e):
            raise
        pytest.skip("onnxruntime has no such product")
    for where in everywhere():
        same(pyfq.matmul_integer(a, b, a_zero, b_zero), sums, where)
        got = pyfq.quantized_matmul(a, scales[0], a_zero, b, b_scale, b_zero, scales[2], zero)
        same(got, codes, where)


def test_sums_beyond_int32_are_those_of_onnxruntime():
    a, b = np.full((2, 70000), 255, np.uint8), np.full((70000, 3), -128, np.int8)
    want = onnx_run("MatMulInteger", a, b)
    assert want[0, 0] == 2**32 - 70000 * 255 * 128
    for where in everywhere():
        same(pyfq.matmul_integer(a, b), want, where)


def test_products_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    a, b = random(np.int8, 72, 200), random(np.int8, 200, 96, seed=1)
    want = torch._int_mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    for where in everywhere():
        same(pyfq.matmul_integer(a, b), want, where)


def test_out_is_written_and_returned():
    a, b = random(np.uint8, 2, 3, 40), random(np.int8, 40, 5)
    sums, codes = np.empty((2, 3, 5), np.int32), np.empty((2, 3, 5), np.uint8)
    assert pyfq.matmul_integer(a, b, 3, out=sums) is sums
    same(sums, pyfq.matmul_integer(a, b, 3), "sums")
    arguments = (a, 0.1, 3, b, 0.2, 0, 9.0, np.uint8(128))
    assert pyfq.quantized_matmul(*arguments, out=codes) is codes
    same(codes, pyfq.quantized_matmul(*arguments), "codes")


def test_no_steps_give_the_code_of_zero():
    a, b = np.empty((2, 0), np.uint8), np.empty((0, 3), np.int8)
    same(pyfq.matmul_integer(a, b, 7, 7), np.zeros((2, 3), np.int32), "sums")
    y = pyfq.quantized_matmul(a, 0.1, 7, b, 0.2, 7, 9.0, np.uint8(128))
    same(y, np.full((2, 3), 128, np.uint8), "codes")


A, B = np.ones((3, 4), np.uint8), np.ones((4, 5), np.int8)
FEW = np.ones(2, np.float32)


def integer(*args, **options):
    return lambda: pyfq.matmul_integer(*args, **options)


def quantized(
    a=A, a_scale=0.1, a_zero=0, b=B, b_scale=0.1, b_zero=0, y_scale=0.1, y_zero=A[0, 0], **options
):
    return lambda: pyfq.quantized_matmul(
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, **options
    )


REFUSALS = [
    (integer(A.astype(np.int16), B), TypeError, "a must be int8 or uint8, not int16"),
    (integer(A, B.astype(bool)), TypeError, "b must be int8 or uint8, not bool"),
    (integer(A.tolist(), B), TypeError, "a must be a NumPy array, not list"),
    (integer(A[0], B), ValueError, r"a must have at least 2 axes, but its shape is \(4,\)"),
    (integer(A, B[None]), ValueError, r"b must have 2 axes, but its shape is \(1, 4, 5\)"),
    (integer(A, B[:3]), ValueError, r"b must have 4 rows for a of shape \(3, 4\), but .*\(3, 5\)"),
    (integer(np.asfortranarray(A), B), ValueError, "a must be C-contiguous"),
    (integer(A, np.ones((4, 10), np.int8)[:, ::2]), ValueError, "b must be C-contiguous"),
    (integer(A, B, 256), ValueError, r"a_zero_point must be 0 \.\.\. 255, not 256"),
    (integer(A, B, -1), ValueError, r"a_zero_point must be 0 \.\.\. 255, not -1"),
    (integer(A, B, 0, 128), ValueError, r"b_zero_point must be -128 \.\.\. 127, not 128"),
    (integer(A, B, 1.0), TypeError, "a_zero_point must be an integer, not float"),
    (integer(A, B, True), TypeError, "a_zero_point must be an integer, not bool"),
    (integer(A, B, np.int8(1)), TypeError, "a_zero_point must be uint8, not int8"),
    (integer(A, B, 0, np.zeros(5, np.uint8)), TypeError, "b_zero_point must be int8, not uint8"),
    (
        integer(A, B, np.zeros(4, np.uint8)),
        ValueError,
        r"a_zero_point must be a number or have shape \(3,\) or \(3, 1\), not \(4,\)",
    ),
    (
        integer(A, B, 0, np.zeros((5, 1), np.int8)),
        ValueError,
        r"b_zero_point must be a number or have shape \(5,\) or \(1, 5\), not \(5, 1\)",
    ),
    (integer(A, B, A[:, 0]), ValueError, "a_zero_point must be C-contiguous"),
    (integer(A, B, out=np.empty((3, 5), np.int64)), TypeError, "out must be int32, not int64"),
    (integer(A, B, out=np.empty((5, 3), np.int32)), ValueError, r"out must have shape \(3, 5\)"),
    (
        integer(A.repeat(5, 0), B, out=np.empty((5, 15), np.int32).T),
        ValueError,
        "out must be C-contiguous",
    ),
    (quantized(a=A.astype(np.float32)), TypeError, "a must be int8 or uint8, not float32"),
    (quantized(b=B[0]), ValueError, "b must have 2 axes"),
    (quantized(a_zero=-1), ValueError, r"a_zero_point must be 0 \.\.\. 255, not -1"),
    (quantized(b_zero=A[0, :1]), TypeError, "b_zero_point must be int8, not uint8"),
    (quantized(a_scale=[0.1]), TypeError, "a_scale must be a number, not list"),
    (quantized(a_scale=np.ones(3)), TypeError, "a_scale must be float32, not float64"),
    (quantized(a_scale=FEW), ValueError, r"a_scale must be a number or have shape \(3,\)"),
    (quantized(b_scale=FEW), ValueError, r"b_scale must be a number or have shape \(5,\)"),
    (quantized(y_scale=FEW), ValueError, r"y_scale must be a number or have shape \(1,\), not"),
    (quantized(a_scale=0.0), ValueError, "a_scale must be positive and finite in float32"),
    (quantized(b_scale=-1.0), ValueError, "b_scale must be 0"),
    (quantized(b_scale=FEW[:1] * -1), ValueError, "b_scale must be positive and finite"),
    (quantized(y_scale=FEW[:1] * np.inf), ValueError, "y_scale must be positive and finite"),
    (quantized(y_scale=1e-60), ValueError, "y_scale must be positive and finite in float32"),
    (quantized(y_scale=np.nan), ValueError, "y_scale must be 0"),
    (
        quantized(a_scale=1e30, b_scale=1e30, y_scale=1e30),
        ValueError,
        r"a_scale \* b_scale / y_scale must be finite in float32",
    ),
    (quantized(y_zero=3), TypeError, "y_zero_point must be a NumPy int8 or uint8, .* not int"),
    (quantized(y_zero=np.int32(3)), TypeError, "y_zero_point must be a NumPy int8 .* not int32"),
    (quantized(y_zero=A[0]), ValueError, r"y_zero_point must have one entry, .* \(4,\)"),
    (quantized(out=np.empty((3, 5), np.int8)), TypeError, "out must be uint8, not int8"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_integer_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_integer_refuses_an_out_that_is_an_input():
    room = np.ones(400, np.int8)
    a, b = room[:16].reshape(4, 4), room[16:32].reshape(4, 4)
    for out in (room[:64], room[28:92]):
        with pytest.raises(ValueError, match="out must not overlap an input"):
            pyfq.matmul_integer(a, b, out=out.view(np.int32).reshape(4, 4))
    for out in (a, b):
        with pytest.raises(ValueError, match="out must not overlap an input"):
            pyfq.quantized_matmul(a, 0.1, 0, b, 0.1, 0, 0.1, np.int8(0), out=out)
    zeros = room[100:104]
    with pytest.raises(ValueError, match="out must not overlap an input"):
        pyfq.quantized_matmul(
            a, 0.1, zeros, b, 0.1, 0, 0.1, np.int8(0), out=room[100:116].reshape(4, 4)
        )
    out = np.empty((4, 4), np.int32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        pyfq.matmul_integer(a, b, out=out)
