"""Quantization against other people's implementations.

They are heavy and live in the extra `oracles`; without it these tests are skipped and say so.
"""

import numpy as np
import pytest
from variants import everywhere, large, same

import pyfq
from pyfq import PerGroup, PerRow, PerTensor


@pytest.fixture
def onnx_run():
    """Return a function that runs one ONNX operator in onnxruntime."""
    onnx = pytest.importorskip("onnx", reason="needs the oracles extra")
    ort = pytest.importorskip("onnxruntime", reason="needs the oracles extra")

    def run(operator, *inputs, outputs=1, opset=21, **attributes):
        names = [f"x{i}" for i in range(len(inputs))]
        results = [f"y{i}" for i in range(outputs)]
        node = onnx.helper.make_node(operator, names, results, **attributes)
        value = [
            onnx.helper.make_tensor_value_info(
                n, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
            )
            for n, x in zip(names, inputs, strict=True)
        ]
        empty = [onnx.helper.make_empty_tensor_value_info(n) for n in results]
        graph = onnx.helper.make_graph([node], "g", value, empty)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        model.ir_version = 10
        session = ort.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_quantize_per_row_is_quantizelinear(onnx_run, scheme):
    w = large(np.float32, shape=(37, 129))
    for where in everywhere():
        q = pyfq.quantize(w, 8, scheme=scheme)
        zeros = np.zeros(37, np.int8) if q.zero_point is None else q.zero_point.reshape(-1)
        scale = q.scale.reshape(-1)
        (codes,) = onnx_run("QuantizeLinear", w, scale, zeros, axis=0)
        same(q.codes, codes, where)
        (reals,) = onnx_run("DequantizeLinear", codes, scale, zeros, axis=0)
        same(q.dequantize(), reals, where)


@pytest.mark.parametrize(("scheme", "dtype"), [("symmetric", np.int16), ("affine", np.uint16)])
def test_quantize_to_16_bits_is_quantizelinear(onnx_run, scheme, dtype):
    w = large(np.float32, shape=(37, 129))
    q = pyfq.quantize(w, 16, scheme=scheme, granularity=PerTensor())
    zero = np.zeros((), dtype) if q.zero_point is None else q.zero_point
    (codes,) = onnx_run("QuantizeLinear", w, q.scale, zero)
    same(q.codes, codes, "16 bits")


def test_quantize_per_group_is_blocked_quantizelinear(onnx_run):
    w = large(np.float32, shape=(16, 128))
    q = pyfq.quantize(w, 8, scheme="affine", granularity=PerGroup(32))
    (codes,) = onnx_run("QuantizeLinear", w, q.scale, q.zero_point, axis=1, block_size=32)
    same(q.codes, codes, "blocked")


@pytest.mark.parametrize(
    "x",
    [
        [0, 2, -3, -2.5, 1.34, 0.5],
        [-1.0, -2.1, -1.3, -2.5, -3.34, -4.0],
        [1, 2.1, 1.3, 2.5, 3.34, 4.0, 1.5, 2.6, 3.9, 4.0, 3.0, 2.345],
    ],
)
def test_quantize_per_tensor_is_dynamicquantizelinear(onnx_run, x):
    x = np.array(x, np.float32)
    codes, scale, zero_point = onnx_run("DynamicQuantizeLinear", x, outputs=3)
    for where in everywhere():
        q = pyfq.quantize(x, 8, scheme="affine", granularity=PerTensor())
        same(q.codes, codes, where)
        same(q.scale, scale, where)
        same(q.zero_point, zero_point, where)


def test_published_vectors_of_quantizelinear():
    x = np.array([0, 2, 3, 1000, -254, -1000], np.float32)
    q = pyfq.quantize(x, 8, scheme="affine", granularity=PerTensor(), scale=2.0, zero_point=128)
    assert q.codes.tolist() == [128, 129, 130, 255, 1, 0]
    x = np.array([[0, 2.5, 4.8, 8.6], [-30, -20, 6, 9], [12, 15, 16, 40]], np.float32)
    scale = np.array([[2], [3], [4]], np.float32)
    zeros = np.ones((3, 1), np.uint8)
    q = pyfq.quantize(x, 4, scheme="affine", scale=scale, zero_point=zeros)
    assert q.codes.tolist() == [[1, 2, 3, 5], [0, 0, 3, 4], [4, 5, 5, 11]]


