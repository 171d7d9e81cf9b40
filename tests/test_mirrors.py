"""Numbers and names that Python and Fortran both write down are the same in both."""

import importlib
import re
from pathlib import Path

import pytest
from fortran_sources import FORTRAN

import pyfq
from pyfq.arrays import lossless
from pyfq.arrays.calibrate import CALIBRATIONS
from pyfq.arrays.convert import FORMATS as CASTS
from pyfq.arrays.quantize import code_rule
from pyfq.formats.layer_parts import ARRAYS, FORMS, INPUTS, LAYER_PARTS, NUMBERS, SPAN
from pyfq.learning.losses import IMITATIONS, LOSSES
from pyfq.learning.optimizers import OPTIMIZERS
from pyfq.learning.train import TrainedLayer, TrainingIntegers, TrainingReals
from pyfq.products.model import ENDS, FORMATS


def code_of(path):
    """Return a Fortran text without comments, a statement a line."""
    lines = (line.partition("!")[0].rstrip() for line in path.read_text().splitlines())
    return re.sub(r"&\n\s*&?", " ", "\n".join(lines))


SOURCES = [code_of(path) for path in sorted(FORTRAN.rglob("*.f90"))]


def parameters(source):
    """Return the constants of a text, as far as they are numbers or products of such."""
    found = {}
    for statement in re.findall(r"parameter.*?:: (.*)", source):
        for name, value in re.findall(r"\b([A-Z]\w*) = ([^,(]+)(?:,|$)", statement):
            plain = re.sub(r"(?<=\d)_\w+", "", value).strip()
            if re.fullmatch(r"[-+*.\w ]+", plain):
                try:
                    found[name] = eval(plain, {"__builtins__": {}}, found)
                except (NameError, SyntaxError):  # what other modules or the compiler know
                    continue
    return found


PARAMETERS = [parameters(source) for source in SOURCES]


def constant(name, beside=None):
    """Return the one value of a constant, wherever it is; of those beside another, if several."""
    values = {
        each[name] for each in PARAMETERS if name in each and (beside is None or beside in each)
    }
    assert len(values) == 1, f"{name} has the values {values}"
    return values.pop()


