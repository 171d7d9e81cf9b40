"""``pyfq check``."""

import json
from pathlib import Path

import numpy as np

import pyfq
from pyfq import _native
from pyfq.cli import cases, check, main


def test_check_passes_on_this_machine(capsys):
    assert main(["check", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"]
    assert tuple(result["isas"]) == _native.runnable()
    assert list(result["cases"]) == list(cases.TOPICS)
    assert result["seconds"] > 0


def test_check_has_every_topic_of_the_reference():
    modules = Path(pyfq.reference.__file__).parent.glob("*.py")
    topics = {path.stem for path in modules} - {"__init__", "grouping", "step"}
    assert topics <= set(cases.TOPICS)


def test_check_finds_a_difference(monkeypatch, capsys):
    monkeypatch.setattr(pyfq, "pack", lambda codes, bits, dtype=np.uint8: codes)
    used = _native.lib
    assert main(["check", "pack"]) == 1
    assert "FAILED pack: known" in capsys.readouterr().out
    assert _native.lib is used


def test_check_topic_reports_what_was_raised():
    def fail():
        raise pyfq.FqError("pack", 1)

    (failure,) = check.check_topic([cases.Case("x", fail, lambda: 1)], _native.runnable()[:1], [1])
    assert failure["reason"].startswith("FqError: pack")


def test_agree_takes_what_is_near_for_what_is_expected():
    value = np.array([1, 2], np.float32)
    near = cases.Near(value, np.array([0.5, 0], np.float32))
    assert cases.agree(value + np.array([0.5, 0], np.float32), near)
    for other in (value + np.float32(0.5), value.astype(np.float64), value[:1], value * np.nan):
        assert not cases.agree(other, near)


def test_check_refuses_an_unknown_topic(capsys):
    assert main(["check", "bogus"]) == 2
    assert "unknown topic 'bogus'" in capsys.readouterr().err
