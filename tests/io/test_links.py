"""Where paths lead: as the system has it, whether or not there is anything."""

import os
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq.io import write_index, write_npz, write_safetensors
from pyfq.io.links import followed, target_of

LINKS = {
    "by-missing": "missing/../old",
    "by-file": "file/../old",
    "with-slash": "old/",
    "with-dot": "old/.",
    "through": "there/below",
    "above": "there/below/../../old",
    "to-be": "new/",
    "dangling": "nothing",
}
NOWHERE = [
    "missing/../old", "missing/below/../../old", "file/../old", "file/below/../../old",
    "there/../missing/../old", "dangling/../old", "by-missing", "by-file", "with-slash", "with-dot",
]  # fmt: skip
SOMEWHERE = {
    "there/../old": "old",
    "./there/below/.././/../old": "old",
    "through/../old": "there/old",
    "through/../../old": "old",
    "above": "old",
    "to-be": "new",
    "to-be/x": "new/x",
    "no/such/file": "no/such/file",
    "dangling": "nothing",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Be in a directory with a file to keep, one to stumble over, and links."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "there" / "below").mkdir(parents=True)
    for name, text in LINKS.items():
        os.symlink(text, name)  # noqa: PTH211 -- `Path` drops a slash
    return tmp_path


@pytest.mark.parametrize("path", NOWHERE)
def test_followed_refuses_what_the_system_refuses(place, path):
    with pytest.raises(OSError, match="Errno") as by_system:
        os.stat(path)  # noqa: PTH116
    for find in (followed, target_of):
        with pytest.raises(OSError, match="leave both out") as e:
            find(Path(path))
        assert (e.value.errno, e.value.filename) == (by_system.value.errno, path)


@pytest.mark.parametrize("path", SOMEWHERE)
def test_followed_leads_where_the_system_does(place, path):
    assert followed(path) == place / SOMEWHERE[path]
    assert followed(place / path) == place / SOMEWHERE[path]


@pytest.mark.parametrize("where", ["missing/..", "file/.."])
def test_writers_leave_what_they_cannot_reach(place, where):
    arrays, network = {"w": np.zeros(2, np.float32)}, pyfq.Network.create((2, 1))
    writers = {
        "w.safetensors": lambda path: write_safetensors(path, arrays),
        "w.npz": lambda path: write_npz(path, arrays),
        "w.safetensors.index.json": lambda path: write_index(path, {"w": "w.safetensors"}, 8),
        "n.safetensors": lambda path: pyfq.save_network(network, path),
        "n.npz": lambda path: pyfq.to_npz(network, path),
    }
    for name, write in writers.items():
        (place / name).write_bytes(b"old")
        with pytest.raises(OSError, match="leave both out"):
            write(f"{where}/{name}")
        assert (place / name).read_bytes() == b"old"
        write(f"there/../{name}")
        assert (place / name).read_bytes() != b"old"


@pytest.mark.parametrize("where", ["missing/..", "file/.."])
def test_to_onnx_leaves_what_it_cannot_reach(place, where):
    pytest.importorskip("onnx")
    Path("n.onnx").write_bytes(b"old")
    with pytest.raises(OSError, match="leave both out"):
        pyfq.to_onnx(pyfq.Network.create((2, 1)), f"{where}/n.onnx")
    assert Path("n.onnx").read_bytes() == b"old"
