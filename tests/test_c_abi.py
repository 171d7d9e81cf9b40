"""The C symbols and the kernels as C and Fortran programs call them, without Python's checks.

The static libraries of the build are made one shared library, whose calls are in a process of their
own: what these tests are about would end it.
"""

import ctypes
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fortran_sources import kinds_of

import pyfq
from pyfq._core.memory import aligned_empty
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.errors import STATUS
from pyfq.formats.layer_parts import FORMS, INPUTS, LAYER_PARTS, SPAN
from pyfq.products.model import FORMATS

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".venv/build/pyfq"
ARCHIVES = [BUILD / f"libfq_{topics}_isa_base.a" for topics in ("exact", "fast")]
CODES = {name: code for code, (name, _) in STATUS.items()} | {"FQ_OK": 0}
C_TYPES = {
    "integer(4)": ctypes.c_int32, "integer(8)": ctypes.c_int64, "real(4)": ctypes.c_float,
    "real(8)": ctypes.c_double, "@type@": None,
}  # fmt: skip
KINDS = {"f32": ctypes.c_float, "f64": ctypes.c_double}

needs_build = pytest.mark.skipif(
    not all(path.exists() for path in ARCHIVES) or shutil.which("gfortran") is None,
    reason="needs the libraries of a build beside this source, and gfortran to link them",
)


@needs_build
def test_kernels_call_nothing_of_the_run_time_library_of_fortran():
    """A wheel would have to carry it."""
    for archive in BUILD.glob("libfq_*.a"):
        names = subprocess.run(
            ["nm", "-u", archive], check=True, capture_output=True, text=True
        ).stdout
        assert set(re.findall(r"_gfortran_\w+", names)) == set(), archive.name


def routines():
    """Return the arguments of each routine that answers a status, by the name of its symbol.

    An argument is its name and, if it comes by value, its type; None for a pointer.
    """
    found = {}
    for path in sorted(ROOT.glob("fortran/bindings/*.pyf")):
        text = path.read_text()
        for name, words, body in re.findall(
            r"^subroutine (\w+@kind@)\((.*?)\)\n(.*?)^end", text, re.S | re.M
        ):
            for kind in kinds_of(path.with_name(f"{path.stem}_c.f90")):
                types = {}
                for line in body.splitlines():
                    if "::" not in line:
                        continue
                    head, names = line.split(" :: ")
                    pointer = "EXACT" in head or "intent(out)" in head
                    word = re.match(r"\s*(@type@|\w+\(.*?\))", head)[1]
                    for argument in names.split(","):
                        by_value = KINDS.get(kind) if word == "@type@" else C_TYPES.get(word)
                        types[argument.split("=")[0].strip()] = None if pointer else by_value
                found[name.replace("@kind@", kind)] = [
                    (argument.strip(), types[argument.strip()]) for argument in words.split(",")
                ]
    return found


def status(library, name, arguments, values):
    """Call a routine with some values, all other numbers 1, all other pointers to zeros."""
    given, rooms = [], []
    for argument, kind in arguments[:-1]:
        value = values.get(argument, values.get("pointers" if kind is None else "numbers", 1))
        if kind is None and not isinstance(value, np.ndarray):
            if value == 0:
                given.append(None)
                continue
            value = np.zeros(2048)
        if kind is None:
            rooms.append(value)
            given.append(ctypes.c_void_p(value.ctypes.data))
        else:
            given.append(kind(value))
    info = ctypes.c_int32(-1)
    getattr(library, name)(*given, ctypes.byref(info))
    return info.value


def all_statuses(path):
    """Return of each routine what it answers to arguments that no kernel must get."""
    library = ctypes.CDLL(path)
    found = {}
    for name, arguments in routines().items():
        extents = [argument for argument, kind in arguments if kind is ctypes.c_int64]
        pointers = [argument for argument, kind in arguments[:-1] if kind is None]
        calls = {"nothing": dict.fromkeys(extents, 0), "null": {"pointers": 0}}
        calls |= {f"null {argument}": {argument: 0} for argument in pointers}
        calls |= {f"no {argument}": {argument: 0} for argument in extents}
        calls |= {f"negative {argument}": {argument: -1} for argument in extents}
        if dict(arguments).get("threads") is not None:
            calls["no threads"] = {"threads": 0}
        for code in ("activation", "b_order", "format", "order", "method", "bits"):
            if dict(arguments).get(code) is not None:
                calls |= {f"unknown {code} {n}": {code: n} for n in (99, -1)}
        found[name] = {
            what: status(library, name, arguments, given) for what, given in calls.items()
        }
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "libpyfq.so"
    archives = ["-Wl,--whole-archive", *map(str, ARCHIVES), "-Wl,--no-whole-archive"]
    subprocess.run(
        ["gfortran", "-shared", "-fopenmp", "-o", path, *archives], check=True, capture_output=True
    )
    return path


