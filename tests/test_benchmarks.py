"""The benchmarks run and write what they promise; how fast anything is, is not tested."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(json_file, *options):
    """Return what a quick run wrote, and what it printed."""
    command = [sys.executable, ROOT / "benchmarks" / "run.py", "--quick", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--json", json_file, *options],
        capture_output=True, text=True, cwd=json_file.parent, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(json_file.read_text()), done.stdout


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return run(tmp_path_factory.mktemp("benchmarks") / "all.json", "--threads", "2")


def topics():
    stems = (
        (ROOT / "fortran" / "meson.build").read_text().partition("stems = {")[2].partition("}")[0]
    )
    return re.findall(r"^\s*'(\w+)':", stems, re.MULTILINE)


def test_benchmarks_cover_every_topic(everything):
    result, printed = everything
    assert topics()
    assert set(topics()) <= {case["topic"] for case in result["cases"]}
    for topic in topics():
        assert f"\n{topic}\n" in printed


def test_benchmarks_describe_the_machine(everything):
    machine = everything[0]["machine"]
    for key in ("cpu", "isa", "compiler", "flags", "numpy", "torch"):
        assert machine[key]
    assert machine["cores"] >= 1
    assert machine["threads"] == [1, 2]
    for key in ("copy GB/s", "read GB/s"):
        assert set(machine[key]) == {"1", "2"}
        assert min(machine[key].values()) > 0


def test_benchmarks_time_pyfq_its_reference_and_a_copy(everything):
    for case in everything[0]["cases"]:
        if case["skipped"]:
            continue
        timed = {(c["name"], c["threads"]) for c in case["contenders"]}
        assert {("pyfq", 1), ("pyfq", 2), ("reference", None), ("np.copyto", None)} <= timed
        for contender in case["contenders"]:
            assert 0 < contender["best"] <= contender["median"] <= max(contender["seconds"])
            assert contender["GB/s"] > 0
        peers = {(ratio["to"], ratio["threads"]) for ratio in case["ratios"]}
        assert peers >= {("reference", 1), ("reference", 2), ("np.copyto", 1), ("np.copyto", 2)}


def test_benchmarks_judge_targets_with_all_threads(everything):
    targets = [target for case in everything[0]["cases"] for target in case["targets"]]
    assert len(targets) >= 7
    for target in targets:
        assert (target["met"] is None) == (target["value"] is None)
        assert target["threads"] == (None if target["met"] is None else 2)


def test_benchmarks_run_without_torch(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result, printed = run(tmp_path / "one.json", "--topic", "convert", "--threads", "1")
    assert result["machine"]["torch"] == "not installed"
    assert {case["topic"] for case in result["cases"]} == {"convert"}
    assert {c["threads"] for case in result["cases"] for c in case["contenders"]} == {1, None}
    assert "not installed" in printed.partition("\nconvert\n")[2]
