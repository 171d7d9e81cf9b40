"""What the compiler has made of the inner loop of each register tile, in each variant.

`fortran/tiles/README.md` says which instructions a step of each loop is made of. A tile that has no
symbol of its own was inlined; its loop is looked for in the other procedures of its module.
"""

import re
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from fortran_sources import ENDINGS, FORTRAN, kinds_of

import pyfq
from pyfq._native import _build

CONFIG = pyfq.show_config(mode="dict")
BUILT = {
    isa: next(Path(_build.__file__).parent.glob(f"_isa_{isa}.*"))
    for isa in CONFIG["isas built"]
    if isa != "native"
}

pytestmark = [
    pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump"),
    pytest.mark.skipif(CONFIG["build type"] == "debug", reason="nothing is optimised"),
]
in_variants = pytest.mark.parametrize("isa", BUILT)

TILES = {path.stem for path in FORTRAN.glob("tiles/*.inc")}
REGISTERS = {"base": "sse", "v3": "avx2", "v4": "avx512", "v4vnni": "avx512vnni"}
VECTORS = {16: "xmm", 32: "ymm", 64: "zmm"}
LACKING = {"base": r"%[yz]mm", "v3": r"%zmm|\tvpdp", "v4": r"\tvpdp", "v4vnni": r"%tmm"}

# What is counted in a loop.
KINDS = {
    "multiply-add": r"vfmadd\d+p[sd]", "multiply": r"v?mulp[sd]", "add": r"v?addp[sd]",
    "subtract": r"v?subp[sd]", "widen": r"v?cvtps2pd", "shift": r"v?pslld",
    "and": r"v?p?andp?[ds]?", "pairs": r"v?pmaddwd", "bytes": r"vpdpbusd",
    "multiply words": r"v?pmullw",
}  # fmt: skip
STORE = r"v?mov(?:[au]p[sd]|dq[au]\d*) +%[xyz]mm\d+,[^%]*\("
# Tiles with more sums than registers, some of which go through memory.
STORED = {
    "base": {"multiply_int4_row", "multiply_int4_rows", "tile_many", "bfloat16_few", "float16_few"},
    "v3": {"multiply_int4_rows", "multiply_nm24_eight", "multiply_nm24_four", "multiply_nm24_row",
           "tile_many"},
    "v4": {"tile_many"},
}  # fmt: skip


