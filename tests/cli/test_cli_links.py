"""What ``pyfq compress`` and ``decompress`` write where links lead, and never write or remove."""

from pathlib import Path

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.io import open_checkpoint, write_safetensors

W = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Be in a directory with a file, the same compressed, and a store to lead links to."""
    monkeypatch.chdir(tmp_path)
    write_safetensors("s.safetensors", {"a.weight": W})
    assert run("compress", "s.safetensors", "-o", "q.safetensors") == 0
    (tmp_path / "store").mkdir()
    return tmp_path


def kept(directory):
    return {
        p.relative_to(directory).as_posix(): p.read_bytes()
        for p in directory.rglob("*")
        if p.is_file() and not p.is_symlink()
    }


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize(
    ("ending", "far"),
    [
        (".safetensors", "store/v1.safetensors"),
        (".safetensors", "v1.safetensors"),
        (".safetensors", "store/blob"),
        (".safetensors", "new/v1"),
        (".npz", "store/v1.npz"),
        (".npz", "store/blob"),
    ],
)
@pytest.mark.parametrize("is_there", [False, True])
def test_the_target_of_a_link_is_written(place, command, ending, far, is_there):
    source = "s.safetensors" if command == "compress" else "q.safetensors"
    plain, link = f"plain{ending}", f"link{ending}"
    assert run(command, source, "-o", plain) == 0
    if is_there:
        (place / far).parent.mkdir(exist_ok=True)
        (place / far).write_bytes(b"old")
    Path(link).symlink_to(far)
    before = kept(place)
    flags = ["--force"] if is_there else []
    assert run(command, source, "-o", link, *flags) == 0
    assert Path(link).readlink() == Path(far)
    assert kept(place) == before | {far: before[plain]}
    assert run(command, source, "-o", link, "--resume") == 0
    (place / far).write_bytes(b"old")
    assert run(command, source, "-o", link, "--resume") == 1


@pytest.mark.parametrize("is_there", [False, True])
def test_the_target_of_a_link_to_a_directory_is_written(place, is_there):
    if is_there:
        (place / "far").mkdir()
        (place / "far" / "note.txt").write_text("stays")
    Path("link").symlink_to("far")
    flags = ["--force"] if is_there else []
    assert run("compress", "s.safetensors", "-o", "link", *flags) == 0
    assert Path("link").readlink() == Path("far")
    assert "a.weight_scale" in open_checkpoint("far")
    assert (place / "far" / "note.txt").exists() == is_there


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_link_never_replaces_a_file_of_its_own_name(place, force):
    """The link is called as the source is, and leads to another name beside the source."""
    Path("s.safetensors").rename("store/model.safetensors")
    if force:
        (place / "store" / "q.safetensors").write_bytes(b"old")
    Path("model.safetensors").symlink_to("store/q.safetensors")
    before = kept(place)
    assert run("compress", "store/model.safetensors", "-o", "model.safetensors", *force) == 0
    after = kept(place)
    assert after.pop("store/q.safetensors") == before["q.safetensors"]
    before.pop("store/q.safetensors", None)
    assert after == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_link_to_the_source_is_refused(place, capsys, force):
    Path("link.safetensors").symlink_to("s.safetensors")
    before = kept(place)
    assert run("compress", "s.safetensors", "-o", "link.safetensors", *force) == 1
    assert "link.safetensors is the source itself" in capsys.readouterr().err
    assert kept(place) == before


def test_a_link_to_the_other_format_is_refused(place, capsys):
    Path("link.safetensors").symlink_to("store/w.npz")
    assert run("compress", "s.safetensors", "-o", "link.safetensors") == 1
    assert "the name of another format" in capsys.readouterr().err
    assert not list((place / "store").iterdir())
