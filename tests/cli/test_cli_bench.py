"""``pyfq bench`` runs and tells what it promises; how fast anything is, is not tested."""

import json

import pytest

import pyfq
from pyfq.cli import main


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    assert main(["bench", "--quick", "--threads", "2", "--json", str(path)]) == 0
    pyfq.set_num_threads(None)
    return json.loads(path.read_text())


def test_bench_times_every_operation_on_one_thread_and_on_all(document):
    rows = document["rows"]
    names = [row["operation"] for row in rows]
    assert names[0].startswith("read ")
    assert {name.split()[0] for name in names} == {"read", "float32", "float64", "int8", "int4"}
    assert sorted((row["operation"], row["threads"]) for row in rows) == sorted(
        (name, n) for name in set(names) for n in (1, 2)
    )
    for row in rows:
        assert row["seconds"] > 0
        assert row["gb_per_second"] > 0
        if not row["operation"].startswith("read "):
            assert row["gops"] > 0
            assert row["speed_over_numpy"] == row["numpy_seconds"] / row["seconds"]


def test_bench_prints_a_table(capfd):
    assert main(["bench", "--quick", "--threads", "1"]) == 0
    pyfq.set_num_threads(None)
    out = capfd.readouterr().out
    assert out.split("\n")[0].split() == [
        "operation",
        "threads",
        "ms",
        "Gop/s",
        "GB/s",
        "x",
        "NumPy",
    ]
    assert "int4 layer 128 to 128, batch 2" in out


def test_bench_json_goes_to_stdout(capfd):
    assert main(["bench", "--quick", "--threads", "1", "--json", "-"]) == 0
    pyfq.set_num_threads(None)
    assert json.loads(capfd.readouterr().out)["command"] == "bench"


def test_bench_refuses_a_bad_number_of_threads(capsys):
    assert main(["bench", "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err
