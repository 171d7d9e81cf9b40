"""What the compiler has made of loops whose comments name an instruction."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pyfq
from pyfq._native import _build

ROOT = Path(__file__).parents[1]
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

# By variant: its registers, what multiplies codes there, and what multiplies and adds reals.
EXPECTED = {
    "base": ("sse", "xmm", "pmaddwd", ("mulps", "addps", "mulpd", "addpd")),
    "v3": ("avx2", "ymm", "vpmaddwd", ("vfmadd231ps", "vfmadd231pd")),
    "v4": ("avx512", "zmm", "vpmaddwd", ("vfmadd231ps", "vfmadd231pd")),
    "v4vnni": ("avx512vnni", "zmm", "vpdpbusd", ("vfmadd231ps", "vfmadd231pd")),
}
LACKING = {"base": r"%[yz]mm", "v3": r"%zmm|\tvpdp", "v4": r"\tvpdp", "v4vnni": r"%tmm"}


@pytest.fixture(scope="module", params=BUILT)
def variant(request):
    """Return a variant of this build and its instructions."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", BUILT[request.param]]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if request.param not in EXPECTED or "mm0" not in code:
        pytest.skip("this build is not for x86-64")
    return request.param, code


def test_products_are_the_instructions_their_comments_name(variant):
    isa, code = variant
    folder, register, of_codes, of_reals = EXPECTED[isa]
    text = (ROOT / f"fortran/registers/{folder}/fq_registers.f90").read_text()
    assert f": {of_codes}.\n" in text
    for instruction in (of_codes, *of_reals):
        found = re.findall(rf"\t{instruction} .*%{register}", code)
        assert len(found) >= 8, f"{instruction} with {register} in {isa}"  # those of a tile


def test_weights_of_2_bytes_widen_in_whole_registers(variant):
    isa, code = variant
    register = EXPECTED[isa][1]
    text = (ROOT / "fortran/tiles/fq_tile_2byte.inc").read_text()
    for instruction, found in (
        ("vpslld", rf"\tv?pslld +\$0x10,.*%{register}"),
        ("vpandd", rf"\tv?pandd? .*%{register}"),
    ):
        assert f"! {instruction}\n" in text
        assert len(re.findall(found, code)) >= 8, f"{instruction} in {isa}"  # of two tiles
    assert re.search(rf"\tv?cvtps2pd .*%{register}", code), isa


def test_squares_are_transposed_by_interleaving_vectors(variant):
    isa, code = variant
    text = (ROOT / "fortran/products/fq_integer.f90").read_text()
    assert "interleaving of whole vectors, `punpcklbw`" in text
    # Four times those of 16 vectors, from below and from above.
    found = re.findall(r"\tv?punpck[lh]bw .*%xmm", code)
    assert len(found) >= 64, isa


def test_variants_have_no_instruction_that_their_level_lacks(variant):
    isa, code = variant
    assert not re.findall(LACKING[isa], code)
