"""The benchmarks run and write what they promise; how fast anything is, is not tested."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def topics():
    build = (ROOT / "fortran" / "meson.build").read_text()
    tables = "".join(re.findall(r"topics = \{(.*?)\}", build, re.DOTALL))
    return re.findall(r"^\s*'\w+/(\w+)':", tables, re.MULTILINE)


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


def test_benchmarks_cover_every_topic(everything):
    result, printed = everything
    assert topics()
    assert set(topics()) <= {case["topic"] for case in result["cases"]}
    for topic in topics():
        assert f"\n{topic}\n" in printed


def test_benchmarks_describe_the_machine(everything):
    machine = everything[0]["machine"]
    for key in ("cpu", "isa", "compiler", "flags", "numpy", "torch", "onnxruntime", "AMX"):
        assert machine[key]
    assert machine["cores"] >= 1
    assert machine["threads"] == [1, 2]
    for key in ("copy GB/s", "read GB/s", "float32 GFLOP/s", "float64 GFLOP/s", "int8 Gop/s"):
        if "op/s" in key.lower() and not shutil.which("gfortran"):
            continue
        assert set(machine[key]) == {"1", "2"}
        assert min(machine[key].values()) > 0


def test_benchmarks_time_pyfq_its_reference_and_a_copy(everything):
    for case in everything[0]["cases"]:
        if case["skipped"]:
            continue
        timed = {(c["name"], c["threads"]) for c in case["contenders"]}
        assert {("pyfq", 1), ("pyfq", 2)} <= timed
        for contender in case["contenders"]:
            assert 0 < contender["best"] <= contender["median"] <= max(contender["seconds"])
            assert contender["GB/s"] > 0
        peers = {(ratio["to"], ratio["threads"]) for ratio in case["ratios"]}
        # The reference of the coder would take minutes, and a search for a step has none.
        if not case["operations"] and case["topic"] not in ("entropy", "lossless", "rate"):
            assert {("reference", None), ("np.copyto", None)} <= timed
            assert peers >= {("reference", 1), ("reference", 2), ("np.copyto", 1), ("np.copyto", 2)}


def test_benchmarks_of_products_know_the_limit(everything):
    products = [case for case in everything[0]["cases"] if case["operations"]]
    assert {case["topic"] for case in products} >= {"matmul", "linear"}
    for case in products:
        assert case["unit"] in ("float32", "float64", "int8")
        for contender in case["contenders"]:
            assert contender["Gop/s"] > 0
            assert contender["of limit"] > 0
            assert contender["bound"] in ("read", case["unit"])


def test_benchmarks_give_peers_the_same_threads(everything):
    (case,) = (c for c in everything[0]["cases"] if c["name"] == "64 x 64 x 64")
    timed = {(c["name"], c["threads"]) for c in case["contenders"]}
    assert {("numpy matmul", 1), ("numpy matmul", 2)} <= timed


def test_benchmarks_sum_up_goals(everything):
    result, printed = everything
    assert {goal["goal"] for goal in result["goals"]} >= {"float squares", "float skinny"}
    for goal in result["goals"]:
        assert goal["least"] == min(goal["cases"].values()) <= goal["mean"] * (1 + 1e-12)
        assert goal["met"] == (
            goal["mean"] >= goal["wanted mean"] and goal["least"] >= goal["wanted least"]
        )
        assert goal["goal"] in printed.partition("\ngoals")[2]


def test_benchmarks_draw_the_roofline(everything, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "all.json").write_text(json.dumps(everything[0]))
    command = [sys.executable, ROOT / "benchmarks" / "roofline.py", "all.json", "roofline.png"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


def test_short_form_names_cases(tmp_path):
    code = (
        "import importlib, sys\n"
        "for topic in sys.argv[1:]:\n"
        "    module = importlib.import_module(f'bench_{topic}')\n"
        "    assert set(module.SHORT) <= {case.name for case in module.cases(False)}, topic\n"
    )
    path = os.pathsep.join(
        [
            str(ROOT / "benchmarks"),
            *map(str, (ROOT / "benchmarks").glob("*/")),
            os.environ.get("PYTHONPATH", ""),
        ]
    )
    command = [sys.executable, "-c", code, *topics()]
    env = os.environ | {"PYTHONPATH": path}
    subprocess.run(command, check=True, env=env, cwd=tmp_path, timeout=60)


@pytest.mark.skipif(not shutil.which("gfortran"), reason="needs gfortran")
def test_every_step_of_the_staircase_multiplies(tmp_path):
    code = (
        "import sys, pathlib; sys.path += sys.argv[1:]\n"
        "import numpy as np, climb\n"
        "library = climb.compiled(climb.HERE / 'staircase.f90', pathlib.Path.cwd(), '-fopenmp')\n"
        "rng = np.random.default_rng(0)\n"
        "a, b = (rng.standard_normal(shape, np.float32) for shape in ((768, 1024), (1024, 384)))\n"
        "for word in climb.VERSIONS:\n"
        "    c = climb.version(library, word, a, b, 2)()\n"
        "    np.testing.assert_allclose(c, a @ b, rtol=0, atol=1e-3, err_msg=word)\n"
    )
    command = [sys.executable, "-c", code, ROOT / "benchmarks" / "staircase"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=100)


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


def test_benchmarks_of_sentences_take_prose(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from descriptions import sentences_of

    prose = "The measured widths are given in\nmillimetres, of petals and of sepals."
    table = "Missing | values of this table are described as none at all."
    link = "See the archive at https://example.org for everything about it."
    assert sentences_of(f"{prose} Short one.\n\n{table}\n\n{link}") == [prose.replace("\n", " ")]


def test_extras_want_one_torch():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    pinned = [x for x in extras["oracles"] if x.startswith("torch==")]
    assert extras["encoder"][:1] == pinned
