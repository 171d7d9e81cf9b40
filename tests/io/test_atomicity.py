"""Whatever operation of the disk is the last one: the target is old or new, and a rerun is whole.

Each run is a forked child in which one operation of `pyfq.io.disk` fails, or ends the process, in
the middle of a write for instance. The thorough form tries every operation, also of the run that
goes on: ``pytest --hypothesis-profile=thorough tests/io/test_atomicity.py``.
"""

import errno
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from pyfq.cli import main
from pyfq.io import disk, open_checkpoint, write_index, write_safetensors

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

OPERATIONS = (
    "create", "reopen", "write", "truncate", "sync", "sync_directory", "rename", "exchange",
    "unlink", "mkdir", "rmdir", "link", "chmod", "chown",
)  # fmt: skip
KILLED = 77
RUNS = 4  # of each case, if not all


def is_thorough():
    """Tell whether ``--hypothesis-profile=thorough`` was asked for."""
    return settings.default.max_examples >= 1000


def test_the_operations_are_all():
    """Every function of the module that asks the system for a change is one that can fail here."""
    composed = {"write_all", "naming", "adopt", "remove_tree", "make_parents", "remove_empty"}
    own = {name for name, x in vars(disk).items() if getattr(x, "__module__", "") == disk.__name__}
    assert own - composed == set(OPERATIONS)


@dataclass
class Faults:
    """At operation `at`, counted from 0, `how` happens; -1 for never."""

    at: int
    how: str
    seen: list = field(default_factory=list)

    def install(self, monkeypatch, can_exchange):
        """Put this before every operation."""
        for name in OPERATIONS:
            monkeypatch.setattr(disk, name, self.wrap(name, getattr(disk, name), can_exchange))

    def wrap(self, name, original, can_exchange):
        """Return an operation that counts, and may fail."""

        def operation(*arguments):
            self.seen.append(name)
            number = len(self.seen) - 1
            if number == self.at and self.how == "kill":
                if name == "write":
                    os.write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(KILLED)
            if number == self.at and self.how == "error":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            grows = name in ("create", "write", "mkdir", "link")
            if self.at != -1 and number >= self.at and self.how == "full" and grows:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if name == "exchange" and not can_exchange:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            return original(*arguments)

        return operation


def run_in_child(function, faults, can_exchange=True):
    """Run a function with faults; return its result, an exit code, and how many operations."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            sys.stdout = sys.stderr = os.fdopen(null, "w")
            with pytest.MonkeyPatch.context() as monkeypatch:
                faults.install(monkeypatch, can_exchange)
                code = function()
            os.write(writing, str(len(faults.seen)).encode())
        finally:
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as stream:
        count = int(stream.read() or -1)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1, KILLED), code
    return code, count


def tree(path):
    """Return all names below a path, with bytes, modes of files, and what links lead to."""
    if not os.path.lexists(path):
        return None
    if path.is_file():
        return path.stat().st_mode & 0o777, path.read_bytes()
    found = {}
    for file in sorted(path.rglob("*")):
        if ".pyfq.partial" in file.parts:
            continue
        name = str(file.relative_to(path))
        if file.is_symlink():
            found[name] = str(file.readlink())
        elif file.is_file():
            found[name] = (file.stat().st_mode & 0o777, file.read_bytes())
        else:
            found[name] = "directory"
    return found


def weights(i):
    return np.random.default_rng(i).standard_normal((8, 64)).astype(np.float32)


def write_model(root, names=("a.weight", "b.weight", "c.weight"), shards=False):
    root.mkdir()
    tensors = {name: weights(i) for i, name in enumerate(names)} | {"bias": weights(9)[0]}
    (root / "config.json").write_text('{"hidden": 64}')
    (root / "tokenizer.json").write_text("{}")
    if not shards:
        write_safetensors(root / "model.safetensors", tensors)
        return
    for name, x in tensors.items():
        write_safetensors(root / f"{name}.safetensors", {name: x})
    index = {name: f"{name}.safetensors" for name in tensors}
    write_index(root / "model.safetensors.index.json", index, 99)


COMPRESS = ["compress", "model", "--min-size", "1", "--bits", "4"]
OLD = ["compress", "model", "--min-size", "1", "--bits", "8"]


def new_file(place):
    write_model(place / "model")
    return [*COMPRESS, "-o", "new/deep/out.safetensors"]


def new_directory(place):
    write_model(place / "model", shards=True)
    return [*COMPRESS, "-o", "new/deep/out"]


def empty_directory(place):
    write_model(place / "model", shards=True)
    (place / "out").mkdir(mode=0o750)
    return [*COMPRESS, "-o", "out"]


def over_file(place):
    write_model(place / "model")
    assert main([*OLD, "-o", "out.safetensors"]) == 0
    (place / "out.safetensors").chmod(0o640)
    return [*COMPRESS, "-o", "out.safetensors", "--force"]


def over_npz(place):
    write_model(place / "model")
    assert main([*OLD, "-o", "out.npz"]) == 0
    return [*COMPRESS, "-o", "out.npz", "--force"]


def over_shards(place):
    write_model(place / "model", shards=True)
    assert main([*OLD, "-o", "out"]) == 0
    return [*COMPRESS, "-o", "out", "--force"]


def over_other_files(place):
    """Make an older checkpoint of one file, and files and directories that are somebody's."""
    write_model(place / "other")
    write_model(place / "model", shards=True)
    assert main(["compress", "other", "--min-size", "1", "-o", "out"]) == 0
    (place / "out" / "notes" / "deep").mkdir(parents=True)
    (place / "out" / "notes" / "deep" / "a.txt").write_text("a")
    (place / "out" / "notes" / "empty").mkdir()
    (place / "out" / "results.csv").write_text("1,2")
    (place / "out" / "results.csv").chmod(0o600)
    (place / "out" / "tokenizer.json").chmod(0o640)
    (place / "out" / "latest").symlink_to("results.csv")
    (place / "out" / "dangling").symlink_to("nowhere")
    return [*COMPRESS, "-o", "out", "--force"]


