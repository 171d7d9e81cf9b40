"""Preconditions that the docs of kernels state: a debug build looks at them, others do not."""

import re
import shutil
import subprocess

import pytest
from fortran_sources import FORTRAN, INCLUDES, write_sources

BUILD = FORTRAN.parent / ".venv/build/pyfq"
ARCHIVES = sorted(BUILD.glob("libfq_*.a"))
# What others did before cannot be seen: that a member waits for them is tested by what comes out.
UNSEEN = {"pass_batch", "update_layers"}

needs_gfortran = pytest.mark.skipif(shutil.which("gfortran") is None, reason="needs gfortran")


def stated():
    """Yield the text and the name of each procedure and type that states preconditions."""
    name = r"^ *(?:[a-z ]*subroutine |[a-z ]*function |type\b[^\n]*:: )(\w+)"
    for path in sorted(FORTRAN.rglob("*.f90")):
        text = path.read_text()
        for found in re.finditer(r"\*Preconditions\*.*\n", text):
            yield text, re.compile(name, re.M).search(text, found.end())[1]


def test_what_is_stated_is_looked_at():
    names = []
    for text, name in stated():
        names.append(name)
        assert name in UNSEEN or re.search(rf"'{name}\b", text), name
    assert len(names) > 25
    assert set(names) >= UNSEEN


def test_nothing_is_looked_at_but_behind_the_switch():
    """Calls stand behind CHECKED, or in procedures that are called behind it alone."""
    for path in sorted(FORTRAN.rglob("*.f90")):
        text = re.sub(r"&\n\s*|!.*", "", path.read_text())
        text = re.sub(r"^ *if \(CHECKED\) then\n.*?^ *end if\n", "", text, flags=re.M | re.S)
        procedures = r"^  pure subroutine (require_\w+)\(.*?^  end subroutine \1\n"
        text = re.sub(procedures, "", text, flags=re.M | re.S)
        for line in re.findall(r"^.*call require.*$", text, re.M):
            assert line.lstrip().startswith("if (CHECKED) call "), f"{path.name}: {line}"


@pytest.mark.skipif(not ARCHIVES or shutil.which("nm") is None, reason="needs a build, and nm")
def test_a_release_does_not_look():
    for path in ARCHIVES:
        symbols = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        assert "MOD_" in symbols
        assert "require" not in symbols, path.name


# What a program that breaks a precondition does, and what the program ends with.
BROKEN = {
    "pack": "pack: 1 <= bits <= 16",
    "prune_nm": "prune_nm: 1 <= n <= m <= 64",
    "quantize_range": "quantize_range: groups == ceiling(cols/group_size)",
    "select_groups": "select_groups: every rank is less than the entries of its group",
    "fit_codebook": "fit_codebook: levels ascend",
    "count_bins": "count_bins: factor is a power of two",
    "dequantize_panel": "dequantize_panel: steps and groups of two codes a byte are even",
    "multiply_block_int8": "multiply_block_int8: CODE_STEPS*vectors <= MAX_STEPS, ldx, ldw; cols",
}
PROGRAM = """
program break_preconditions
  use fq_code_values_real32, only: code_layout, dequantize_panel
  use fq_codebook_fit_real32, only: fit_codebook
  use fq_gemm_int8, only: CODE_KIND, CODE_STEPS, multiply_block_int8
  use fq_kinds, only: i8, i32, i64, sp
  use fq_observer_real32, only: count_bins
  use fq_pack_int8, only: pack
  use fq_prune_real32, only: prune_nm
  use fq_quantize_real32, only: quantize_range
  use fq_select_real32, only: select_groups
  implicit none (type, external)
  character(32) :: which, how
  real(sp) :: x(8, 2), out(8, 2), low(8), high(8), ranges(2, 2, 3), levels(2, 1)
  integer(i64) :: counts(5, 2), below(2, 2), broken
  integer(i8) :: codes(64, 2), bytes(16, 2)
  integer(CODE_KIND) :: left(64, 2)
  integer(i32) :: info, sums(2, 2)

  call get_command_argument(1, which)
  call get_command_argument(2, how)
  broken = merge(1, 0, how == 'broken')
  x = reshape([(real(info, sp), info=1, 16)], shape(x))
  codes = 1
  left = 1
  select case (which)
  case ('pack')
    call pack(codes(:8, :), 16_i32 + int(broken, i32), 0, bytes, 1)
  case ('prune_nm')
    call prune_nm(x, x, .true., 4 + broken, 4_i64, out, codes(:8, :), 1, info)
  case ('quantize_range')
    call quantize_range(x, 4 + 4*broken, ranges(:, :, 1), ranges(:, :, 2), ranges(:, :, 3), 1, info)
  case ('select_groups')
    call select_groups(x, .true., 4_i64, [0_i64, 3 + broken], ranges(:, :, 1), ranges(:, :, 2), &
      below, 1, info)
  case ('fit_codebook')
    levels(:, 1) = [1.0_sp, 2.0_sp - 2*broken]
    call fit_codebook(x(:, :1), x(:, :1), .false., 1_i64, levels, 1, info)
  case ('count_bins')
    counts = 0
    call count_bins(x, .false., [1.0_sp, 0.5_sp + 0.25_sp*broken], counts, low(:2), high(:2), 1, &
      info)
  case ('dequantize_panel')
    call dequantize_panel(broken, 1_i64, code_layout(2_i64, .true.), codes, x, codes, x, out)
  case ('multiply_block_int8')
    call multiply_block_int8(1 + broken, 2_i64, CODE_STEPS, left, 2_i64, CODE_STEPS, codes, 2_i64, &
      sums)
  case default
    error stop 'no such case'
  end select
end program break_preconditions
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return a program that is compiled with the checks of a debug build."""
    place = tmp_path_factory.mktemp("debug")
    source = place / "program.f90"
    source.write_text(PROGRAM)
    sources = needed_by(source, write_sources(place, preconditions="debug"))
    command = ["gfortran", "-O0", "-fopenmp", *INCLUDES, *sources, "-o", place / "program"]
    subprocess.run(command, check=True, cwd=place)
    return place / "program"


def needed_by(source, others):
    """Return those of other sources whose modules a source uses, in order, and the source."""
    texts = {path: path.read_text() for path in [*others, source]}
    needed = {source}
    for path in reversed(texts):
        module = re.search(r"^module (\w+)$", texts[path], re.M)
        if module and any(re.search(rf"\buse {module[1]}\b", texts[user]) for user in needed):
            needed.add(path)
    return [path for path in texts if path in needed]


@needs_gfortran
@pytest.mark.parametrize("kernel", BROKEN)
def test_a_debug_build_ends_at_what_does_not_hold(program, kernel):
    held = subprocess.run([program, kernel, "held"], capture_output=True, text=True, check=False)
    assert (held.returncode, held.stderr) == (0, "")
    run = subprocess.run([program, kernel, "broken"], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert f"ERROR STOP {BROKEN[kernel]}" in run.stderr
