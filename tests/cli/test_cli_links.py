"""What ``pyfq compress`` and ``decompress`` write where links lead, and never write or remove."""

from pathlib import Path

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.io import open_checkpoint, write_index, write_npz, write_safetensors

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


NOWHERE = ["missing/..", "s.safetensors/..", "missing/below/../..", "by-link"]


@pytest.mark.parametrize("where", NOWHERE)
@pytest.mark.parametrize("flags", [[], ["--force"], ["--resume"]])
@pytest.mark.parametrize("name", ["s.safetensors", "q.safetensors", "s.npz", "m"])
def test_targets_that_the_system_cannot_reach_are_refused(place, model, capsys, where, flags, name):
    """What such a path looks like to lead to may be the source, or anything else of value."""
    write_npz("s.npz", {"a.weight": W})
    out = f"{where}/{name}"
    if where == "by-link":
        out = f"link{Path(name).suffix}"
        Path(out).symlink_to(f"missing/../{name}")
    before = kept(place)
    for words in (["compress", "s.safetensors"], ["decompress", "q.safetensors"]):
        capsys.readouterr()
        assert run(*words, "-o", out, *flags) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"pyfq {words[0]}: error: {out}: ")
        assert "there is no directory" in said
        assert said.count("\n") == 1
    assert kept(place) == before


@pytest.mark.parametrize("where", NOWHERE)
def test_files_that_the_system_cannot_reach_are_refused_before_the_work(place, capsys, where):
    np.savez("data.npz", x=np.zeros((8, 2), np.float32), y=np.zeros((8, 1), np.float32))
    out = f"{where}/s.safetensors"
    if where == "by-link":
        out = "link.safetensors"
        Path(out).symlink_to("missing/../s.safetensors")
    before = kept(place)
    train = ["train", "--layers", "2,1", "--data", "data.npz", "--epochs", "1"]
    for flags in ([], ["--force"]):
        assert run(*train, "-o", out, *flags) == 1
        assert "there is no directory" in capsys.readouterr().err
    assert kept(place) == before


def test_targets_behind_a_link_to_a_directory_are_those_of_the_system(place):
    (place / "store" / "below").mkdir()
    Path("l").symlink_to("store/below")
    before = kept(place)
    assert run("compress", "s.safetensors", "-o", "l/../s.safetensors") == 0
    assert kept(place) == before | {"store/s.safetensors": before["q.safetensors"]}


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
    target = model / "foo.safetensors"
    assert run("compress", "foo.safetensors", "-o", target) == 0
    assert "a.weight_scale" in open_checkpoint(target)
    after = kept(model)
    assert after.pop("foo.safetensors")
    assert after == before


def test_a_source_that_would_be_removed_as_an_older_layout_is_refused(place, model, capsys):
    """The shard of an index elsewhere is a link to the file that the target's index replaces."""
    Path("new").mkdir()
    Path("new/x.safetensors").symlink_to("../m/model.safetensors")
    write_index("new/model.safetensors.index.json", {"a.weight": "x.safetensors"}, 1)
    refused(place, capsys, "is the source itself", "compress", "new", "-o", model)


def test_a_shard_of_the_target_changes_no_config(place, capsys):
    """The index of the target lists the source, and is what readers take."""
    Path("t").mkdir()
    sharded(place / "t", {"a.weight": "sub/model-0.safetensors"})
    Path("t/config.json").write_text("{}")
    refused(
        place,
        capsys,
        "model.safetensors.index.json, another checkpoint, stays there",
        *("compress", "t/sub/model-0.safetensors", "-o", "t", "--min-size", "1"),
    )


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


def tree(directory):
    """Return everything below a directory: bytes of files, where links lead, directories."""
    return {
        p.relative_to(directory).as_posix(): p.readlink()
        if p.is_symlink()
        else p.read_bytes()
        if p.is_file()
        else None
        for p in directory.rglob("*")
    }


def refuses(place, capsys, *arguments, says):
    """Tell that a command ends with 1, names what it is about, and changes nothing."""
    before = tree(place)
    capsys.readouterr()
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in says), said
    assert said.count("error: ") == 1
    assert "--resume" not in said
    assert tree(place) == before


def sharded(directory, shards):
    """Write an index of shards of one tensor each."""
    for tensor, shard in shards.items():
        (directory / shard).parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(directory / shard, {tensor: W})
    write_index(directory / "model.safetensors.index.json", shards, W.nbytes * len(shards))


@pytest.fixture
def parts(place):
    """Make a model with a shard and a file of its own in a directory below."""
    sharded(place / "m", {"a.weight": "sub/a.safetensors", "b.weight": "b.safetensors"})
    (place / "m" / "tok").mkdir()
    (place / "m" / "tok" / "vocab.txt").write_text("a b")
    return place / "m"


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("link", ["sub", "tok"])
def test_a_link_on_the_way_of_a_file_is_refused(
    place, parts, monkeypatch, capsys, inside, command, link
):
    source = parts
    if command == "decompress":
        assert run("compress", parts, "-o", "small") == 0
        source = place / "small"
    sharded(place / "out", {"c.weight": "c.safetensors"})
    (place / "store" / "a.safetensors").write_text("another's")
    (place / "store" / "vocab.txt").write_text("another's")
    (place / "out" / link).symlink_to("../store")
    if inside:
        monkeypatch.chdir(place / "out")
    target = "." if inside else "out"
    refuses(place, capsys, command, source, "-o", target, "--force", says=[link, "a link"])
    (place / "out" / link).unlink()
    assert run(command, source, "-o", target, "--force") == 0