def test_blocks_of_q8_0_are_those_of_gguf():
    gguf = pytest.importorskip("gguf", reason="needs the oracles extra")
    w = large(np.float32, shape=(64, 256))
    blocks = gguf.quants.quantize(w, gguf.GGMLQuantizationType.Q8_0).reshape(-1, 34)
    want = np.ascontiguousarray(blocks[:, 2:]).view(np.int8).reshape(w.shape)
    for where in everywhere():
        q = pyfq.quantize(w, 8, granularity=PerGroup(32), rounding="half_away", reciprocal=True)
        same(q.codes, want, where)
        same(
            q.scale.astype(np.float16).reshape(-1),
            np.ascontiguousarray(blocks[:, :2]).view(np.float16)[:, 0],
            where,
        )


def test_blocks_of_q4_0_are_those_of_gguf():
    gguf = pytest.importorskip("gguf", reason="needs the oracles extra")
    w = large(np.float32, shape=(64, 256))
    w.reshape(-1)[::1001] = 0.0
    blocks = gguf.quants.quantize(w, gguf.GGMLQuantizationType.Q4_0).reshape(-1, 18)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).reshape(w.shape)
    how = {"granularity": PerGroup(32), "rounding": "half_up", "range": "full"}
    scale = pyfq.quantize(w, 4, scale="signed_max", **how).scale
    same(
        scale.astype(np.float16).reshape(-1),
        np.ascontiguousarray(blocks[:, :2]).view(np.float16)[:, 0],
        "scale",
    )
    # gguf multiplies by the float32 reciprocal in float64: its step is the reciprocal of that.
    step = 1 / (np.float32(1) / scale).astype(np.float64)
    for where in everywhere():
        q = pyfq.quantize(w.astype(np.float64), 4, scale=step, **how)
        same(q.codes + 8, nibbles.astype(np.int8), where)


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_quantize_is_that_of_torch(scheme):
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    w = large(np.float32, shape=(37, 129))
    q = pyfq.quantize(w, 8, scheme=scheme)
    zeros = (
        np.zeros(37, np.int32)
        if q.zero_point is None
        else q.zero_point.reshape(-1).astype(np.int32)
    )
    low, high = (-128, 127) if scheme == "symmetric" else (0, 255)
    # torch multiplies by the reciprocal of the scale.
    want = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(w),
        torch.from_numpy(q.scale.reshape(-1).copy()),
        torch.from_numpy(zeros),
        0,
        low,
        high,
    ).numpy()
    got = pyfq.fake_quantize(
        w, 8, scheme=scheme, scale=q.scale, zero_point=q.zero_point, reciprocal=True
    )
    same(got, want, "torch")


def test_symmetric_absmax_half_is_that_of_compressed_tensors():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    pytest.importorskip("compressed_tensors", reason="needs the oracles extra")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    w = large(np.float32, shape=(37, 128))
    for bits, symmetric in ((4, True), (8, True), (4, False), (8, False)):
        arguments = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="channel")
        low, high = (torch.from_numpy(f(w, axis=1, keepdims=True)) for f in (np.min, np.max))
        scale, zero = calculate_qparams(low, high, arguments)
        want = quantize(torch.from_numpy(w), scale, zero, arguments, dtype=torch.int8).numpy()
        if symmetric:
            q = pyfq.quantize(w, bits, scale="absmax_half", range="full", granularity=PerRow())
            codes = q.codes
        else:
            q = pyfq.quantize(w, bits, scheme="affine", granularity=PerRow())
            codes = (q.codes.astype(np.int16) - 2 ** (bits - 1)).astype(np.int8)
        same(q.scale, scale.numpy(), f"{bits} bits")
        same(codes, want, f"{bits} bits")
