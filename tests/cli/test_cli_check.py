"""``pyfq check``."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq import _native
from pyfq.cli import _check_cases, _check_digest, _check_unspecified_cases, check, main


def test_check_passes_on_this_machine(capsys):
    assert main(["check", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"]
    assert tuple(result["isas"]) == _native.runnable()
    assert list(result["cases"]) == list(_check_cases.TOPICS)
    assert result["seconds"] > 0


def test_a_digest_has_every_topic(tmp_path, monkeypatch):
    def few(make):
        return lambda: make()[:1]

    monkeypatch.setattr(check, "TOPICS", {name: few(make) for name, make in check.TOPICS.items()})
    path = tmp_path / "digest.txt"
    assert main(["check", "--digest", str(path)]) == 0
    lines = _check_digest.read_digest(path).lines.values()
    assert {line.case.partition(":")[0] for line in lines} == set(check.TOPICS)


def test_check_has_every_topic_of_the_reference():
    modules = Path(pyfq.reference.__file__).parent.glob("*/*.py")
    topics = {path.stem for path in modules} - {"__init__", "grouping", "step"}
    assert topics <= set(_check_cases.TOPICS)


def test_check_finds_a_difference(monkeypatch, capsys):
    monkeypatch.setattr(pyfq, "pack", lambda codes, bits, dtype=np.uint8: codes)
    used = _native.lib
    assert main(["check", "pack"]) == 1
    assert "FAILED pack: known" in capsys.readouterr().out
    assert _native.lib is used


ISAS = _native.runnable()


def run_case(run, expected=_check_cases.Unspecified, isas=ISAS, threads=(1, 2)):
    return check.check_case("topic", _check_cases.Case("x", run, expected), isas, threads)


def test_check_case_reports_what_was_raised():
    def fail():
        raise pyfq.FqError("pack", 1)

    outcome = run_case(fail, lambda: 1, ISAS[:1], [1])
    (failure,) = outcome.failures
    assert failure["reason"].startswith("FqError: pack")
    assert outcome.lines == []


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_check_case_finds_what_depends_on_threads(tolerance):
    outcome = run_case(
        lambda: np.array([pyfq.get_num_threads()]), lambda: _check_cases.Unspecified(tolerance)
    )
    assert {failure["threads"] for failure in outcome.failures} == {2}
    assert outcome.failures[0]["reason"] == "differs from one thread"


@pytest.mark.skipif(len(ISAS) < 2, reason="one variant")
def test_check_case_finds_what_depends_on_the_variant():
    def sign_of_zero():
        return np.array([0.0 if _native.lib is libs[0] else -0.0])

    libs = [_native.load(isa) for isa in ISAS]
    outcome = run_case(sign_of_zero)
    assert {failure["isa"] for failure in outcome.failures} == set(ISAS[1:])
    assert run_case(sign_of_zero, lambda: _check_cases.Unspecified(1e-9)).failures == []


def test_agree_takes_what_is_near_for_what_is_expected():
    value = np.array([1, 2], np.float32)
    near = _check_cases.Near(value, np.array([0.5, 0], np.float32))
    assert _check_cases.agree(value + np.array([0.5, 0], np.float32), near)
    for other in (value + np.float32(0.5), value.astype(np.float64), value[:1], value * np.nan):
        assert not _check_cases.agree(other, near)


def test_check_refuses_an_unknown_topic(capsys):
    assert main(["check", "bogus"]) == 2
    assert "unknown topic 'bogus'" in capsys.readouterr().err


def test_every_public_function_has_a_case():
    modules = _check_cases, _check_unspecified_cases
    source = "".join(Path(module.__file__).read_text() for module in modules)
    functions = {name for name in pyfq.__all__ if callable(getattr(pyfq, name))}
    functions = {name for name in functions if name[0].islower()}
    called = {name for name in functions if re.search(rf'pyfq\.{name}\b|"{name}"', source)}
    assert called == functions  # or named in LEFT_OUT
    for name in _check_unspecified_cases.LEFT_OUT:
        assert not re.search(rf"pyfq\.{name}\(", source)


@pytest.fixture
def written(tmp_path, capsys):
    """Return a digest of two topics, one of which sums up floats."""
    path = tmp_path / "digest.txt"
    assert main(["check", "pack", "mixed", "--digest", str(path)]) == 0
    capsys.readouterr()
    return path


def changed(path, change):
    """Write a digest whose lines were changed, those for which `change` returns None left out."""
    first, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line for line in map(change, lines) if line is not None]
    other = path.with_name("changed.txt")
    other.write_text("".join(json.dumps(entry) + "\n" for entry in (first, *lines)))
    return str(other)


def test_digest_equals_itself(written, capsys):
    assert main(["check", "pack", "mixed", "--against", str(written)]) == 0
    assert "0 within their bound, 0 DIFFERENT" in capsys.readouterr().out


def test_digest_of_other_topics_is_not_missed(written, capsys):
    assert main(["check", "pack", "--against", str(written)]) == 0
    assert f"0 only in {written}" in capsys.readouterr().out


def test_digest_finds_other_bits(written, capsys):
    def flip(line):
        return line | ({"sha256": "0" * 64} if line["case"] == "pack: known" else {})

    assert main(["check", "pack", "mixed", "--against", changed(written, flip)]) == 1
    assert "DIFFERENT: pack: known" in capsys.readouterr().out


def test_digest_names_what_is_new_and_gone(written, capsys):
    def rename(line):
        return line | ({"case": "pack: no more"} if line["case"] == "pack: known" else {})

    other = changed(written, rename)
    assert main(["check", "pack", "mixed", "--against", other]) == 0
    said = capsys.readouterr().out
    assert f"not in {other}: pack: known" in said
    assert f"only in {other}: pack: no more" in said


def float_line_of(written):
    lines = _check_digest.read_digest(written).lines.values()
    return next(line for line in lines if line.isa is not None and line.bound.min() > 0)


def verdict_on(line, old, made_by):
    then = _check_digest.Digest(made_by, {(old.case, old.isa): old})
    (verdict,) = _check_digest.compare([line], then)
    return verdict.kind


def test_sums_of_floats_are_equal_for_one_compiler_and_near_for_another(written):
    line = float_line_of(written)
    here = _check_digest.made_here()
    elsewhere = here | {"compiler": "another"}
    half = replace(line, sha256="0", values=line.values + line.bound / 2)
    far = replace(line, sha256="0", values=line.values + line.bound * 3)
    assert verdict_on(line, line, here) == "equal"
    assert verdict_on(half, line, here) == "differs"
    assert verdict_on(half, line, elsewhere) == "near"
    assert verdict_on(half, replace(line, isa="of another machine"), here) == "near"
    assert verdict_on(far, line, elsewhere) == "differs"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"digest": 9}', "no", '{"digest": 1}\n{}'])
def test_check_refuses_what_is_no_digest(tmp_path, text, capsys):
    path = tmp_path / "digest.txt"
    path.write_text(text)
    assert main(["check", "pack", "--against", str(path)]) == 1
    assert "digest" in capsys.readouterr().err


def test_hashes_tell_types_shapes_and_signs_apart():
    values = [
        np.zeros(2), np.zeros(2, np.float32), np.zeros((1, 2)), -np.zeros(2), (np.zeros(2),), None,
        [np.zeros(1), np.zeros(1)], {"a": np.zeros(2)}, {"b": np.zeros(2)}, 0, 0.0, "0",
    ]  # fmt: skip
    assert len({_check_digest.sha256_of(value) for value in values}) == len(values)


def test_check_does_not_wait_for_a_digest(tmp_path, capsys):
    os.mkfifo(tmp_path / "digest.txt")
    assert main(["check", "pack", "--against", str(tmp_path / "digest.txt")]) == 1
    assert "expected a regular file, not a FIFO" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--digest", "--json"])
def test_a_digest_that_is_read_is_not_replaced(tmp_path, capsys, option):
    path = tmp_path / "digest.txt"
    assert main(["check", "pack", "--digest", str(path)]) == 0
    before = path.read_bytes()
    assert main(["check", "pack", "--against", str(path), option, str(path)]) == 2
    assert f"{option}: {path} is {path}, which is read" in capsys.readouterr().err
    assert path.read_bytes() == before
