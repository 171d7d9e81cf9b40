"""What is given in place of a network is told which importer takes it."""

from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq import Network

X = np.ones((8, 4), np.float32)
Y = np.zeros(8, np.int64)
STUDENT = Network.create((4, 3))


def torch_module():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    return torch.nn.Sequential(torch.nn.Linear(4, 3))


def onnx_model():
    return pytest.importorskip("onnx", reason="needs the oracles extra").ModelProto()


def estimator():
    return pytest.importorskip("sklearn.linear_model").LinearRegression()


GIVEN = {
    "from_torch(network)": (torch_module, "torch Sequential"),
    "from_sklearn(network)": (estimator, "sklearn LinearRegression"),
    "from_onnx(network)": (onnx_model, "onnx ModelProto"),
    "from_onnx('teacher.onnx')": (lambda: "teacher.onnx", "str"),
    "load_network('student.safetensors')": (lambda: Path("student.safetensors"), "PosixPath"),
    "from_arrays(network)": (lambda: {"fc.weight": X}, "dict"),
}


@pytest.mark.parametrize("call", GIVEN)
def test_the_call_that_imports_is_named(call):
    make, kind = GIVEN[call]
    given = make()
    for function in (
        lambda: pyfq.train(given, X, Y),
        lambda: pyfq.evaluate(given, X, Y),
        lambda: pyfq.save_network(given, "never-written.safetensors"),
        lambda: pyfq.prune_neurons(given, 0.5),
    ):
        with pytest.raises(TypeError) as error:
            function()
        assert str(error.value) == f"network must be a Network, not {kind}: pass pyfq.{call}"


@pytest.mark.parametrize("call", [call for call in GIVEN if "sklearn" not in call])
def test_teachers_are_told_how_they_become_one(call):
    make, kind = GIVEN[call]
    given = make()
    for function in (
        lambda: pyfq.distill(given, STUDENT, X),
        lambda: pyfq.evaluate(STUDENT, X, Y, teacher=given),
    ):
        with pytest.raises(TypeError) as error:
            function()
        must = "teacher must be a Network, a callable, an estimator or an array"
        text = f"{must}, not {kind}: pass pyfq.{call.replace('network)', 'teacher)')}"
        assert str(error.value).startswith(text)


def test_an_estimator_is_a_teacher_as_it_is():
    linear_model = pytest.importorskip("sklearn.linear_model")
    teacher = linear_model.LinearRegression().fit(X, np.ones((8, 3)))
    assert pyfq.distill(teacher, STUDENT, X, epochs=1).stopped == "done"
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    with pytest.raises(TypeError, match="an estimator or an array, not sklearn StandardScaler"):
        pyfq.distill(scaler, STUDENT, X)


def test_a_function_that_a_message_shows_works():
    torch = pytest.importorskip("torch", reason="needs the oracles extra")
    teacher = torch_module()
    with pytest.raises(TypeError, match=r"or lambda x: teacher\(torch\.from_numpy\(x\)\)") as error:
        pyfq.distill(teacher, STUDENT, X)
    function = eval(str(error.value).partition(", or ")[2], {"teacher": teacher, "torch": torch})
    assert function(X).shape == (8, 3)
    assert pyfq.distill(function, STUDENT, X, epochs=1).stopped == "done"


def test_students_are_told_too():
    with pytest.raises(TypeError, match=r"student must be a Net.*pyfq\.from_torch\(student\)"):
        pyfq.distill(STUDENT, torch_module(), X)
    with pytest.raises(TypeError, match=r"network must be a Network, not int$"):
        pyfq.train(3, X, Y)
