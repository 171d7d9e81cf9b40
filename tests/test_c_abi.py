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
from pyfq.arrays.activation import ACTIVATIONS
from pyfq.errors import STATUS
from pyfq.networks.derivatives import transpose_layers
from pyfq.networks.memory_plan import FIELDS, FORMATS

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
    for word in ("activate", "matmul", "matmul_float64", "row_norms", "scatter_rows", "narrow"):
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


@needs_build
def test_networks_answer_a_status(library):
    loaded = ctypes.CDLL(library)
    network = pyfq.Network.create((4, 6, 3), seed=1)
    x, y = np.ones((5, 4), np.float32), np.full((5, 3), np.nan, np.float32)
    network.forward(x)
    table, slopes, memory, ends = next(iter(network._plans.values())).arguments

    def call(**values):
        given = {
            "samples": 5, "k": 4, "n": 3, "count": 2, "bytes": memory.size, "x": x,
            "layers": table, "slopes": slopes, "memory": memory, "ends": ends, "y": y,
            "threads": 1, **values,
        }  # fmt: skip
        name = "fq_forward_network_f32"
        return status(loaded, name, routines()[name], given)

    def changed(row, field, value):
        other = table.copy()
        other[row, FIELDS.index(field)] = value
        return other

    # Panels are those of another instruction set: only rows are told to multiply by.
    assert call(samples=0) == 0
    assert call(count=0) == CODES["FQ_NOT_FITTING"]
    assert call(k=3) == call(n=4) == CODES["FQ_NOT_FITTING"]
    unknown = CODES["FQ_NOT_KNOWN"]
    assert call(layers=changed(0, "format", 13)) == call(layers=changed(1, "format", 0)) == unknown
    assert call(layers=changed(1, "activation", 99)) == unknown
    assert call(layers=changed(0, "format", 10)) == unknown  # one of codes, one not
    assert call(layers=changed(1, "kept", memory.size)) == CODES["FQ_NOT_FITTING"]
    assert call(layers=changed(1, "k", 7)) == CODES["FQ_NOT_FITTING"]
    assert call(layers=changed(0, "weights", -1)) == CODES["FQ_NOT_FITTING"]
    for extent in ("k", "n", "bytes"):
        assert call(**{extent: 0}) == call(**{extent: -1}) == CODES["FQ_NOT_FITTING"]
    assert call(samples=-1) == call(count=-1) == CODES["FQ_NOT_FITTING"]
    assert call(threads=0) == unknown
    for array in ("x", "layers", "slopes", "memory", "ends", "y"):
        assert call(**{array: 0}) == CODES["FQ_NOT_GIVEN"]
    assert call(samples=0, x=0, y=0) == 0


@needs_build
def test_networks_of_float64_have_no_weights_of_two_bytes(library):
    network = pyfq.Network.create((4, 3), seed=1, dtype=np.float64)
    x, y = np.ones((5, 4)), np.zeros((5, 3))
    network.forward(x)
    table, slopes, memory, ends = next(iter(network._plans.values())).arguments
    table[0, FIELDS.index("format")] = 1 + FORMATS.index("half")
    given = {
        "samples": 5, "k": 4, "n": 3, "count": 1, "bytes": memory.size, "x": x, "layers": table,
        "slopes": slopes, "memory": memory, "ends": ends, "y": y, "threads": 1,
    }  # fmt: skip
    arguments = routines()["fq_forward_network_f32"]
    code = status(ctypes.CDLL(library), "fq_forward_network_f64", arguments, given)
    assert code == CODES["FQ_NOT_KNOWN"]


