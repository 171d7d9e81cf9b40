"""ONNX Runtime, told to compute what ONNX says."""

import pytest


def exact_session(model):
    """Return a session of a model, a path or bytes, whose sums of integers are exact.

    Where a CPU has AVX2 but not VNNI, ONNX Runtime lets sums of two products of uint8 and int8
    saturate at 16 bits, unless it is told not to and the weights are constants.
    """
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the oracles extra")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
