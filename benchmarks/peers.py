"""Libraries to compare with, where they are installed."""

import importlib
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
from amx import refuse_amx
from case import PerThreads
from numpy.typing import NDArray


def module(name: str) -> ModuleType | None:
    """Return a module, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def set_blas_threads(threads: int) -> None:
    """Tell NumPy's BLAS, if something can."""
    if _blas:
        for library in _blas.lib_controllers:
            library.set_num_threads(threads)


if "--without-amx" in sys.argv:  # before any library is loaded that would use it
    refuse_amx()
threadpoolctl = module("threadpoolctl")
_blas = threadpoolctl and threadpoolctl.ThreadpoolController().select(user_api="blas")

torch = module("torch")
onnx = module("onnx")
onnxruntime = onnx and module("onnxruntime")


def onnx_model(
    nodes: list[tuple],
    inputs: dict[str, NDArray],
    weights: dict[str, NDArray],
    output: tuple[str, tuple[int, ...], type],
) -> PerThreads:
    """Return a contender of ONNX Runtime.

    Parameters
    ----------
    nodes : list of tuple
        Of each its operator, names of inputs, names of outputs, and attributes by name; operators
        that ONNX does not define are those of ``com.microsoft``.
    inputs, weights : dict of str to NDArray
        Arguments of the model; and its constants, which ONNX Runtime packs when it loads them.
    output : tuple
        Name, shape and dtype of the result, which is written to the same array by all calls.
    """
    helper, to_onnx = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [_node(*node) for node in nodes],
        "peer",
        [
            helper.make_tensor_value_info(name, to_onnx(x.dtype), x.shape)
            for name, x in inputs.items()
        ],
        [helper.make_tensor_value_info(output[0], to_onnx(np.dtype(output[2])), output[1])],
        [onnx.numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()

    def make(threads: int) -> Callable[[], NDArray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Exact sums of integers where weights are constants: see `onnxruntime_saturates`.
        options.add_session_config_entry("session.x64quantprecision", "1")
        # As OMP_WAIT_POLICY has it for the others: see `run.py`.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for name, x in inputs.items():
            binding.bind_cpu_input(name, x)
        y = np.zeros(output[1], output[2])
        binding.bind_output(output[0], "cpu", 0, output[2], output[1], y.ctypes.data)

        def call() -> NDArray:
            session.run_with_iobinding(binding)
            return y

        return call

    return PerThreads(make)


@cache
def onnxruntime_saturates() -> bool:
    """Tell whether sums of two products of uint8 and int8, both of them inputs, saturate.

    They do where a CPU has AVX2 and no VNNI.
    """
    a, b = np.full((1, 2), 255, np.uint8), np.full((2, 1), 127, np.int8)
    node = ("MatMulInteger", ["a", "b"], ["y"], {})
    peer = onnx_model([node], {"a": a, "b": b}, {}, ("y", (1, 1), np.int32))
    return peer.make(1)().item() != 2 * 255 * 127


def _node(operator: str, inputs: list[str], outputs: list[str], attributes: dict):
    domain = "" if onnx.defs.has(operator) else "com.microsoft"
    return onnx.helper.make_node(operator, inputs, outputs, domain=domain, **attributes)