@pytest.fixture(scope="module")
def statuses(library):
    run = subprocess.run(
        [sys.executable, __file__, library], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"a call ended the process: {run.stderr[-2000:]}"
    return json.loads(run.stdout)


@needs_build
def test_every_binding_answers_a_status(statuses):
    bound = {
        symbol.removesuffix(kinds_of(path)[0]) + kind
        for path in ROOT.glob("fortran/bindings/*_c.f90")
        for symbol in re.findall(r"name='(\w+)'", path.read_text())
        for kind in kinds_of(path)
    }
    assert set(statuses) == bound
    known = set(CODES.values())
    assert all(code in known for answers in statuses.values() for code in answers.values())


@needs_build
def test_every_null_pointer_is_told(statuses):
    for name, answers in statuses.items():
        for what, code in answers.items():
            if what.startswith("null"):
                assert code == CODES["FQ_NOT_GIVEN"], (name, what)


@needs_build
def test_every_negative_extent_is_told(statuses):
    for name, answers in statuses.items():
        for what, code in answers.items():
            if what.startswith("negative"):
                assert code == CODES["FQ_NOT_FITTING"], (name, what)


@needs_build
def test_unknown_codes_and_no_threads_are_told(statuses):
    told = {CODES["FQ_NOT_KNOWN"], CODES["FQ_NOT_FITTING"]}
    for name, answers in statuses.items():
        for what, code in answers.items():
            if what.startswith("unknown") or what == "no threads":
                assert code in told, (name, what)
    for name in ("fq_activate_f32", "fq_matmul_f32", "fq_matmul_f64"):
        for code in (99, -1):
            assert statuses[name][f"unknown activation {code}"] == CODES["FQ_NOT_KNOWN"]


@needs_build
def test_empty_work_is_legal(statuses):
    """But for what needs a positive number besides extents: a group, a run, a table of levels."""
    legal = [name for name, answers in statuses.items() if answers["nothing"] == 0]
    for word in ("activate", "matmul", "matmul_float64", "row_norms", "narrow"):
        assert any(word in name for name in legal), word


def product(library, m, n, k, **values):
    """Return the status and the product of ones that the C symbol writes."""
    a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
    bias, c = np.arange(n, dtype=np.float32), np.full((m, n), np.nan, np.float32)
    given = {
        "m": m, "n": n, "k": k, "a_rows": m, "a_cols": k, "b_rows": k, "b_cols": n,
        "bias_cols": n, "a": a, "b": b, "bias": bias, "c": c, "a_transposed": 0, "b_order": 0,
        "has_bias": 1, "activation": 0, "slope": 0.0, "threads": 1, **values,
    }  # fmt: skip
    return status(library, "fq_matmul_f32", routines()["fq_matmul_f32"], given), c


@needs_build
def test_products_of_any_extents_are_defined(library):
    loaded = ctypes.CDLL(library)
    for m, n, k in ((0, 3, 4), (3, 0, 4), (0, 0, 0), (2, 3, 0), (2, 0, 0), (2, 3, 4), (1, 40, 5)):
        code, c = product(loaded, m, n, k)
        assert code == 0
        np.testing.assert_array_equal(c, k + np.tile(np.arange(n), (m, 1)))
    code, c = product(loaded, 2, 3, 0, activation=len(ACTIVATIONS))
    assert code == 0
    np.testing.assert_allclose(c, np.tile(pyfq.activate(np.arange(3.0), "softmax"), (2, 1)))
    for values in (
        {"b_order": 3},
        {"b_order": -1},
        {"activation": len(ACTIVATIONS) + 1},
        {"threads": 0},
    ):
        assert product(loaded, 2, 3, 4, **values)[0] == CODES["FQ_NOT_KNOWN"]
    for values in ({"a_rows": 3}, {"b_cols": 2}, {"bias_cols": 2}, {"b_order": 2}, {"b_rows": -1}):
        assert product(loaded, 2, 3, 4, **values)[0] == CODES["FQ_NOT_FITTING"]
    for values in ({"a": 0}, {"c": 0}, {"bias": 0}):
        assert product(loaded, 2, 3, 4, **values)[0] == CODES["FQ_NOT_GIVEN"]
    assert product(loaded, 2, 3, 4, bias=0, has_bias=0)[0] == 0


def parts(word, /, n, k, **values):
    """Return a row of the table of layers, and the arrays that it has addresses of."""
    row = np.zeros(1, LAYER_PARTS)
    row["form"], row["n"], row["k"] = FORMS.index(word) + 1, n, k
    row["group_size"] = row["tables"] = 1
    arrays = []
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            arrays.append(value)
            row[name] = (value.ctypes.data if value.size else 0), value.nbytes
        else:
            row[name] = value
    return row, arrays


def dense(n, k, dtype=np.float32):
    """Return a layer whose weights are floats."""
    return parts("array", n, k, values=np.arange(n * k, dtype=dtype))


def call_model(loaded, routine, kind="f32", **values):
    """Return the status of a routine that takes the table of layers."""
    given = {"ends": np.zeros(4, SPAN), "batch": 1, "threads": 1, **values}
    name = f"fq_{routine}_{kind}"
    return status(loaded, name, routines()[name], given)


def build(loaded, rows, kind="f32", **values):
    """Return the status of a block, and the block: None if there is none."""
    table, nbytes = np.concatenate([row for row, _ in rows]), np.zeros(1, np.int64)
    given = {"count": len(rows), "layers": table, **values}
    code = call_model(loaded, "model_bytes", kind, bytes=nbytes, **given)
    if code:
        return code, None
    memory = aligned_empty((int(nbytes[0]),), np.int8)
    code = call_model(loaded, "build_model", kind, bytes=memory.size, memory=memory, **given)
    return code, memory


def forward(loaded, memory, k, n, kind="f32", /, **values):
    """Return the status of a forward pass of ones, and the outputs."""
    dtype = np.float32 if kind == "f32" else np.float64
    x, y = np.ones((5, k), dtype), np.full((5, n), np.nan, dtype)
    given = {
        "samples": 5, "k": k, "n": n, "bytes": memory.size, "x": x, "memory": memory, "y": y,
        "threads": 1, **values,
    }  # fmt: skip
    name = f"fq_forward_network_{kind}"
    return status(loaded, name, routines()[name], given), y


@needs_build
def test_networks_answer_a_status(library):
    loaded = ctypes.CDLL(library)
    code, memory = build(loaded, [dense(6, 4), dense(3, 6)])
    assert code == 0
    code, y = forward(loaded, memory, 4, 3)
    assert code == 0
    hidden = np.arange(24.0).reshape(6, 4).sum(axis=1)
    np.testing.assert_array_equal(y, np.tile(np.arange(18.0).reshape(3, 6) @ hidden, (5, 1)))
    unknown, unfitting = CODES["FQ_NOT_KNOWN"], CODES["FQ_NOT_FITTING"]
    assert forward(loaded, memory, 4, 3, samples=0, x=0, y=0)[0] == 0
    for values in ({"k": 3}, {"n": 4}, {"k": 0}, {"n": -1}, {"samples": -1}, {"bytes": 64}):
        assert forward(loaded, memory, 4, 3, **values)[0] == unfitting
    assert forward(loaded, memory, 4, 3, bytes=0)[0] == unfitting
    assert forward(loaded, memory, 4, 3, threads=0)[0] == unknown
    for array in ("x", "memory", "y"):
        assert forward(loaded, memory, 4, 3, **{array: 0})[0] == CODES["FQ_NOT_GIVEN"]
    assert forward(loaded, memory, 4, 3, "f64")[0] == unknown  # of reals of 4 bytes
    for at in range(0, 56, 8):  # what the head says
        other = aligned_empty(memory.shape, np.int8)
        other[:] = memory
        other[at] ^= 1
        assert forward(loaded, other, 4, 3)[0] in (unknown, unfitting)
    shifted = aligned_empty((memory.size + 8,), np.int8)[8:]
    shifted[:] = memory
    assert forward(loaded, shifted, 4, 3)[0] == unfitting


CSR = {
    "values": np.ones(3, np.float32), "starts": np.array([0, 2, 3]),
    "indices": np.array([0, 3, 1], np.int32),
}  # fmt: skip
QUANTIZED = {
    "bits": 4, "is_signed": 1, "group_size": 4, "values": np.zeros((2, 4), np.uint8),
    "scale": np.ones((2, 2), np.float32),
}  # fmt: skip
CODEBOOK = {
    "bits": 4, "group_size": 8, "values": np.zeros((2, 4), np.uint8),
    "levels": np.ones((1, 16), np.float32),
}  # fmt: skip
NM = {
    "nm_n": 2, "nm_m": 4, "values": np.ones((2, 4), np.float32),
    "positions": np.array([[0x44], [0x44]], np.uint8),
}  # fmt: skip
ROWS = {"values": np.ones((1, 8), np.float32), "rows": np.array([1])}
HALF = {"float_format": 2, "values": np.zeros((2, 8), np.uint16)}
STATIC = {"inputs": 2, "input_scale": np.ones(1, np.float32), "scale": np.ones(2, np.float32)}
# Layers of each form with 2 outputs; what is wrong with some of their parts, and the status.
WHOLE = {
    "csr": (4, CSR), "quantized": (8, QUANTIZED), "codebook": (8, CODEBOOK), "nm": (8, NM),
    "rows": (8, ROWS), "half": (8, HALF), "array": (2, {"values": np.ones((2, 2), np.float32)}),
}  # fmt: skip
WRONG = [
    ("csr", "FQ_NOT_FITTING", {"starts": np.array([0, 2, 4])}),
    ("csr", "FQ_NOT_FITTING", {"starts": np.array([0, 3, 2])}),
    ("csr", "FQ_NOT_FITTING", {"starts": np.array([1, 2, 3])}),
    ("csr", "FQ_NOT_FITTING", {"starts": np.array([0, 3])}),
    ("csr", "FQ_NOT_FITTING", {"indices": np.array([0, 4, 1], np.int32)}),
    ("csr", "FQ_NOT_FITTING", {"indices": np.array([0, -1, 1], np.int32)}),
    ("csr", "FQ_NOT_FITTING", {"indices": np.array([3, 0, 1], np.int32)}),
    ("csr", "FQ_NOT_FITTING", {"indices": np.array([0, 3], np.int32)}),
    ("csr", "FQ_NOT_KNOWN", {"bits": 4}),
    ("quantized", "FQ_NOT_KNOWN", {"bits": 0}),
    ("quantized", "FQ_NOT_KNOWN", {"bits": 17}),
    ("quantized", "FQ_NOT_KNOWN", {"group_size": 0}),
    ("quantized", "FQ_NOT_KNOWN", {"inputs": 3}),
    ("quantized", "FQ_NOT_FITTING", {"scale": np.ones(3, np.float32)}),
    ("quantized", "FQ_NOT_FITTING", {"zero_point": np.ones(3, np.int32)}),
    ("quantized", "FQ_NOT_FITTING", {"minimum": np.ones(1, np.float32)}),
    ("quantized", "FQ_NOT_FITTING", {"values": np.zeros(7, np.uint8)}),
    ("quantized", "FQ_NOT_FITTING", {"inputs": 2, "input_scale": np.ones(1, np.float32)}),
    (
        "quantized",
        "FQ_NOT_FITTING",
        STATIC | {"k": 33026, "group_size": 33026, "values": np.zeros((2, 16513), np.uint8)},
    ),
    ("codebook", "FQ_NOT_KNOWN", {"bits": 9}),
    ("codebook", "FQ_NOT_KNOWN", {"tables": 3}),
    ("codebook", "FQ_NOT_KNOWN", {"inputs": 1}),
    ("codebook", "FQ_NOT_FITTING", {"levels": np.ones(17, np.float32)}),
    ("codebook", "FQ_NOT_FITTING", {"levels": np.ones(0, np.float32)}),
    ("nm", "FQ_NOT_KNOWN", {"nm_n": 0}),
    ("nm", "FQ_NOT_KNOWN", {"nm_n": 5}),
    ("nm", "FQ_NOT_KNOWN", {"nm_m": 17}),
    ("nm", "FQ_NOT_FITTING", {"positions": np.array([[0x44], [0x41]], np.uint8)}),
    ("nm", "FQ_NOT_FITTING", {"positions": np.zeros((2, 2), np.uint8)}),
    ("rows", "FQ_NOT_FITTING", {"rows": np.array([2])}),
    ("rows", "FQ_NOT_FITTING", {"rows": np.array([-1])}),
    ("rows", "FQ_NOT_FITTING", {"rows": np.array([0, 1])}),
    ("half", "FQ_NOT_KNOWN", {"float_format": 3}),
    ("half", "FQ_NOT_FITTING", {"values": np.zeros(15, np.uint16)}),
    ("array", "FQ_NOT_KNOWN", {"form": 8}),
    ("array", "FQ_NOT_KNOWN", {"form": 0}),
    ("array", "FQ_NOT_KNOWN", {"activation": 99}),
    ("array", "FQ_NOT_KNOWN", {"bits": 8}),
    ("array", "FQ_NOT_KNOWN", {"inputs": 1}),
    ("array", "FQ_NOT_FITTING", {"n": 0}),
    ("array", "FQ_NOT_FITTING", {"k": -1}),
    ("array", "FQ_NOT_FITTING", {"n": 2**62, "k": 2**62}),
    ("array", "FQ_NOT_FITTING", {"bias": np.zeros(3, np.float32)}),
    ("array", "FQ_NOT_GIVEN", {"values": (0, 16)}),
    ("array", "FQ_NOT_GIVEN", {"bias": (0, 8)}),
]


@needs_build
@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("batch", [1, 2, 3, 30])
def test_layers_of_every_form_are_built(library, form, batch):
    k, whole = WHOLE[form]
    code, memory = build(ctypes.CDLL(library), [parts(form, 2, k, **whole)], batch=batch)
    assert (code, memory is None) == (0, False)


@needs_build
def test_sums_of_the_most_static_inputs_fit(library):
    whole = QUANTIZED | STATIC | {"group_size": 33025, "values": np.zeros((2, 16513), np.uint8)}
    code, memory = build(ctypes.CDLL(library), [parts("quantized", 2, 33025, **whole)])
    assert (code, memory is None) == (0, False)


@needs_build
@pytest.mark.parametrize(("form", "wanted", "wrong"), WRONG)
def test_parts_that_do_not_fit_are_told(library, form, wanted, wrong):
    k, whole = WHOLE[form]
    layer = parts(form, **({"n": 2, "k": k} | whole | wrong))
    assert build(ctypes.CDLL(library), [layer]) == (CODES[wanted], None)


@needs_build
def test_models_that_do_not_fit_are_told(library):
    loaded = ctypes.CDLL(library)
    unknown, unfitting = CODES["FQ_NOT_KNOWN"], CODES["FQ_NOT_FITTING"]
    assert build(loaded, [dense(6, 4), dense(3, 5)])[0] == unfitting
    ends = np.zeros(4, SPAN)
    mean = np.ones(4, np.float32)
    ends[0] = mean.ctypes.data, mean.nbytes
    assert build(loaded, [dense(6, 4)], ends=ends)[0] == unfitting  # without a scale
    ends[1] = ends[0]
    assert build(loaded, [dense(6, 4)], ends=ends)[0] == 0
    assert build(loaded, [dense(6, 5)], ends=ends)[0] == unfitting
    ends[1] = 0, mean.nbytes
    assert build(loaded, [dense(6, 4)], ends=ends)[0] == CODES["FQ_NOT_GIVEN"]
    assert build(loaded, [dense(6, 4)], batch=0)[0] == unfitting
    half = parts("half", 2, 8, **HALF)
    assert build(loaded, [half], "f64")[0] == unknown  # which has no weights of 2 bytes
    (row, kept), memory = dense(6, 4), aligned_empty((64,), np.int8)
    given = {"count": 1, "layers": row, "bytes": 64, "memory": memory}
    assert call_model(loaded, "build_model", **given) == unfitting
    assert len(kept) == 1


@needs_build
def test_derivatives_answer_a_status(library):
    loaded = ctypes.CDLL(library)
    x, v = np.ones((5, 4), np.float32), np.ones((5, 2, 4), np.float32)  # of either side
    _, memory = build(loaded, [dense(6, 4), dense(3, 6)])
    _, transposed = build(loaded, [dense(6, 3), dense(4, 6)])

    def call(routine, **values):
        given = {
            "samples": 5, "directions": 2, "k": 4, "n": 3, "bytes": memory.size,
            "transposed_bytes": transposed.size, "x": x, "v": v, "memory": memory,
            "transposed_memory": transposed, "product": np.zeros((5, 2, 4), np.float32),
            "threads": 1, **values,
        }  # fmt: skip
        return status(loaded, routine, routines()[routine], given)

    def other(*layers):
        block = build(loaded, layers)[1]
        return {"memory": block, "bytes": block.size}

    unknown, unfitting = CODES["FQ_NOT_KNOWN"], CODES["FQ_NOT_FITTING"]
    coded = parts("quantized", 6, 4, inputs=INPUTS.index("coded"), bits=8, group_size=4,
                  values=np.zeros((6, 4), np.uint8), scale=np.ones(1, np.float32))  # fmt: skip
    for routine in ("fq_jvp_network_f32", "fq_vjp_network_f32"):
        assert call(routine) == call(routine, samples=0) == call(routine, directions=0) == 0
        assert call(routine, k=3) == call(routine, n=4) == unfitting
        assert call(routine, samples=-1) == call(routine, directions=-1) == unfitting
        assert call(routine, bytes=0) == unfitting
        assert call(routine, **other(coded, dense(3, 6))) == unknown
        assert call(routine, threads=0) == unknown
        for array in ("x", "v", "memory", "product"):
            assert call(routine, **{array: 0}) == CODES["FQ_NOT_GIVEN"]
    routine = "fq_vjp_network_f32"
    assert call(routine, transposed_memory=0) == CODES["FQ_NOT_GIVEN"]
    assert call(routine, **other(dense(5, 4), dense(3, 5))) == unfitting
    assert call(routine, **other(dense(3, 4))) == unfitting


@needs_build
def test_formats_of_layers_are_told(library):
    loaded = ctypes.CDLL(library)
    _, memory = build(loaded, [dense(6, 4), dense(3, 6)])
    numbers = np.zeros(2, np.int64)
    given = {"bytes": memory.size, "count": 2, "memory": memory, "formats": numbers}
    assert call_model(loaded, "model_formats", **given) == 0
    assert [FORMATS[n - 1] for n in numbers] == ["panels", "dense"]
    assert call_model(loaded, "model_formats", **given | {"count": 3}) == CODES["FQ_NOT_FITTING"]


PROGRAM = """
program call_kernels
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PLAIN, factors
  use fq_kinds, only: i8, i32, i64, sp
  use fq_matmul_real32, only: matmul_blocked
  use fq_model_real32, only: find_model, model
  implicit none (type, external)
  real(sp) :: a(4, 3), b(5, 4), bias(5), c(5, 3)
  integer(i8) :: memory(64)
  type(model) :: network
  integer(i32) :: info(5)

  a = 1
  b = 1
  bias = 7
  c = -1
  memory = 0
  call matmul_blocked(factors(0, 5, 4, 4, .false., 5, B_PLAIN), a, b, bias, epilogue(.true.), c, &
    1_i32, info(1))
  call matmul_blocked(factors(3, 0, 4, 4, .false., 5, B_PLAIN), a, b, bias, epilogue(.true.), c, &
    1_i32, info(2))
  call matmul_blocked(factors(3, 5, 4, 4, .false., 5, 7), a, b, bias, epilogue(.true.), c, 1_i32, &
    info(3))
  call matmul_blocked(factors(3, 5, 0, 4, .false., 5, B_PLAIN), a, b, bias, epilogue(.true.), c, &
    1_i32, info(4))
  call find_model(memory, network, info(5))
  print '(5i3, 2f5.1)', info, minval(c), maxval(c)
end program call_kernels
"""


@needs_build
def test_a_fortran_program_gets_a_status_from_kernels(tmp_path):
    source, program = tmp_path / "program.f90", tmp_path / "program"
    source.write_text(PROGRAM)
    modules = [f"-I{path}.p" for path in ARCHIVES]
    command = ["gfortran", "-fopenmp", *modules, source, *ARCHIVES[::-1], *ARCHIVES, "-o", program]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    run = subprocess.run([program], check=True, capture_output=True, text=True)
    unknown, unfitting = CODES["FQ_NOT_KNOWN"], CODES["FQ_NOT_FITTING"]
    assert run.stdout.split() == [*map(str, (0, 0, unknown, 0, unfitting)), "7.0", "7.0"]


if __name__ == "__main__":
    print(json.dumps(all_statuses(sys.argv[1])))