@pytest.mark.parametrize("inside", [True, False])
def test_a_link_on_the_way_of_a_file_that_would_go_is_refused(place, monkeypatch, capsys, inside):
    sharded(place / "m", {"a.weight": "a.safetensors"})
    sharded(place / "out", {"a.weight": "sub/old.safetensors"})
    (place / "out" / "sub").rename(place / "far")
    (place / "out" / "sub").symlink_to("../far")
    if inside:
        monkeypatch.chdir(place / "out")
    target = "." if inside else "out"
    for flags in ["--force"], ["--force", "--dry-run"]:
        flags = ["compress", place / "m", "-o", target, *flags]
        refuses(place, capsys, *flags, says=["sub is a link"])


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("sub", Path.touch, "sub is a file, expected a directory"),
        ("tok", lambda path: path.symlink_to("nowhere"), "tok is a link"),
        ("sub/a.safetensors", Path.mkdir, "a.safetensors is a directory, expected a file"),
        ("tok/vocab.txt", Path.mkdir, "vocab.txt is a directory, expected a file"),
        ("config.json", Path.mkdir, "config.json is a directory, expected a file"),
        ("model.safetensors.index.json", Path.mkdir, "index.json is a directory"),
    ],
)
def test_what_stands_in_the_place_of_a_file_is_refused_at_the_start(
    place, parts, monkeypatch, capsys, name, make, says
):
    path = place / "out" / name
    path.parent.mkdir(parents=True)
    make(path)
    for inside in False, True:
        if inside:
            monkeypatch.chdir(place / "out")
        target = "." if inside else "out"
        for flags in [], ["--dry-run"]:
            words = ["compress", parts, "-o", target, "--force", *flags]
            refuses(place, capsys, *words, says=[says, "move it away"])


def test_what_is_written_anew_is_not_called_removed(place, capsys):
    """A file of another part of a model is copied to where the old index had a shard."""
    for name in ("m", "m/part"):
        (place / name).mkdir()
        write_safetensors(place / name / "model.safetensors", {"a.weight": W})
        (place / name / "config.json").write_text("{}")
    sharded(place / "out", {"a.weight": "part/model.safetensors"})
    assert run("compress", "m", "-o", "out", "--force") == 0
    said = capsys.readouterr().out
    assert "removed: out/model.safetensors.index.json\n" in said
    assert (place / "out" / "part" / "model.safetensors").is_file()
    assert run("compress", "m", "-o", "out", "--resume") == 0


def test_a_shard_where_pyfq_writes_is_refused(place, capsys):
    sharded(place / "m", {"a.weight": ".pyfq.partial/new/a.st"})
    refuses(place, capsys, "compress", "m", "-o", "out", says=[".pyfq.partial/new/a.st"])
    assert run("compress", "m", "-o", "out.safetensors") == 0
    sharded(place / "plain", {"a.weight": "a.safetensors"})
    words = ["compress", "plain", "-o", "m", "--force"]
    refuses(place, capsys, *words, says=["m/.pyfq.partial/new/a.st"])


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "tok/vocab.txt", "config.json", "b.safetensors", "model.safetensors.index.json",
        "model.safetensors",  # as weights that the new ones replace
    ],
)  # fmt: skip
def test_a_recipe_that_would_go_is_refused(place, parts, monkeypatch, capsys, inside, name):
    recipe = place / "out" / name
    recipe.parent.mkdir(parents=True)
    recipe.write_text('[[rule]]\nmatch = "*"\nquantize = {bits = 4}\n')
    if inside:
        monkeypatch.chdir(place / "out")
    target = "." if inside else "out"
    for flags in [], ["--dry-run"]:
        words = ["compress", parts, "-o", target, "--recipe", recipe, "--force", *flags]
        refuses(place, capsys, *words, says=[f"{name}, which is read: choose another"])
    recipe.rename(place / "out" / "r.toml")
    recipe = place / "out" / "r.toml"
    assert run("compress", parts, "-o", target, "--recipe", recipe, "--force") == 0
    assert recipe.is_file()


def test_a_recipe_where_pyfq_writes_is_refused(place, capsys):
    recipe = place / "out.partial" / "new" / "r.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text('[[rule]]\nmatch = "*"\nquantize = {bits = 4}\n')
    words = ["compress", "s.safetensors", "-o", "out", "--recipe", recipe]
    refuses(place, capsys, *words, says=["r.toml leads into", "out.partial"])


def test_reports_are_never_written_over_what_is_read(place, model, capsys):
    recipe = Path("r.json")
    recipe.write_text('[[rule]]\nmatch = "*"\nquantize = {bits = 4}\n')
    before = kept(place)
    source = "m/model.safetensors"
    words = ["compress", source, "-o", "out"]
    for report in "m/config.json", "m/vocab.txt":
        assert run(*words, "--json", report) == 2
        assert f"--json: {report} is {report}, which is read" in capsys.readouterr().err
    assert run(*words, "--recipe", "r.json", "--json", "r.json") == 2
    assert "--json: r.json is r.json, which is read" in capsys.readouterr().err
    assert run("inspect", source, "--json", "m/config.json") == 2
    assert kept(place) == before
    assert run("compress", "s.safetensors", "-o", "o.safetensors", "--json", "config.json") == 0