@needs_build
def test_derivatives_answer_a_status(library):
    loaded = ctypes.CDLL(library)
    network = pyfq.Network.create((4, 6, 3), seed=1)
    x, v = np.ones((5, 4), np.float32), np.ones((5, 2, 4), np.float32)  # of either side
    table, slopes, memory, ends = network._plan(1).arguments
    transposed = transpose_layers(network.layers, network.dtype).arguments

    def call(routine, **values):
        given = {
            "samples": 5, "directions": 2, "k": 4, "n": 3, "count": 2, "bytes": memory.size,
            "transposed_bytes": transposed[2].size, "x": x, "v": v, "layers": table,
            "slopes": slopes, "memory": memory, "ends": ends, "transposed_layers": transposed[0],
            "transposed_memory": transposed[2], "product": np.zeros((5, 2, 4), np.float32),
            "threads": 1, **values,
        }  # fmt: skip
        return status(loaded, routine, routines()[routine], given)

    def changed(plan, row, field, value):
        other = plan.copy()
        other[row, FIELDS.index(field)] = value
        return other

    unknown, unfitting = CODES["FQ_NOT_KNOWN"], CODES["FQ_NOT_FITTING"]
    for routine in ("fq_jvp_network_f32", "fq_vjp_network_f32"):
        assert call(routine, samples=0) == call(routine, directions=0) == 0
        assert call(routine, count=0) == call(routine, k=3) == call(routine, n=4) == unfitting
        assert call(routine, samples=-1) == call(routine, directions=-1) == unfitting
        assert call(routine, bytes=0) == unfitting
        for format in ("codes", "nibbles", "nm24_int8"):  # whose inputs become codes
            coded = changed(table, 0, "format", 1 + FORMATS.index(format))
            assert call(routine, layers=coded) == unknown
        csr = changed(table, 0, "format", 1 + FORMATS.index("csr"))
        assert call(routine, layers=changed(csr, 0, "coded_inputs", 1)) == unknown
        assert call(routine, layers=changed(table, 1, "activation", 99)) == unknown
        assert call(routine, threads=0) == unknown
        for array in ("x", "v", "layers", "slopes", "memory", "ends", "product"):
            assert call(routine, **{array: 0}) == CODES["FQ_NOT_GIVEN"]
    routine = "fq_vjp_network_f32"
    for array in ("transposed_layers", "transposed_memory"):
        assert call(routine, **{array: 0}) == CODES["FQ_NOT_GIVEN"]
    wrong = changed(changed(transposed[0], 0, "n", 5), 1, "k", 5)
    assert call(routine, transposed_layers=wrong) == unfitting
    assert call(routine, transposed_layers=changed(transposed[0], 0, "weights", -1)) == unfitting


PROGRAM = """
program call_kernels
  use fq_epilogue_real32, only: epilogue
  use fq_factors, only: B_PLAIN, factors
  use fq_kinds, only: i8, i32, i64, sp
  use fq_matmul_real32, only: matmul_blocked
  use fq_network_real32, only: forward_network
  use fq_plan, only: planned_ends
  use fq_stored_layer, only: stored_layer
  implicit none (type, external)
  real(sp) :: a(4, 3), b(5, 4), bias(5), c(5, 3)
  integer(i8) :: memory(64)
  type(stored_layer) :: layers(1)
  integer(i32) :: info(6)

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
  layers = stored_layer(1, 5, 4, 0, 5, -1, -1, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, &
    -1, -1, -1, -1, -1, -1, -1, -1, -1)
  call forward_network(0_i64, 4_i64, a, layers, [0.0_sp], memory, planned_ends(-1, -1, -1, -1), &
    5_i64, c, 1_i32, info(5))
  layers%format = 99
  call forward_network(3_i64, 4_i64, a, layers, [0.0_sp], memory, planned_ends(-1, -1, -1, -1), &
    5_i64, c, 1_i32, info(6))
  print '(6i3, 2f5.1)', info, minval(c), maxval(c)
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
    unknown = CODES["FQ_NOT_KNOWN"]
    assert run.stdout.split() == [*map(str, (0, 0, unknown, 0, 0, unknown)), "7.0", "7.0"]


if __name__ == "__main__":
    print(json.dumps(all_statuses(sys.argv[1])))