def over_link(place):
    write_model(place / "model", shards=True)
    assert main([*OLD, "-o", "real"]) == 0
    (place / "out").symlink_to("real")
    return [*COMPRESS, "-o", "out", "--force"]


def dense(place):
    write_model(place / "model", shards=True)
    assert main([*COMPRESS, "-o", "small"]) == 0
    assert main([*COMPRESS, "-o", "out"]) == 0
    return ["decompress", "small", "-o", "out", "--force"]


CASES = [
    *((case, True) for case in (new_file, new_directory, empty_directory, over_file, over_npz)),
    *(
        (case, x)
        for case in (over_shards, over_other_files, over_link, dense)
        for x in (True, False)
    ),
]


class Lab:
    """A directory as it is before a command, after it, and copies of the former to try it in."""

    def __init__(self, root, case, can_exchange):
        self.root, self.can_exchange = root, can_exchange
        self.before = root / "before"
        self.before.mkdir()
        os.chdir(self.before)
        self.arguments = case(self.before)
        self.output = Path(self.arguments[self.arguments.index("-o") + 1])
        self.resume = [word for word in self.arguments if word != "--force"] + ["--resume"]
        self.force = [word for word in self.arguments if word != "--force"] + ["--force"]
        self.old = tree(self.before / self.output)
        self.fresh()
        code, self.count = self.run(self.arguments, Faults(-1, ""))
        assert code == 0
        self.after = tree(self.place)
        self.new = tree(self.place / self.output)
        assert self.new != self.old

    def fresh(self):
        """Make a copy of the directory, to the time of each file, and go there."""
        self.place = self.root / "place"
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.before, self.place, symlinks=True)
        os.chdir(self.place)

    def run(self, arguments, faults):
        """Run the command."""
        return run_in_child(lambda: main(arguments), faults, self.can_exchange)

    def run_watched(self, function):
        """Run a function that calls the command."""
        return run_in_child(function, Faults(-1, ""), self.can_exchange)[0]

    def check_target(self):
        """Open the target, which is old or new then; and so it was before, if there is a way."""
        before = tree(self.place / self.output)
        if self.can_exchange:
            assert before in (self.old, self.new)
        if before not in (None, {}):
            with open_checkpoint(self.output) as checkpoint:
                for name in checkpoint:
                    checkpoint[name].tobytes()
        now = tree(self.place / self.output)
        assert now in (self.old, self.new)
        return now

    def check_rerun(self):
        """Go on, or begin anew where nothing was begun: it gives what one run gives.

        A run has begun when the first line of its journal is whole.
        """
        target = tree(self.place / self.output)
        journals = self.place.rglob("*.partial/journal")
        begun = [journal for journal in journals if b"\n" in journal.read_bytes()]
        code, _ = self.run(self.resume, Faults(-1, ""))
        assert code == 0 or not begun
        if code:  # nothing was begun, and the target is another one
            assert tree(self.place / self.output) == target == self.old
            assert self.run(self.force, Faults(-1, ""))[0] == 0
        assert tree(self.place) == self.after