def step_of(tile, isa, size, bytes_of_entry):
    """Return what a step of the inner loop of a tile is made of, and the register that it is in.

    None if no instruction is expected. `size` are the constants of the procedure that includes it.
    """
    width = size["VECTOR_BYTES"]
    if tile == "fq_tile":
        return sums(isa, size["R"] * size["P"]), width
    if tile == "fq_tile_2byte":
        widened = 0 if size["IS_BFLOAT16"] else 2 * size["P"]
        step = sums(isa, 2 * size["R"] * size["P"], multiplied=widened)
        return step + Counter({"shift": size["P"], "and": size["P"]}), width
    if tile == "fq_panel_row":
        step = sums(isa, size["P"], multiplied=size["P"])
        return step + Counter({"subtract": size["P"] * size["HAS_ZERO"]}), width
    if tile == "fq_tile_blocked_csr":
        width = size["V"] * bytes_of_entry
        return (sums(isa, size["P"]), width) if width in VECTORS else None
    if tile == "fq_tile_nm24":
        if isa == "base" or (isa == "v3" and bytes_of_entry == 8):
            return None  # masks are made of compares, lane by lane
        return sums(isa, 4 * size["B"] * size["NM24_ROWS"] * bytes_of_entry // width), width
    if tile in ("fq_dot", "fq_dot_float64", "fq_row_float64"):
        count = size["P"] if tile == "fq_row_float64" else size["R"]
        if tile == "fq_dot":
            return sums(isa, count), width
        return sums(isa, 2 * count) + Counter({"widen": 2 * count}), width
    if tile == "fq_tile_int4":
        rows = 1 if isa == "base" else size["R"] * size["WORDS"] * 2 // width
        return Counter({"multiply words": 4 * rows}), width
    assert tile == "fq_tile_int8"
    products = size["R"] * size["C"]
    if isa == "v4vnni":
        return Counter({"bytes": products}), width
    return Counter({"pairs": 2 * products}), width  # a vector of bytes is two of 16 bits


def sums(isa, count, multiplied=0):
    """Return the instructions that multiply and add so often, and multiply besides."""
    if isa == "base":
        return Counter({"multiply": count + multiplied, "add": count})
    return Counter({"multiply-add": count, "multiply": multiplied})


@cache
def procedures(isa):
    """Return the instructions of each procedure of a variant, with their addresses."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", BUILT[isa]]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "mm0" not in code:
        pytest.skip("this build is not for x86-64")
    if "_MOD_" not in code:
        pytest.skip("this build was stripped")
    return {
        name: re.findall(r"^ *([0-9a-f]+):\t(\S.*)$", body, re.M)
        for name, body in re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", code, re.M)
    }


def inner_loops(instructions):
    """Return the instructions of each loop that has no other one in it."""
    at = {address: i for i, (address, _) in enumerate(instructions)}
    loops = set()
    for end, (_, text) in enumerate(instructions):
        jump = re.match(r"j\w+ +([0-9a-f]+)\b", text)
        if jump and at.get(jump[1], end + 1) <= end:
            loops.add((at[jump[1]], end))
    return [
        [text for _, text in instructions[start : end + 1]]
        for start, end in sorted(loops)
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in loops)
    ]


def counted(loop, register):
    """Return how many instructions of each kind, on such registers, a loop has."""
    return Counter(
        kind
        for text in loop
        for kind, pattern in KINDS.items()
        if re.match(rf"{pattern} .*%{register}", text)
    )


def is_made_of(found, step):
    """Return whether a loop takes such steps: some of them, and nothing else that makes sums."""
    (kind, count), *others = sorted(step.items(), key=lambda item: -item[1])
    steps, rest = divmod(found[kind], count)
    return steps > 0 and rest == 0 and all(found[k] >= n * steps for k, n in others)


def constants(text, known):
    """Return the constants of a text that are products of numbers and of others."""
    found = dict(known)
    for line in re.findall(r"^ *(?:integer|logical).*parameter.*?:: (.*?)(?:!.*)?$", text, re.M):
        for name, value in re.findall(r"(\w+) = ([^,(]*(?:\([^)]*\)[^,(]*)*)", line):
            value = re.sub(r"(?<=\d)_\w+", "", value).replace("/", "//")
            value = value.replace(".true.", "True").replace(".false.", "False")
            try:
                found[name] = eval(value, {"__builtins__": {}, "int": int}, found)
            except (NameError, SyntaxError, TypeError):  # nothing that a tile's size is made of
                continue
    return found


def tiles():
    """Return of each kind of module the procedures that include a tile, and the text of each."""
    parameters = r"(?: *(?:integer|logical), parameter.*\n)+"
    body = re.compile(rf"subroutine (\w+)\([^)]*\)\n({parameters}) *include '(\w+)\.inc'")
    found = {}
    for path in sorted(FORTRAN.rglob("*.f90")):
        included = [each for each in body.findall(path.read_text()) if each[2] in TILES]
        names = re.findall(r"include '(\w+)\.inc'", path.read_text())
        assert len(included) == sum(name in TILES for name in names), path.name
        kinds = kinds_of(path) if included else []
        for ending in [ENDINGS[kind] for kind in kinds] if len(kinds) > 1 else [""]:
            if included:
                found[path.stem + ending] = path, included
    return found


def expected(isa, module):
    """Return of each tile of a module its procedure, its text, its step and its register."""
    path, included = tiles()[module]
    registers = (FORTRAN / f"registers/{REGISTERS[isa]}/fq_registers.f90").read_text()
    size = constants(registers, {})
    entry = 8 if module.endswith("_real64") else 4
    size = constants(path.read_text(), size | {"LANES": size["VECTOR_BYTES"] // entry})
    for procedure, parameters, tile in included:
        step = step_of(tile, isa, constants(parameters, size), entry)
        if step is not None:
            yield procedure, tile, step[0], VECTORS[step[1]]


def test_tiles_are_found():
    assert {tile for _, included in tiles().values() for *_, tile in included} == TILES


@pytest.mark.parametrize("module", tiles())
@in_variants
def test_the_inner_loop_of_each_tile_is_its_instructions(isa, module):
    everything = procedures(isa)
    prefix = f"__{module}_MOD_"
    names = {procedure for procedure, *_ in tiles()[module][1]}
    own = {
        name: loops
        for name, code in everything.items()
        if name.startswith(prefix) and (loops := inner_loops(code))
    }
    inlined = [
        loop
        for name, loops in own.items()
        if name.removeprefix(prefix).partition(".")[0] not in names
        for loop in loops
    ]
    broken = []
    # The largest first: each takes the shortest loop that fits, and leaves it to no other.
    for procedure, tile, step, register in sorted(
        expected(isa, module), key=lambda each: -each[2].total()
    ):
        loops = [
            loop
            for name, loops in own.items()
            if name.removeprefix(prefix).partition(".")[0] == procedure
            for loop in loops
        ] or inlined
        fitting = [
            loop
            for loop in loops
            if is_made_of(counted(loop, register), step)
            and (
                procedure in STORED.get(isa, ()) or not any(re.match(STORE, text) for text in loop)
            )
        ]
        if fitting:
            loops.remove(min(fitting, key=len))
        else:
            found = [dict(counts) for loop in loops if (counts := counted(loop, register))]
            broken.append(f"{procedure} ({tile}.inc) wants {dict(step)} in {register}: {found}")
    assert not broken, "\n".join([f"{module} in {isa}:", *broken])


@in_variants
def test_squares_are_transposed_by_interleaving_vectors(isa):
    code = [
        text
        for name, instructions in procedures(isa).items()
        if name.startswith("__fq_integer_MOD_")
        for _, text in instructions
    ]
    # Four times those of 16 vectors, from below and from above.
    assert sum(bool(re.match(r"v?punpck[lh]bw .*%xmm", text)) for text in code) >= 64


@in_variants
def test_variants_have_no_instruction_that_their_level_lacks(isa):
    for name, instructions in procedures(isa).items():
        assert not [text for _, text in instructions if re.search(LACKING[isa], f"\t{text}")], name
