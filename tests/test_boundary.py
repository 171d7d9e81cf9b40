"""The f2py boundary: what it refuses, and that its signatures are those of the Fortran."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fortran_sources import INCLUDES, write_sources
from variants import LIBS

import pyfq

ROOT = Path(__file__).parents[1]
W = np.ones((3, 4), np.float32)
PARAMETERS = (np.ones((3, 1), np.float32), np.zeros((3, 1), np.int32), np.zeros((3, 1), np.float32))
RULE = np.array([8, -127, 127, 0, 0, 0, 0, 0, 0])
SIGNATURES = sorted(ROOT.glob("fortran/bindings/*.pyf"))
# Every warning of the compiler but one: signs of zeros and NaN are found by comparing reals.
CHECKED = [
    *("gfortran", "-fsyntax-only", "-fopenmp", "-std=f2018", "-pedantic"),
    *("-Wall", "-Wextra", "-Wno-compare-reals"),
]


@pytest.mark.parametrize("lib", LIBS.values(), ids=LIBS)
@pytest.mark.parametrize(
    "bad",
    [
        W.astype("f8"),
        W.T,
        np.asfortranarray(W),
        np.ones((3, 8), "f4")[:, ::2],
        W[0],
        W[None],
        W.view("i4"),
        W.view("u4"),
        W.astype(">f4"),
        W.tolist(),
        1.0,
        None,
    ],
)
def test_boundary_never_copies_or_casts(lib, bad):
    packed = np.empty((3, 4), np.int8)
    with pytest.raises(Exception, match=r"EXACT|failed|cannot"):
        lib.fq_quantize_given_f32(4, bad, RULE, *PARAMETERS, packed, 1)


@pytest.mark.parametrize("lib", LIBS.values(), ids=LIBS)
def test_boundary_takes_unsigned_for_signed_from_nobody(lib):
    with pytest.raises(Exception, match=r"EXACT|failed|cannot"):
        lib.fq_quantize_given_f32(4, W, RULE, *PARAMETERS, np.empty((3, 4), np.uint8), 1)


@pytest.mark.parametrize("lib", LIBS.values(), ids=LIBS)
def test_boundary_takes_read_only_input_and_the_callers_output(lib):
    w = W.copy()
    w.flags.writeable = False
    packed = np.full((3, 4), 99, np.int8)
    assert lib.fq_quantize_given_f32(4, w, RULE, *PARAMETERS, packed, 1) == 0
    assert (packed == 1).all()


@pytest.mark.parametrize("lib", LIBS.values(), ids=LIBS)
def test_boundary_refuses_arrays_that_do_not_fit_each_other(lib):
    with pytest.raises(Exception, match=r"shape|size|failed"):
        lib.fq_quantize_given_f32(4, W, RULE[:8], *PARAMETERS, np.empty((3, 4), np.int8), 1)
    with pytest.raises(Exception, match=r"shape|size|failed"):
        lib.fq_quantize_given_f32(4, W, RULE, *PARAMETERS, np.empty((2, 4), np.int8), 1)


@pytest.mark.parametrize("path", SIGNATURES, ids=lambda p: p.stem)
def test_every_signature_releases_the_gil_and_names_a_c_symbol(path):
    for routine in re.findall(r"^subroutine .*?^end subroutine", path.read_text(), re.S | re.M):
        name = re.match(r"subroutine (\S+)\(", routine)[1]
        assert f"\n  intent(c) {name}\n  threadsafe\n" in routine


@pytest.mark.parametrize("path", SIGNATURES, ids=lambda p: p.stem)
def test_every_array_of_a_signature_is_checked(path):
    for line in path.read_text().splitlines():
        if "dimension(" in line:
            assert "check(EXACT(" in line
            assert "intent(c, in)" in line or "intent(c, inout)" in line


KINDS = {
    "f32": ("real(4)", "NPY_FLOAT32"),
    "f64": ("real(8)", "NPY_FLOAT64"),
    "i8": ("integer(kind=1)", "NPY_INT8"),
    "i16": ("integer(2)", "NPY_INT16"),
    "i32": ("integer(4)", "NPY_INT32"),
    "i64": ("integer(8)", "NPY_INT64"),
}
C_TYPES = {
    "real(4)": "float",
    "real(8)": "double",
    "integer(kind=1)": "int8_t",
    "integer(2)": "int16_t",
    "integer(4)": "int32_t",
    "integer(8)": "int64_t",
}
NUMPY_TYPES = {
    "NPY_FLOAT32": "float",
    "NPY_FLOAT64": "double",
    "NPY_INT8": "int8_t",
    "NPY_INT16": "int16_t",
    "NPY_INT32": "int32_t",
    "NPY_INT64": "int64_t",
}
C_WORDS = {
    "float": "float",
    "double": "double",
    "signed char": "int8_t",
    "short": "int16_t",
    "int": "int32_t",
    "long": "int64_t",
    # Structures, whose components are all of 64 bits.
    "code_rule": "int64_t",
    "layer_parts": "int64_t",
    "end_parts": "int64_t",
    "trained_layer": "int64_t",
    "training": "int64_t",
    "training_reals": "double",
}


def declared():
    """Return for every routine of the signatures the C type of each argument, `*` for a pointer."""
    routines = {}
    for path in SIGNATURES:
        template = path.read_text()
        kinds = KINDS if "@kind@" in template else {"": ("", "")}
        for kind, (word, npy) in kinds.items():
            text = template.replace("@kind@", kind).replace("@type@", word).replace("@NPY@", npy)
            for name, arguments, body in re.findall(
                r"^subroutine (\w+)\((.*?)\)\n(.*?)^end", text, re.S | re.M
            ):
                types = {}
                for line in body.splitlines():
                    if "::" not in line:
                        continue
                    head, names = line.split(" :: ")
                    base = C_TYPES[re.match(r"\s*([a-z]+(\(.*?\))?)", head)[1]]
                    array = re.search(r"EXACT\((\w+), (\w+)", head)
                    if array:
                        assert array[1] == names.strip()
                        assert NUMPY_TYPES[array[2]] == base
                    pointer = array or "intent(out)" in head
                    for argument in names.split(","):
                        types[argument.split("=")[0].strip()] = base + ("*" if pointer else "")
                routines[name] = [types[argument.strip()] for argument in arguments.split(",")]
    return routines


def compiled(tmp_path):
    """Return for every C symbol of the bindings what gfortran says of its arguments."""
    routines = {}
    for path in write_sources(tmp_path):
        command = [*CHECKED, "-fc-prototypes", *INCLUDES, path]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        prototypes = found.stdout
        assert found.stderr == "", path.name
        for name, arguments in re.findall(r"^void (\w+) \((.*)\);", prototypes, re.M):
            types = []
            for argument in arguments.split(", "):
                word, star = re.match(r"(?:const )?([a-z_ ]+?) ?(\*?)\w+$", argument).groups()
                types.append(C_WORDS[word] + star)
            routines[name] = types
    return routines


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="needs gfortran to read the bindings")
@pytest.mark.skipif(
    pyfq.show_config(mode="dict")["build type"] == "debug",
    reason="sources, which a debug build shares",
)
def test_signatures_are_those_of_the_bindings(tmp_path):
    bound = compiled(tmp_path)
    written = declared()
    assert set(bound) <= set(written)
    for name, types in bound.items():
        assert written[name] == types, name
    exported = {name for name in dir(next(iter(LIBS.values()))) if name.startswith("fq_")}
    assert exported == set(bound)
