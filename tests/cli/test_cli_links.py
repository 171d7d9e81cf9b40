"""What ``pyfq compress`` and ``decompress`` write where links lead, and never write or remove."""

from pathlib import Path

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.io import open_checkpoint, write_index, write_safetensors

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


@pytest.fixture
def model(place):
    """Make the directory of a model beside the file."""
    (place / "m").mkdir()
    write_safetensors("m/model.safetensors", {"a.weight": W})
    (place / "m" / "config.json").write_text("{}")
    (place / "m" / "vocab.txt").write_text("a b")
    return place / "m"


def refused(place, capsys, reason, *arguments):
    """Tell that a command with --force refuses, names the reason and changes nothing."""
    before = kept(place)
    assert run(*arguments, "--force") == 1
    assert reason in capsys.readouterr().err
    assert kept(place) == before


def test_a_source_that_a_link_finds_in_the_target_is_refused(place, model, capsys):
    Path("new").mkdir()
    Path("new/model.safetensors").symlink_to("../m/model.safetensors")
    for command in ["compress"], ["compress", "--dry-run"]:
        refused(place, capsys, "is the source itself", *command, "new", "-o", model)


def test_a_source_of_another_name_in_the_target_stays(place, model):
    Path("foo.safetensors").symlink_to("m/model.safetensors")
    before = kept(model)
    assert run("compress", "foo.safetensors", "-o", model, "--force") == 0
    after = kept(model)
    assert "a.weight_scale" in open_checkpoint(model / "foo.safetensors")
    assert after.pop("foo.safetensors")
    assert {**after, "config.json": b""} == {**before, "config.json": b""}


def test_a_source_that_would_be_removed_as_an_older_layout_is_refused(place, model, capsys):
    """The shard of an index elsewhere is a link to the file that the target's index replaces."""
    Path("new").mkdir()
    Path("new/x.safetensors").symlink_to("../m/model.safetensors")
    write_index("new/model.safetensors.index.json", {"a.weight": "x.safetensors"}, 1)
    refused(place, capsys, "is the source itself", "compress", "new", "-o", model)


def test_a_source_under_a_second_name_is_refused(place, model, capsys):
    Path("out").mkdir()
    Path("out/model.safetensors").hardlink_to("m/model.safetensors")
    refused(place, capsys, "is the source itself", "compress", model, "-o", "out")
    Path("t.safetensors").hardlink_to("s.safetensors")
    refused(place, capsys, "itself", "compress", "s.safetensors", "-o", "t.safetensors")


def test_a_file_beside_the_weights_that_is_read_is_not_replaced(place, model, capsys):
    Path("out").mkdir()
    Path("out/vocab.txt").hardlink_to("m/vocab.txt")
    refused(place, capsys, "m/vocab.txt, which is read", "compress", model, "-o", "out")


def test_links_to_what_is_read_are_replaced_beside_the_weights(place, model):
    Path("out").mkdir()
    Path("out/vocab.txt").symlink_to("../m/vocab.txt")
    assert run("compress", model, "-o", "out", "--force") == 0
    assert not Path("out/vocab.txt").is_symlink()
    assert Path("out/vocab.txt").read_text() == Path("m/vocab.txt").read_text() == "a b"


def test_a_link_to_the_recipe_is_refused(place, capsys):
    recipe = Path("r.toml")
    recipe.write_text('[[rule]]\nmatch = "*"\nquantize = {bits = 4}\n')
    Path("link.safetensors").symlink_to("r.toml")
    before = kept(place)
    arguments = ("compress", "s.safetensors", "--recipe", "r.toml", "-o", "link.safetensors")
    assert run(*arguments, "--force") == 2
    assert "-o: link.safetensors is r.toml, which is read" in capsys.readouterr().err
    assert kept(place) == before


@pytest.mark.parametrize("how", [["--dense"], ["--method", "bfloat16"]])
def test_a_config_says_nothing_of_weights_that_went(place, how):
    Path("m").mkdir()
    write_safetensors("m/model.safetensors", {"a.weight": W})
    assert run("compress", "m", "-o", "q", "--bits", "4") == 0
    assert "quantization_config" in Path("q/config.json").read_text()
    assert run("compress", "m", "-o", "q", *how, "--force") == 0
    assert "int-quantized" not in Path("q/config.json").read_text()
    assert run("compress", "q", "-o", "again", "--bits", "4") == 0


def test_the_config_of_the_target_stays_where_the_source_has_none(place):
    for name in ("m", "q"):
        Path(name).mkdir()
    write_safetensors("m/model.safetensors", {"a.weight": W})
    Path("q/config.json").write_text('{"user": "kept"}')
    assert run("compress", "m", "-o", "q", "--bits", "4", "--force") == 0
    text = Path("q/config.json").read_text()
    assert '"user": "kept"' in text
    assert "quantization_config" in text