def numbered(prefix):
    """Return the numbers of the constants that start with a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix).lower(): n
        for each in PARAMETERS
        for name, n in each.items()
        if name.startswith(prefix)
    }


def components(*names):
    """Return the names of the components of the one Fortran type that has one of these names."""
    pattern = rf"^ *type\b[^\n]*:: (?:{'|'.join(names)})\n(.*?)^ *end type"
    (body,) = (body for source in SOURCES for body in re.findall(pattern, source, re.M | re.S))
    return tuple(
        name.partition("=")[0].strip()
        for names in re.findall(r":: (.*)", body)
        for name in names.split(",")
    )


def python_constant(name):
    """Return the one value of a constant of the package, wherever it is."""
    root = Path(pyfq.__file__).parent
    values = set()
    for path in root.rglob("*.py"):
        if re.search(rf"^(\w+, )*{name}(, \w+)* = ", path.read_text(), re.M):
            parts = path.relative_to(root.parent).with_suffix("").parts
            values.add(getattr(importlib.import_module(".".join(parts)), name))
    assert len(values) == 1, f"{name} has the values {values}"
    return values.pop()


def test_formats_of_weights_agree():
    assert numbered("FORMAT_") == {word: n for n, word in enumerate(FORMATS, 1)}


def test_descriptions_of_layers_and_ends_agree():
    assert components("layer_parts") == NUMBERS + ARRAYS == LAYER_PARTS.names
    assert components("span") == SPAN.names
    assert components("planned_ends") == components("end_parts") == ENDS
    assert numbered("FORM_") == {word: n for n, word in enumerate(FORMS, 1)}
    assert numbered("INPUTS_") == {word: n for n, word in enumerate(INPUTS)}


@pytest.mark.parametrize(
    "prefix, words", [("LOSS_", LOSSES), ("IMITATE_", IMITATIONS), ("OPTIMIZER_", OPTIMIZERS)]
)
def test_choices_of_training_agree(prefix, words):
    assert numbered(prefix) == {word: n for n, word in enumerate(words)}


def test_descriptions_of_training_agree():
    assert components("training") == TrainingIntegers._fields
    assert components("training_reals") == TrainingReals._fields
    assert components("trained_layer") == TrainedLayer._fields


def test_methods_of_calibration_agree():
    numbers = numbered("METHOD_")
    assert numbers
    assert numbers == {CALIBRATIONS[n]: n for n in numbers.values()}


def test_formats_of_two_bytes_agree():
    wanted = {word: n for word, (bits, n) in CASTS.items() if bits == 16}
    assert {word: constant(f"HALF_{word.upper()}") for word in wanted} == wanted


def test_forms_of_the_right_matrix_agree():
    for word in ("PLAIN", "TRANSPOSED"):
        assert python_constant(word) == constant(f"B_{word}")


def test_rules_of_codes_have_the_same_components():
    assert code_rule(8, "symmetric").size == len(components("code_rule"))


def test_codes_of_activations_agree():
    rules = {
        tuple(map(int, rule.split(",")))
        for source in SOURCES
        for rule in re.findall(r"INT8 = code_rule\(([-\d, ]+)\)", source)
    }
    assert rules == {tuple(code_rule(8, "symmetric").tolist())}


@pytest.mark.parametrize(
    "name",
    [
        "CODE_STEPS",
        "EXACT_COUNT",
        "MOST_INPUTS",
        "SLOTS",
        "SYMBOLS",
        # Those of the reference.
        "MAX_STEPS",
        "FITS",
        "SHRINKINGS",
        "FIRST_WEIGHT",
        "KAPPA",
    ],
)
def test_sizes_agree(name):
    assert python_constant(name) == constant(name)


def test_faults_of_blocks_agree():
    words = ("fine", "state", "words", "end", "escapes", "escape")
    assert {word: constant(f"BLOCK_{word.upper()}") for word in words} == {
        word: n for n, word in enumerate(words)
    }
    assert len(python_constant("FAULTS")) == len(words)


def test_rests_of_floats_agree():
    faults = ("fine", "checksum", "kept", "signs")
    assert numbered("RESTS_") == {word: n for n, word in enumerate(faults)}
    assert len(python_constant("REST_FAULTS")) == len(faults)
    for name in ("ZEROS_KEPT", "ZEROS_LEFT_OUT", "ZEROS_ARE_SIGNS"):
        assert constant(name) == getattr(lossless, name)
    assert constant("BLOCK", "ZEROS_KEPT") == lossless.BLOCK


def test_steps_fill_tiles_of_any_registers():
    registers = [each for each in PARAMETERS if "VECTOR_BYTES" in each]
    steps = [each["COL_STEP"] for each in PARAMETERS if "COL_STEP" in each]
    assert (len(registers), len(steps)) == (4, 2)
    for each in registers:
        for step in (constant("OUTPUT_STEP"), *steps):
            assert step % each["CODE_COLS"] == 0
        for rows in ("TILE_ROWS", "CODE_ROWS"):
            assert constant("SAMPLE_STEP") % each[rows] == 0


def test_status_codes_agree():
    from pyfq.errors import STATUS

    source = (FORTRAN / "base/fq_status.f90").read_text()
    codes = {int(n): name for name, n in re.findall(r"(FQ_\w+) = (\d+)", source)}
    assert {0: "FQ_OK"} | {n: name for n, (name, _) in STATUS.items()} == codes


def test_choices_of_the_code_rule_agree():
    from pyfq.arrays.quantize import ROUNDINGS, SCALES, SCHEMES

    source = (FORTRAN / "base/fq_code_rule.f90").read_text()
    for prefix, choices in (("SCHEME", SCHEMES), ("SCALE", SCALES), ("ROUND", ROUNDINGS)):
        numbers = {
            name.lower(): int(n) for name, n in re.findall(rf"\b{prefix}_(\w+) = (\d+)", source)
        }
        assert numbers == {word: n for n, word in enumerate(choices)}


def test_activations_agree():
    from pyfq.arrays.activation import ACTIVATIONS

    source = (FORTRAN / "base/fq_activation_kind.f90").read_text()
    numbers = {name.lower(): int(n) for name, n in re.findall(r"\bACT_(\w+) = (\d+)", source)}
    assert numbers == {word: n for n, word in enumerate(("none", *ACTIVATIONS))}


def test_runs_of_softmax_agree():
    from pyfq.reference.arrays import activation

    source = (FORTRAN / "arrays/fq_activation.f90").read_text()
    assert f"RUN = {activation.RUN} " in source
    assert f"LANE_COUNT = {activation.LANES} " in source


def test_lane_and_block_sizes_agree():
    from pyfq import distortion, reference

    source = (FORTRAN / "arrays/fq_distortion.f90").read_text()
    sizes = {name: int(n) for name, n in re.findall(r"parameter :: (\w+) = (\d+)", source)}
    assert (sizes["BLOCK"], sizes["LANE_COUNT"]) == (4096, 16)
    for module in (distortion.__module__, reference.distortion.__module__):
        text = (FORTRAN.parent / f"{module.replace('.', '/')}.py").read_text()
        assert re.search(r"BLOCK(, LANES)? = 4096", text)
