"""Runs that are interrupted, damaged, or two at once: ``pyfq compress`` and ``decompress``."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyfq.cli import compress as command
from pyfq.cli import main
from pyfq.io import disk, open_checkpoint, write_index, write_safetensors
from pyfq.io.owner import owner_text, this_process

NAMES = ("a.weight", "b.weight", "c.weight", "d.weight")
FLAGS = ("--min-size", "1", "--bits", "4")


def weights(i):
    return np.random.default_rng(i).standard_normal((16, 64)).astype(np.float32)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Be in a directory with a model of shards in it."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "model"
    root.mkdir()
    for i, name in enumerate(NAMES):
        write_safetensors(root / f"{i}.safetensors", {name: weights(i)})
    index = {name: f"{i}.safetensors" for i, name in enumerate(NAMES)}
    write_index(root / "model.safetensors.index.json", index, 4)
    (root / "config.json").write_text("{}")
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def tree(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def names(path):
    return sorted(file.name for file in path.iterdir())


def stop_at(monkeypatch, count, error=KeyboardInterrupt):
    """Let the command end at its `count`-th tensor, counted from 0."""
    original, seen = command.compress_tensor, []

    def stop(*arguments):
        seen.append(arguments)
        if len(seen) > count:
            raise error
        return original(*arguments)

    monkeypatch.setattr(command, "compress_tensor", stop)
    return seen


def interrupted(monkeypatch, out, count, *flags):
    with monkeypatch.context() as patch:
        stop_at(patch, count)
        assert run("compress", "model", "-o", out, *FLAGS, *flags) == 130


def test_resume_of_a_finished_run_is_complete_already(place, capsys):
    flags = ("compress", "model", *FLAGS)
    for out in ("out", "one.safetensors", "one.npz"):
        assert run(*flags, "-o", out) == 0
        before = (place / out).stat()
        capsys.readouterr()
        assert run(*flags, "-o", out, "--resume", "--json", f"{out}.json") == 0
        assert capsys.readouterr().out == f"{out}: complete already\n"
        after = (place / out).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert len(json.loads((place / f"{out}.json").read_text())["tensors"]) == 4
    assert run("decompress", "out", "-o", "back") == 0
    assert run("decompress", "out", "-o", "back", "--resume") == 0
    assert "back: complete already" in capsys.readouterr().out


def test_a_finished_run_keeps_the_report_of_its_errors(place):
    flags = ("compress", "model", *FLAGS, "-o", "out", "--resume", "--json", "out.json")
    report = place / "out.json"
    assert run(*flags) == 0
    before = report.read_bytes()
    assert all("sqnr_db" in tensor for tensor in json.loads(before)["tensors"])
    assert run(*flags) == 0
    assert report.read_bytes() == before
    of_another = before.replace(b'"bytes_after": ', b'"bytes_after": 1')
    for other in b"{}", b"[" * 9999, b"\xff", of_another:
        report.write_bytes(other)
        assert run(*flags) == 0
        assert len(json.loads(report.read_text())["tensors"]) == 4


@pytest.mark.parametrize("what", ["recipe", "data", "config", "shard", "stale", "damaged"])
def test_resume_over_something_else_is_refused(place, capsys, what):
    assert run("compress", "model", "-o", "out", *FLAGS) == 0
    flags = list(FLAGS)
    if what == "recipe":
        flags[-1] = "5"
    elif what == "data":
        write_safetensors(place / "model" / "2.safetensors", {"c.weight": weights(7)})
    elif what == "config":
        (place / "out" / "config.json").write_text("{ }")
    elif what == "shard":
        (place / "out" / "1.safetensors").unlink()
    elif what == "stale":
        write_safetensors(place / "out" / "model.safetensors", {"x": weights(0)})
    else:
        file = place / "out" / "3.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    before = tree(place / "out")
    assert run("compress", "model", "-o", "out", *flags, "--resume") == 1
    assert "it is not what this command writes: --force" in capsys.readouterr().err
    assert tree(place / "out") == before
    assert not (place / "out.partial").exists()


def test_a_tensor_that_cannot_be_compressed_leaves_everything(place, capsys):
    assert run("compress", "model", "-o", "out", *FLAGS) == 0
    before = tree(place / "out")
    bad = weights(2)
    bad[1, 1] = np.nan
    write_safetensors(place / "model" / "2.safetensors", {"c.weight": bad})
    assert run("compress", "model", "-o", "out", *FLAGS, "--force") == 1
    assert "'c.weight'" in capsys.readouterr().err
    assert tree(place / "out") == before
    assert run("compress", "model", "-o", "new/deep/out", *FLAGS) == 1
    assert names(place) == ["model", "out"]


DAMAGE = {
    "no journal": lambda journal, shard: journal.unlink(),
    "empty journal": lambda journal, shard: journal.write_bytes(b""),
    "foo": lambda journal, shard: journal.write_bytes(journal.read_bytes() + b'{"foo": 1}\n'),
    "5": lambda journal, shard: journal.write_bytes(b"5\n" + journal.read_bytes()),
    "row": lambda journal, shard: journal.write_bytes(
        journal.read_bytes().replace(b"\n", b'\n{"row": 5}\n', 1)
    ),
    "binary": lambda journal, shard: journal.write_bytes(b"\0" * journal.stat().st_size),
    "cut journal": lambda journal, shard: journal.write_bytes(journal.read_bytes()[:-9]),
    "no shard": lambda journal, shard: shard.unlink(),
    "empty shard": lambda journal, shard: shard.write_bytes(b""),
    "half a header": lambda journal, shard: shard.write_bytes(shard.read_bytes()[:50]),
    "header of zeros": lambda journal, shard: shard.write_bytes(
        b"\0" * 100 + shard.read_bytes()[100:]
    ),
    "zeros": lambda journal, shard: shard.write_bytes(shard.read_bytes()[:-50] + b"\0" * 50),
    "a changed byte": lambda journal, shard: shard.write_bytes(
        shard.read_bytes()[:-1] + bytes([shard.read_bytes()[-1] ^ 1])
    ),
    "more bytes": lambda journal, shard: shard.write_bytes(shard.read_bytes() + b"x" * 99),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_gives_the_same_bytes_or_none(place, monkeypatch, capsys, damage, count):
    assert run("compress", "model", "-o", "whole", *FLAGS) == 0
    interrupted(monkeypatch, "out", count)
    partial = place / "out.partial"
    DAMAGE[damage](partial / "journal", partial / "new" / "0.safetensors")
    with monkeypatch.context() as patch:
        seen = stop_at(patch, 99)
        assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 0
    assert tree(place / "out") == tree(place / "whole")
    assert not partial.exists()
    if "shard" in damage or damage in ("zeros", "a changed byte"):
        assert len(seen) == 4 - count + 1  # no other finished tensor was done again
    anew = damage in ("empty journal", "5", "binary")
    assert ("damaged: begun anew" in capsys.readouterr().err) == anew


def test_resume_does_no_finished_tensor_again(place, monkeypatch):
    interrupted(monkeypatch, "out", 3)
    with monkeypatch.context() as patch:
        seen = stop_at(patch, 99)
        assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 0
    assert len(seen) == 1


def test_resume_of_a_run_that_may_not_replace(place, monkeypatch, capsys):
    """What came to its place meanwhile is not lost."""
    interrupted(monkeypatch, "out", 2)
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("precious")
    assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 1
    assert "out exists: --force replaces it" in capsys.readouterr().err
    assert tree(place / "out") == {"thesis.tex": b"precious"}
    (place / "out" / "thesis.tex").unlink()
    interrupted(monkeypatch, "out", 2, "--force")
    (place / "out" / "thesis.tex").write_text("precious")
    assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 0
    assert (place / "out" / "thesis.tex").read_text() == "precious"


def test_another_command_does_not_go_on(place, monkeypatch, capsys):
    assert run("compress", "model", "-o", "small", *FLAGS) == 0
    interrupted(monkeypatch, "out", 2)
    assert run("decompress", "small", "-o", "out", "--resume") == 1
    assert "cannot resume: command" in capsys.readouterr().err
    assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 0


def test_source_that_changes_while_it_is_read(place, monkeypatch, capsys):
    original = command.compress_tensor

    def change(*arguments):
        write_safetensors(place / "model" / "0.safetensors", {"a.weight": weights(8)})
        return original(*arguments)

    monkeypatch.setattr(command, "compress_tensor", change)
    assert run("compress", "model", "-o", "out", *FLAGS) == 1
    assert "model has changed since it was opened" in capsys.readouterr().err
    assert names(place) == ["model"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_errors_of_the_disk_name_the_target_and_what_helps(place, monkeypatch, capsys, code):
    assert run("compress", "model", "-o", "whole", *FLAGS) == 0
    write, seen = disk.write, []

    def fail(fd, data):
        seen.append(fd)
        if len(seen) > 9:
            raise OSError(code, os.strerror(code))
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", fail)
        assert run("compress", "model", "-o", "new/out", *FLAGS) == 1
    said = capsys.readouterr().err
    assert os.strerror(code) in said
    assert "--resume goes on" in said
    assert "error: new/out: " in said
    assert run("compress", "model", "-o", "new/out", *FLAGS, "--resume") == 0
    assert tree(place / "new" / "out") == tree(place / "whole")


@pytest.mark.parametrize("step", ["create", "write", "sync", "link", "mkdir"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_disk_that_is_full_at_the_start_leaves_nothing(place, monkeypatch, capsys, step, count):
    """Neither the lock nor an empty journal stays: there is no run to go on with."""
    call, seen = getattr(disk, step), []

    def fail(*arguments):
        seen.append(arguments)
        if len(seen) > count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments)

    before = tree(place)
    with monkeypatch.context() as patch:
        patch.setattr(disk, step, fail)
        code = run("compress", "model", "-o", "out", *FLAGS)
    said = capsys.readouterr().err
    if (step, count) == ("link", 1):  # there is no second one
        assert code == 0
        return
    assert code == 1
    assert "error: out: " + os.strerror(errno.ENOSPC) in said
    if "--resume" in said:
        assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 0
        return
    assert tree(place) == before
    assert not (place / "out.partial").exists()


def test_resume_of_a_run_whose_journal_does_not_say_what_it_may_replace(place, capsys):
    """A run with --force was killed between creating its journal and filling it."""
    assert run("compress", "model", "-o", "out", *FLAGS) == 0
    before = tree(place / "out")
    (place / "out.partial").mkdir()
    (place / "out.partial" / "journal").write_bytes(b"")
    assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 1
    said = capsys.readouterr().err
    assert "out exists, and the journal of the interrupted run is damaged" in said
    assert tree(place / "out") == before
    assert run("compress", "model", "-o", "out", *FLAGS, "--force") == 0
    assert names(place) == ["model", "out"]


def test_messages_of_places_that_cannot_be_written(place, capsys):
    (place / "file").write_text("")
    for out in ("file/x", "file/x/y.safetensors"):
        assert run("compress", "model", "-o", out, *FLAGS) == 1
        assert f"error: {out}: " in capsys.readouterr().err
    if os.geteuid():
        (place / "sealed").mkdir(mode=0o555)
        assert run("compress", "model", "-o", "sealed/x", *FLAGS) == 1
        assert "error: sealed/x: Permission denied" in capsys.readouterr().err
    assert names(place) in (["file", "model"], ["file", "model", "sealed"])


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("model")])
def test_a_partial_that_is_not_ours_is_refused(place, capsys, make):
    make(place / "out.partial")
    before = tree(place / "model")
    for flags in ([], ["--force"], ["--resume"], ["--force", "--break-lock"]):
        assert run("compress", "model", "-o", "out", *FLAGS, *flags) == 1
        assert "move it away" in capsys.readouterr().err
    assert tree(place / "model") == before
    assert names(place) == ["model", "out.partial"]


def test_a_fifo_in_place_of_the_target_is_refused(place, capsys):
    os.mkfifo(place / "out.safetensors")
    assert run("compress", "model", "-o", "out.safetensors", *FLAGS, "--force") == 1
    assert "not a regular file" in capsys.readouterr().err
    assert (place / "out.safetensors").is_fifo()


def test_a_source_in_the_staging_directory_is_refused(place, monkeypatch, capsys):
    write_safetensors(place / "m.safetensors", {name: weights(i) for i, name in enumerate(NAMES)})
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        assert run("compress", "m.safetensors", "-o", "o.safetensors", *FLAGS) == 130
    partial = place / "o.safetensors.partial" / "new" / "o.safetensors"
    write_safetensors(partial, {"a.weight": weights(0)})
    (place / "s.safetensors").symlink_to(partial)
    before = tree(place)
    assert run("compress", "s.safetensors", "-o", "o.safetensors", *FLAGS, "--force") == 1
    assert "which is for writing o.safetensors" in capsys.readouterr().err
    assert tree(place) == before


@pytest.mark.parametrize(
    "report",
    [
        "model/0.safetensors", "model/report.json", "model/config.json", "out/report.json",
        "link.json", "out.partial/x.json", "model/../model/new.json",
    ],
)  # fmt: skip
def test_reports_do_not_overwrite(place, capsys, report):
    assert run("compress", "model", "-o", "out", *FLAGS) == 0
    (place / "out.partial").mkdir()
    (place / "link.json").symlink_to("model/1.safetensors")
    before = tree(place)
    assert run("compress", "model", "-o", "out", *FLAGS, "--force", "--json", report) == 2
    said = capsys.readouterr().err
    assert (
        f"--json: {report} is " in said
        or f"--json: expected a file, not the directory {report}" in said
    )
    assert tree(place) == before


def test_reports_of_other_commands_do_not_overwrite(place, capsys):
    assert run("inspect", "model/0.safetensors", "--json", "model/0.safetensors") == 2
    assert "which is read" in capsys.readouterr().err
    with open_checkpoint("model") as checkpoint:
        assert len(checkpoint) == 4


@pytest.mark.parametrize(
    ("option", "name", "what"),
    [
        ("--json", "pipe", "pipe is a FIFO"),
        ("--json", "link", "link is a FIFO"),
        ("--json", "socket", "socket is a socket"),
        ("--json", "new/", "not the directory new/"),
        ("--json", "model/config.json/", "not the directory model/config.json/"),
        ("--plot", "pipe.png", "pipe.png is a FIFO"),
        ("--plot", "null.png", "null.png is not a regular file"),
        ("--plot", "new.png/", "not the directory new.png/"),
    ],
)
def test_reports_that_cannot_be_written_are_refused_before_the_work(
    place, monkeypatch, capsys, option, name, what
):
    for pipe in ("pipe", "pipe.png"):
        os.mkfifo(place / pipe)
    (place / "link").symlink_to("pipe")
    (place / "null.png").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        before = names(place)
        monkeypatch.setattr(command, "compress_tensor", None)
        try:
            code = run("compress", "model", "-o", "out", *FLAGS, option, name)
        except SystemExit as e:
            code = e.code
        assert code == 2
        said = capsys.readouterr().err
        assert what in said
        assert said.startswith("pyfq compress: error: ")
        assert names(place) == before
    if option == "--json":
        for words in (("info",), ("check", "pack"), ("inspect", "model"), ("bench",)):
            assert run(*words, "--json", name) == 2


def test_json_goes_into_devices_and_pipes(place):
    assert run("inspect", "model", "--json", os.devnull) == 0
    for how in ("/dev/fd/{}", "/proc/self/fd/{}", "link"):
        reading, writing = os.pipe()
        (place / "link").unlink(missing_ok=True)
        (place / "link").symlink_to(f"/dev/fd/{writing}")
        assert run("inspect", "model", "--json", how.format(writing)) == 0
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert json.load(pipe)["totals"]["tensors"] == 4


def test_json_goes_to_a_reader_of_stdout(place):
    words = [sys.executable, "-m", "pyfq", "inspect", "model", "--json", "/dev/stdout"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{")


# Two processes


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pyfq", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_one_of_two_writes_and_the_other_is_refused(place):
    """Whatever the options are: one whole result, and no leftovers."""
    write_safetensors("m.safetensors", {f"{i}.weight": weights(i) for i in range(200)})
    whole = []
    for bits in ("3", "5"):
        assert run("compress", "m.safetensors", "-o", "w.safetensors", "--min-size", "1",
                   "--bits", bits, "--force") == 0  # fmt: skip
        whole.append((place / "w.safetensors").read_bytes())
    for flags in (["--force"], [], ["--resume"]):
        runs = [
            start("compress", "m.safetensors", "-o", "o.safetensors", "--min-size", "1",
                  "--bits", bits, *flags)
            for bits in ("3", "5", "3", "5")
        ]  # fmt: skip
        said = [process.communicate(timeout=120)[1] for process in runs]
        codes = [process.returncode for process in runs]
        assert set(codes) <= {0, 1}, said
        assert 0 in codes, said
        for code, text in zip(codes, said, strict=True):
            reasons = (
                "is writing this",
                "exists",
                "interrupted run",
                "cannot resume",
                "other proc",
            )
            assert code == 0 or any(reason in text for reason in reasons), text
            assert "Traceback" not in text
        assert (place / "o.safetensors").read_bytes() in whole
        assert not [*place.glob("*.partial")]
        (place / "o.safetensors").unlink()


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_a_run_to_go_on_with(place, number):
    write_safetensors(
        "m.safetensors", {f"{i}.weight": np.tile(weights(i), (8, 8)) for i in range(300)}
    )
    arguments = ["compress", "m.safetensors", "--min-size", "1", "--bits", "4", "--method", "als"]
    process = start(*arguments, "-o", "o.safetensors")
    journal = place / "o.safetensors.partial" / "journal"
    wait_for(lambda: journal.exists() and journal.stat().st_size, process)
    process.send_signal(signal.SIGSTOP)  # so that it cannot be done before it is signalled
    assert run(*arguments, "-o", "o.safetensors", "--force") == 1  # it is alive
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=60)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, said
        assert "the same command with --resume goes on" in said
    assert not (place / "o.safetensors").exists()
    assert run(*arguments, "-o", "o.safetensors", "--resume") == 0
    assert run(*arguments, "-o", "w.safetensors") == 0
    assert (place / "o.safetensors").read_bytes() == (place / "w.safetensors").read_bytes()
    assert not [*place.glob("*.partial")]


def test_a_lock_of_another_machine(place, monkeypatch, capsys):
    interrupted(monkeypatch, "out", 2)
    there = place / "out.partial" / "lock"
    there.write_text(owner_text(replace(this_process(), host="node7", pid=4711)))
    for flags in (["--resume"], ["--force"]):
        assert run("compress", "model", "-o", "out", *FLAGS, *flags) == 1
        said = capsys.readouterr().err
        assert "another process (node7, pid 4711) is writing this" in said
        assert "--break-lock" in said
    assert run("compress", "model", "-o", "out", *FLAGS, "--resume", "--break-lock") == 0
    assert names(place) == ["model", "out"]


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize("how", [".", "..", "absolute", "link", "above"])
def test_working_directory_stays_the_same_directory(place, monkeypatch, how, filled):
    run("compress", "model", "-o", "expected", *FLAGS)
    run("decompress", "expected", "-o", "dense")
    expected, dense = tree(place / "expected"), tree(place / "dense")
    target = place / "out"
    here = target / "below" / "this" if how in ("..", "above") else target
    here.mkdir(parents=True)
    target = here.parent if how == ".." else target
    (place / "link").symlink_to(target)
    if filled:
        (target / "notes").write_text("mine")
    named = {"link": place / "link", "absolute": target, "above": target}.get(how, how)
    inode = here.stat().st_ino, target.stat().st_ino
    monkeypatch.chdir(here)
    for words, wanted in (
        (["compress", place / "model", *FLAGS], expected),
        (["decompress", place / "expected"], dense),
    ):
        assert run(*words, "-o", named, "--force") == 0
        assert (Path.cwd().stat().st_ino, target.stat().st_ino) == inode
        found = tree(target)
        assert {name: found[name] for name in wanted} == wanted
        assert ("notes" in found) == filled
        assert not [name for name in names(target.parent) if name.endswith(".partial")]


def test_target_that_is_not_the_working_directory_is_exchanged(place, monkeypatch):
    (place / "out").mkdir()
    (place / "out" / "notes").write_text("mine")
    (place / "output").mkdir()
    monkeypatch.chdir(place / "output")
    inode = (place / "out").stat().st_ino
    assert run("compress", "../model", "-o", "../out", "--force", *FLAGS) == 0
    assert (place / "out" / "notes").read_text() == "mine"
    if sys.platform == "linux":
        assert (place / "out").stat().st_ino != inode


def set_back(path, before):
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_over(path, content):
    """Change the bytes of a file, not the file."""
    with path.open("r+b") as file:
        file.write(content)


def put_in_place(path, content):
    path.with_suffix(".other").write_bytes(content)
    path.with_suffix(".other").replace(path)


@pytest.mark.parametrize("change", [write_over, put_in_place])
@pytest.mark.parametrize("name", ["compress", "decompress"])
def test_source_of_the_same_size_and_time_is_another_one(place, monkeypatch, capsys, name, change):
    source, flags = "model", FLAGS
    if name == "decompress":
        assert run("compress", "model", "-o", "small", *FLAGS) == 0
        source, flags = "small", ()
    file = place / source / "0.safetensors"
    write, seen = disk.write, []

    def fail(fd, data):
        seen.append(fd)
        if len(seen) > 9:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", fail)
        assert run(name, source, "-o", "out", *flags) == 1
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-8:-4] = content[-4:]
    change(file, bytes(content))
    set_back(file, before)
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    capsys.readouterr()
    assert run(name, source, "-o", "out", *flags, "--resume") == 1
    said = capsys.readouterr().err
    assert "cannot resume: source" in said
    assert "0.safetensors" in said
    assert "ctime_ns" in said
    assert run(name, source, "-o", "out", *flags, "--force") == 0
    assert run(name, source, "-o", "whole", *flags) == 0
    assert tree(place / "out") == tree(place / "whole")


@pytest.mark.parametrize(
    "out", ["x", "x/y", "x/y.safetensors", "to.safetensors", "to.npz", "model/../x/y/z", "there/x"]
)
@pytest.mark.parametrize("flags", [(), ("--force",), ("--resume",)])
def test_links_in_a_circle_are_refused(place, capsys, out, flags):
    assert run("compress", "model", "-o", "small", *FLAGS) == 0
    (place / "x").symlink_to("x")
    (place / "there").mkdir()
    (place / "there" / "x").symlink_to("y")
    (place / "there" / "y").symlink_to(place / "there" / "x")
    for name in ("to.safetensors", "to.npz"):
        (place / name).symlink_to("there/x")
    before = names(place), tree(place)
    for words in (("compress", "model", *FLAGS), ("decompress", "small")):
        capsys.readouterr()
        assert run(*words, "-o", out, *flags) == 1
        said = capsys.readouterr().err
        assert said == f"pyfq {words[0]}: error: {out}: {os.strerror(errno.ELOOP)}\n"
    for words in (("inspect", "x"), ("compress", "x", "-o", "new"), ("decompress", "x", "-o", "n")):
        assert run(*words) == 1
        said = capsys.readouterr().err
        assert said == f"pyfq {words[0]}: error: x: {os.strerror(errno.ELOOP)}\n"
    assert (names(place), tree(place)) == before


@pytest.mark.parametrize("out", ["/", "//", "/..", "root", "x.safetensors/", "x.npz/"])
def test_names_that_are_no_target_are_refused(place, capsys, out):
    (place / "root").symlink_to("/")
    for words in (("compress", "model"), ("decompress", "model")):
        with pytest.raises(SystemExit) as e:
            run(*words, "-o", out)
        assert e.value.code == 2
        said = capsys.readouterr().err
        assert f"{out} is the root of all files" in said or "takes no slash" in said
    assert names(place) == ["model", "root"]


@pytest.mark.parametrize("length", [247, 248, 250, 255])
@pytest.mark.parametrize("letter", ["n", "ü"])
@pytest.mark.parametrize("ending", ["", ".safetensors", ".npz"])
def test_names_of_any_length_that_the_system_has(place, monkeypatch, length, letter, ending):
    count, rest = divmod(length - len(ending), len(letter.encode()))
    out, other = (letter * count + "n" * rest + ending, letter * count + "o" * rest + ending)
    assert len(os.fsencode(out)) == length
    interrupted(monkeypatch, out, 2)
    assert names(place) != ["model"]
    if rest:  # a neighbour whose name begins with the same 200 bytes
        assert run("compress", "model", "-o", other, *FLAGS) == 0
        (place / other).rename(place / "other")
    assert run("compress", "model", "-o", out, *FLAGS, "--resume") == 0
    assert run("compress", "model", "-o", out, *FLAGS, "--force") == 0
    assert run("compress", "model", "-o", f"whole{ending}", *FLAGS) == 0
    assert not [name for name in names(place) if name.endswith(".partial")]
    if not ending:
        assert tree(place / out) == tree(place / "whole")


def test_names_that_the_system_has_not_are_refused_before_the_work(place, monkeypatch, capsys):
    monkeypatch.setattr(command, "compress_tensor", None)
    assert run("compress", "model", "-o", "n" * 256, *FLAGS) == 1
    assert os.strerror(errno.ENAMETOOLONG) in capsys.readouterr().err
    assert names(place) == ["model"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("model")])
@pytest.mark.parametrize("where", ["new/1.safetensors", "new/config.json", "journal", "commit"])
def test_what_stands_in_the_way_is_named(place, monkeypatch, capsys, where, make):
    interrupted(monkeypatch, "out", 2)
    path = place / "out.partial" / where
    path.unlink(missing_ok=True)
    make(path)
    capsys.readouterr()
    assert run("compress", "model", "-o", "out", *FLAGS, "--resume") == 1
    said = capsys.readouterr().err
    assert f"out.partial/{where} is no regular file: move it away" in said
    assert said.count("\n") == 1
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert run("compress", "model", "-o", "out", *FLAGS, "--force") == 0
    assert names(place) == ["model", "out"]


@pytest.mark.parametrize("flags", [[], ["--force"], ["--resume"]])
def test_what_somebody_else_has_put_where_pyfq_writes_stays(place, capsys, flags):
    foreign = place / "out.partial" / "new" / "notes" / "mine.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    assert run("compress", "model", "-o", "out", *FLAGS, *flags) == 1
    assert "out.partial/new/notes is not of pyfq: move it away" in capsys.readouterr().err
    assert foreign.read_text() == "mine"
    assert not (place / "out").exists()