def chosen(count, salt):
    """Return the numbers of operations to try: all, or some that differ from case to case."""
    if is_thorough():
        return range(count)
    rng = np.random.default_rng([count, salt])
    return sorted({0, count - 1, *rng.choice(count, min(RUNS, count), replace=False).tolist()})


@pytest.fixture(autouse=True)
def stay(monkeypatch):
    """Come back to the directory of before; nothing waits for the disk, which no test pulls out."""
    here = Path.cwd()
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    yield
    os.chdir(here)


@pytest.mark.parametrize("how", ["kill", "error", "full"])
@pytest.mark.parametrize(
    ("case", "can_exchange"), CASES, ids=lambda x: getattr(x, "__name__", f"exchange={x}")
)
def test_one_failing_operation(tmp_path, case, can_exchange, how):
    lab = Lab(tmp_path, case, can_exchange)
    for number in chosen(lab.count, CASES.index((case, can_exchange))):
        lab.fresh()
        code, _ = lab.run(lab.arguments, Faults(number, how))
        assert code == KILLED if how == "kill" else code in (0, 1), number
        found = lab.check_target()
        if code == 0:
            assert found == lab.new, number
        lab.check_rerun()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("case", "can_exchange"), CASES, ids=lambda x: getattr(x, "__name__", f"exchange={x}")
)
def test_two_killed_runs(tmp_path, case, can_exchange):
    """The run that goes on is killed, too."""
    lab = Lab(tmp_path, case, can_exchange)
    for first in range(0, lab.count, 5):
        second = 0
        while True:
            lab.fresh()
            assert lab.run(lab.arguments, Faults(first, "kill"))[0] == KILLED
            code, _ = lab.run(lab.resume, Faults(second, "kill"))
            lab.check_target()
            lab.check_rerun()
            if code != KILLED:
                break
            second += 3


@pytest.mark.parametrize(
    ("case", "can_exchange"), CASES, ids=lambda x: getattr(x, "__name__", f"exchange={x}")
)
def test_what_takes_its_place_is_on_the_disk(tmp_path, case, can_exchange):
    """A power failure behind any rename finds the bytes and the names that it needs."""
    lab = Lab(tmp_path, case, can_exchange)
    lab.fresh()
    files, names, seen = set(), set(), []

    def dirty(directory):
        names.add(directory.stat().st_ino)

    def wrap(name, original):
        def operation(*arguments):
            if name in ("rename", "exchange") and ".partial" in str(arguments[0]):
                seen.append(name)
                new = arguments[0] if arguments[0].is_dir() else arguments[0].parent
                inside = {path.stat().st_ino for path in (new, *new.rglob("*")) if path.exists()}
                assert not files & inside
                # Of a commit file by file, what is renamed before has changed the directory.
                assert not names & inside or seen[:-1]
            if name == "write":
                path = Path(f"/proc/self/fd/{arguments[0]}").readlink()
                if path.name == "journal" and b'"written"' in bytes(arguments[1]):
                    assert not files - {os.fstat(arguments[0]).st_ino}
                files.add(os.fstat(arguments[0]).st_ino)
            if name == "sync":
                files.discard(os.fstat(arguments[0]).st_ino)
            if name == "sync_directory":
                names.discard(arguments[0].stat().st_ino)
            if name in ("create", "mkdir", "link"):
                dirty(arguments[-1 if name == "link" else 0].parent)
            return original(*arguments)

        return operation

    def watched():
        with pytest.MonkeyPatch.context() as patch:
            for name in OPERATIONS:
                patch.setattr(disk, name, wrap(name, getattr(disk, name)))
            code = main(lab.arguments)
        return code if seen else 99

    assert lab.run_watched(watched) == 0
