"""One writer at a time, and nothing foreign is followed or overwritten."""

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq.io import (
    SafetensorsWriter,
    disk,
    lock,
    open_checkpoint,
    open_safetensors,
    write_npz,
    write_safetensors,
)
from pyfq.io import checkpoint as checkpoint_module
from pyfq.io.atomic import replacing
from pyfq.io.journal import JournalWriter, read_journal
from pyfq.io.owner import Owner, is_alive, owner_text, read_owner, this_process
from pyfq.io.safetensors_writer import TensorStream
from pyfq.io.sharded import index_content
from pyfq.io.staging import commit, created, discard, refuse_unknown, staged

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells when a process began")
needs_user = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")

ONE = {"w": np.ones((2, 2), np.float32)}


def gone():
    """Return a process that is over."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return replace(this_process(), pid=child.pid, start="00000000.1")


# Owners


def test_owner_is_alive():
    here = this_process()
    assert is_alive(here)
    assert is_alive(gone()) is False
    assert is_alive(replace(here, host="elsewhere")) is None
    assert is_alive(replace(here, space="pid:[1]")) is None
    assert read_owner(owner_text(here)) == here


@needs_linux
def test_a_number_that_another_process_got_is_not_its_owner():
    assert is_alive(replace(this_process(), start="00000000.1")) is False
    assert is_alive(replace(this_process(), pid=1, start="00000000.1")) is False


@needs_linux
def test_a_zombie_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat")
    boot = this_process().start.partition(".")[0]
    start = f"{boot}.{stat.read_text().rpartition(')')[2].split()[19]}"
    owner = replace(this_process(), pid=child.pid, start=start)
    assert is_alive(owner)
    child.stdin.close()
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    assert is_alive(owner) is False
    child.wait()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "5", "[]", '{"pid": 1}', '{"host": "a", "space": "", "pid": 0, "start": null}',
        '{"host": "a", "space": "", "pid": -1, "start": null}',
        '{"host": "a", "space": "", "pid": 1e300, "start": null}',
        '{"host": 1, "space": "", "pid": 1, "start": null}', "[" * 100_000,
    ],
)  # fmt: skip
def test_read_owner_of_other_texts(text):
    assert read_owner(text) is None


# Locks


def test_lock_excludes(tmp_path):
    held = lock.acquire(tmp_path)
    with pytest.raises(BlockingIOError, match=f"{os.uname().nodename}, pid {os.getpid()}"):
        lock.acquire(tmp_path)
    with pytest.raises(BlockingIOError):  # it is known to be alive
        lock.acquire(tmp_path, break_lock=True)
    lock.release(held)
    assert not [*tmp_path.iterdir()]


def test_lock_of_a_process_that_is_gone_is_taken_over(tmp_path):
    (tmp_path / "lock").write_text(owner_text(gone()))
    (tmp_path / "owner.1234").write_text("")  # it died when it wrote a draft
    held = lock.acquire(tmp_path)
    assert [*tmp_path.iterdir()] == [held]
    with pytest.raises(BlockingIOError):
        lock.acquire(tmp_path)
    lock.release(held)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "text",
    [owner_text(replace(this_process(), host="elsewhere")), "", '{"pid": 5}'],
    ids=["elsewhere", "empty", "no host"],
)
def test_lock_of_who_cannot_be_known_is_broken_by_people(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    with pytest.raises(BlockingIOError, match="--break-lock"):
        lock.acquire(tmp_path)
    held = lock.acquire(tmp_path, break_lock=True)
    assert [*tmp_path.iterdir()] == [held]


def test_lock_that_is_no_file_is_refused(tmp_path):
    (tmp_path / "lock").symlink_to("nowhere")
    with pytest.raises(OSError, match="not a lock of pyfq"):
        lock.acquire(tmp_path, break_lock=True)
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError, match="not a lock of pyfq"):
        lock.acquire(tmp_path)


def test_lock_without_hard_links(tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(disk, "link", link)
    held = lock.acquire(tmp_path)
    assert read_owner(held.read_text()) == this_process()
    assert [*tmp_path.iterdir()] == [held]
    with pytest.raises(BlockingIOError):
        lock.acquire(tmp_path)


def test_only_one_of_many_takes_a_stale_lock(tmp_path):
    """Threads here stand for processes: the lock does not know the one from the other."""
    for _ in range(20):
        (tmp_path / "lock").write_text(owner_text(gone()) if _ == 0 else STALE)
        held, refused, barrier = [], [], threading.Barrier(8)

        def take():
            barrier.wait()  # noqa: B023
            while True:
                try:
                    taken = lock.acquire(tmp_path)
                except BlockingIOError as e:
                    refused.append(e)  # noqa: B023
                    return
                except FileNotFoundError:
                    continue  # the one that has it removed a draft
                if taken is not None:
                    held.append(taken)  # noqa: B023
                    return

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(held) <= 1
        assert len(held) + len(refused) == 8
        for path in tmp_path.iterdir():
            path.unlink()


STALE = owner_text(Owner(os.uname().nodename, this_process().space, 2**31 - 1, "00000000.1"))


# Staging directories


def write_two(path, contents=("1", "2"), **how):
    with staged(path, is_file=False, **how) as place:
        for name, content in zip(("a", "b/c"), contents, strict=True):
            with created(place, Path(name)) as file:
                file.write_all(content.encode())
        commit(place, [Path("a"), Path("b/c")], [])


def read_two(path):
    return (path / "a").read_text(), (path / "b" / "c").read_text()


def names(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def test_staged_makes_and_removes_parents(tmp_path):
    with pytest.raises(RuntimeError), staged(tmp_path / "x" / "y" / "out", is_file=False):
        assert (tmp_path / "x" / "y").is_dir()
        raise RuntimeError
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, os.mkfifo, "link", "file"])
def test_staged_refuses_what_is_not_its_own(tmp_path, make):
    place = tmp_path / "out.partial"
    if make == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    elif make == "file":
        place.mkdir()
        (place / "thesis.tex").write_text("precious")
    else:
        make(place)
    before = names(tmp_path)
    if make is Path.mkdir:  # an empty one is what a process leaves that dies at once
        write_two(tmp_path / "out")
        assert names(tmp_path) == ["out", "out/a", "out/b", "out/b/c"]
        return
    with pytest.raises(FileExistsError, match="move it away"):
        write_two(tmp_path / "out")
    assert names(tmp_path) == before


def test_commit_keeps_modes_owners_and_links(tmp_path):
    out = tmp_path / "real"
    write_two(out)
    out.chmod(0o2750)
    (out / "a").chmod(0o640)
    (out / "b").chmod(0o711)
    if os.geteuid() == 0:
        os.chown(out / "a", 1234, 1235)
        os.chown(out, 1234, 1235)
        out.chmod(0o2750)
    (tmp_path / "out").symlink_to("real")
    before = [(out / name).stat() for name in ("", "a", "b", "b/c")]
    write_two(tmp_path / "out", ("3", "4"))
    assert read_two(out) == ("3", "4")
    assert (tmp_path / "out").is_symlink()
    after = [(out / name).stat() for name in ("", "a", "b", "b/c")]
    for old, new in zip(before, after, strict=True):
        assert (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_new_files_follow_the_umask(tmp_path, umask):
    old = os.umask(umask)
    try:
        write_two(tmp_path / "out")
        write_safetensors(tmp_path / "w.safetensors", ONE)
    finally:
        os.umask(old)
    for name, mode in {
        "out": 0o777,
        "out/a": 0o666,
        "out/b": 0o777,
        "w.safetensors": 0o666,
    }.items():
        assert (tmp_path / name).stat().st_mode & 0o777 == mode & ~umask


def test_a_file_that_comes_during_the_exchange_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_two(out)
    (out / "log").write_text("1")
    exchange = disk.exchange

    def late(a, b):
        (b / "late").mkdir()
        (b / "late" / "x").write_text("x")
        (b / "log.new").write_text("2")
        (b / "log.new").rename(b / "log")
        exchange(a, b)

    monkeypatch.setattr(disk, "exchange", late)
    try:
        write_two(out, ("3", "4"))
    except OSError as e:
        pytest.skip(f"no exchange here: {e}")
    assert (out / "late" / "x").read_text() == "x"
    assert (out / "log").read_text() == "2"
    assert read_two(out) == ("3", "4")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EBUSY, errno.EXDEV])
def test_without_exchange_files_are_renamed(tmp_path, monkeypatch, code):
    def cannot(a, b):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk, "exchange", cannot)
    out = tmp_path / "out"
    write_two(out)
    (out / "log").write_text("1")
    write_two(out, ("3", "4"))
    assert read_two(out) == ("3", "4")
    assert names(tmp_path) == ["out", "out/a", "out/b", "out/b/c", "out/log"]


def test_an_empty_mount_point_is_written_from_inside(tmp_path, monkeypatch):
    """Nothing can be renamed onto it."""
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("pyfq.io.staging._mount", lambda path: str(path))
    rename = disk.rename

    def within(a, b):
        if b == out or not a.is_relative_to(out):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rename(a, b)

    monkeypatch.setattr(disk, "rename", within)
    write_two(out)
    write_two(out, ("3", "4"))
    assert read_two(out) == ("3", "4")
    assert names(tmp_path) == ["out", "out/a", "out/b", "out/b/c"]


def test_a_directory_in_one_that_cannot_be_written(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    mkdir = disk.mkdir

    def within(path, mode=0o777):
        if not path.is_relative_to(out):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        mkdir(path, mode)

    monkeypatch.setattr(disk, "mkdir", within)
    write_two(out)
    assert read_two(out) == ("1", "2")
    assert names(tmp_path) == ["out", "out/a", "out/b", "out/b/c"]


def test_what_is_mounted_in_a_target_is_not_carried_away(tmp_path, monkeypatch):
    """An empty directory has no file of which a second name would fail."""
    out = tmp_path / "out"
    (out / "mounted").mkdir(parents=True)
    (out / "mounted.txt").write_text("stays")
    inodes = {path.name: path.stat().st_ino for path in out.iterdir()}
    for name in inodes:
        monkeypatch.setattr("pyfq.io.staging._mount", lambda path, at=name: path.name == at)
        write_two(out)
        assert {path: (out / path).stat().st_ino for path in inodes} == inodes
        assert read_two(out) == ("1", "2")
        assert names(tmp_path) == sorted(
            ["out", "out/a", "out/b", "out/b/c", *(f"out/{path}" for path in inodes)]
        )


@pytest.mark.parametrize("way", ["exchange", "files"])
def test_a_file_that_cannot_go_is_named_with_what_is_true(tmp_path, monkeypatch, way):
    out = tmp_path / "out"
    write_two(out)
    left = tmp_path / "out.partial" / "new" / "b" / "c"
    stuck, call = (left, "unlink") if way == "exchange" else (out / "b" / "c", "rename")
    do = getattr(disk, call)

    def fails(*paths):
        if paths[-1] == stuck:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), *map(str, paths))
        do(*paths)

    if way == "files":
        monkeypatch.chdir(out)
    true = {
        "exchange": "the new files are in place, and what is left of the old ones is in the way",
        "files": "some files are replaced and others are not",
    }[way]
    with monkeypatch.context() as patch:
        patch.setattr(disk, call, fails)
        for _ in range(2):  # a later run says it, too
            with pytest.raises(PermissionError) as e:
                write_two(out, ("3", "4"))
            assert e.value.strerror == f"{true}: {stuck}: {os.strerror(errno.EPERM)}"
            assert e.value.filename == str(out)
    with staged(out, is_file=False):
        pass
    assert read_two(out) == ("3", "4")
    assert names(tmp_path) == ["out", "out/a", "out/b", "out/b/c"]


def test_what_is_not_of_pyfq_is_not_discarded(tmp_path):
    with staged(tmp_path / "out", is_file=False) as place:
        with created(place, Path("b/c")) as file:
            file.write_all(b"1")
        refuse_unknown(place, [Path("b/c")])
        for known in [Path("b")], [Path("b/c/d")], []:
            with pytest.raises(FileExistsError, match="is not of pyfq: move it away"):
                refuse_unknown(place, known)
        place.journal.write_text("a run that goes on")
        refuse_unknown(place, [])
        discard(place)


def test_commit_refuses_obstacles(tmp_path):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match="a is a directory, expected a file"):
        write_two(out)
    (out / "a").rmdir()
    (out / "b").write_text("a file")
    with pytest.raises(NotADirectoryError, match="b is a file, expected a directory"):
        write_two(out)
    assert names(out) == ["b"]
    (out / "b").unlink()
    (tmp_path / "far").mkdir()
    (out / "b").symlink_to("../far")
    with pytest.raises(NotADirectoryError, match="b is a link"):
        write_two(out)
    assert names(out) == ["b"]
    (out / "b").unlink()
    (tmp_path / "far").rmdir()
    write_two(out)
    assert names(tmp_path) == ["out", "out/a", "out/b", "out/b/c"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
def test_where_no_directory_can_be_made_says_so():
    with (
        pytest.raises(PermissionError, match="no directory can be made here"),
        staged(Path("/proc/out"), is_file=True),
    ):
        pass


def test_a_broken_lock_ends_its_owner(tmp_path):
    with (
        pytest.raises(BlockingIOError, match="has broken the lock"),
        staged(tmp_path / "out", is_file=False) as place,
    ):
        with created(place, Path("a")) as file:
            file.write_all(b"1")
        place.lock.write_text(STALE)
        commit(place, [Path("a")], [])
    assert not (tmp_path / "out").exists()


# Journals


def test_journal_ends_at_the_first_line_that_is_not_whole(tmp_path):
    path = tmp_path / "journal"
    writer = JournalWriter(path, None, path)
    for i in range(3):
        writer.add({"number": i})
        writer.flush()
    writer.close()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        entries, good = read_journal(path)
        assert entries == [{"number": i} for i in range(len(entries))]
        assert good == sum(len(line) for line in lines[: len(entries)])
        assert good <= size < good + len(lines[0]) + (size == len(whole))
    for line in (b"5\n", b'{"row": 5}\n', b'{"foo": 1}\n', b"\0" * 40, b"\xff\n"):
        path.write_bytes(lines[0] + line + lines[2])
        assert read_journal(path) == ([{"number": 0}], len(lines[0]))
        writer = JournalWriter(path, len(lines[0]), path)
        writer.add({"number": 1})
        writer.flush()
        writer.close()
        assert path.read_bytes() == lines[0] + lines[1]
    for rest in ([lines[2], lines[1]], [lines[2]], [lines[0], lines[1]]):  # swapped, gone, twice
        path.write_bytes(b"".join([lines[0], *rest]))
        assert read_journal(path) == ([{"number": 0}], len(lines[0]))


def test_journal_is_no_link(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError):
            read_journal(tmp_path / name)


# Single files


def writers(tmp_path):
    network = pyfq.Network.create((4, 3, 2))
    yield lambda path: write_safetensors(path, ONE), "w.safetensors"
    yield lambda path: write_npz(path, ONE), "w.npz"
    yield lambda path: pyfq.save_network(network, path), "n.safetensors"
    yield lambda path: pyfq.to_npz(network, path), "n.npz"
    yield lambda path: pyfq.Observer("mse").save(path), "o.npz"


@pytest.mark.parametrize("number", range(5))
def test_single_files(tmp_path, number):
    write, name = [*writers(tmp_path)][number]
    real, link = tmp_path / "real" / name, tmp_path / name
    real.parent.mkdir()
    link.symlink_to(real)
    write(link)
    assert link.is_symlink()
    content = real.read_bytes()
    real.write_bytes(b"old")
    real.chmod(0o640)
    with pytest.MonkeyPatch.context() as patch:
        for code, operation in (
            (errno.ENOSPC, "write"),
            (errno.EIO, "sync"),
            (errno.EIO, "rename"),
        ):

            def fail(*_, code=code):
                raise OSError(code, os.strerror(code))

            with patch.context() as one:
                one.setattr(disk, operation, fail)
                with pytest.raises(OSError, match=name) as caught:
                    write(link)
            assert caught.value.errno == code
            assert caught.value.filename == str(link)
            assert real.read_bytes() == b"old"
            assert len([*real.parent.iterdir()]) == 1
    write(link)
    assert real.read_bytes() == content
    assert real.stat().st_mode & 0o777 == 0o640
    for make in (os.mkfifo, Path.mkdir):
        path = tmp_path / make.__name__ / name
        path.parent.mkdir()
        make(path)
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            write(path)
        assert names(path.parent) == [name]
    with pytest.raises(FileNotFoundError, match=f"nowhere/{name}"):
        write(tmp_path / "nowhere" / name)


def test_a_private_file_is_never_wider_than_what_it_replaces(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        (other,) = (entry for entry in tmp_path.iterdir() if entry != path)
        assert other.stat().st_mode & 0o777 == 0o600


def test_what_a_dead_writer_left_is_removed(tmp_path):
    path = tmp_path / "w.safetensors"
    with replacing(path) as file:
        (here,) = tmp_path.iterdir()
        file.write(b"1")
    pid, rest = here.name.removeprefix("w.safetensors.").split("-", 1)
    assert int(pid) == os.getpid()
    dead = tmp_path / f"w.safetensors.{STALE_PID}-{rest}"
    foreign = tmp_path / "w.safetensors.1-x.partial"
    for file in (dead, foreign):
        file.write_text("left")
    write_safetensors(path, ONE)
    assert names(tmp_path) == ["w.safetensors", foreign.name]


STALE_PID = 999_999_999


def test_two_writers_of_one_file_leave_one_of_both(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = [{"w": np.full(50_000, i, np.float32)} for i in range(4)]

    def write(i):
        for _ in range(10):
            write_safetensors(path, tensors[i])

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_safetensors(path) as file:
        assert len(set(file["w"].tolist())) == 1
    assert names(tmp_path) == ["w.safetensors"]


def test_writer_that_keeps_its_partial_file_excludes_others(tmp_path):
    path = tmp_path / "w.safetensors"
    declaration = {"w": ("F32", (2, 2))}
    with SafetensorsWriter(path, declaration, keep_partial=True) as writer:
        with pytest.raises(BlockingIOError, match="is writing this"):
            SafetensorsWriter(path, declaration, resume=True)
        writer.write("w", ONE["w"])
    assert names(tmp_path) == ["w.safetensors"]


def test_writer_finds_what_is_not_as_it_was_written(tmp_path):
    path = tmp_path / "w.safetensors"
    declaration = {name: ("F32", (1000,)) for name in "abc"}
    arrays = {name: np.random.default_rng(ord(name)).random(1000, np.float32) for name in "abc"}
    with pytest.raises(RuntimeError), SafetensorsWriter(path, declaration, keep_partial=True) as w:
        checksums = [w.write(name, x) for name, x in arrays.items()]
        raise RuntimeError
    partial = tmp_path / "w.safetensors.partial" / "new" / "w.safetensors"
    content = bytearray(partial.read_bytes())
    for place, completed in ((-1, 2), (-5000, 1), (-9000, 0)):
        partial.write_bytes(content)
        with partial.open("r+b") as file:
            file.seek(place, os.SEEK_END)
            file.write(bytes([content[place] ^ 1]))
        how = {"resume": True, "checksums": checksums, "keep_partial": True}
        with pytest.raises(RuntimeError), SafetensorsWriter(path, declaration, **how) as w:
            assert w.completed == completed
            raise RuntimeError
    with SafetensorsWriter(path, declaration, resume=True, checksums=checksums) as w:
        for name in w.remaining:
            w.write(name, arrays[name])
    with open_safetensors(path) as file:
        for name, x in arrays.items():
            np.testing.assert_array_equal(file[name], x)


def test_discard_removes_what_was_written(tmp_path):
    with staged(tmp_path / "out", is_file=False) as place:
        with created(place, Path("b/c")) as file:
            file.write_all(b"1")
        place.journal.write_text(json.dumps({}))
        discard(place)
    assert not [*tmp_path.iterdir()]


# Readers


def shards_of(value):
    return {name: np.full(2, value, np.float32) for name in ("a", "b")}


def write_shards(path, value):
    with staged(path, is_file=False) as place:
        for name, x in shards_of(value).items():
            with created(place, Path(f"{name}.safetensors")) as file:
                stream = TensorStream(file, path, {name: ("F32", (2,))}, None)
                stream.begin()
                stream.write(name, x)
        index = {name: f"{name}.safetensors" for name in "ab"}
        with created(place, Path("model.safetensors.index.json")) as file:
            file.write_all(index_content(index, 16))
        files = ("a.safetensors", "b.safetensors", "model.safetensors.index.json")
        commit(place, map(Path, files), [])


@pytest.mark.parametrize("can_exchange", [True, False])
def test_shards_that_are_replaced_while_they_are_opened_are_not_mixed(
    tmp_path, monkeypatch, can_exchange
):
    def cannot(a, b):
        raise OSError(errno.ENOSYS, "no exchange")

    if not can_exchange:
        monkeypatch.setattr(disk, "exchange", cannot)
    path, opened = tmp_path / "out", []
    original = checkpoint_module.open_safetensors

    def replaced(shard):
        opened.append(shard)
        if len(opened) == 2:  # between the shards of the first attempt
            write_shards(path, 2)
        return original(shard)

    write_shards(path, 1)
    monkeypatch.setattr(checkpoint_module, "open_safetensors", replaced)
    with open_checkpoint(path) as checkpoint:
        assert {name: x[0] for name, x in checkpoint.items()} == {"a": 2, "b": 2}
    assert len(opened) == 4


def test_a_torn_directory_that_cannot_be_finished_is_not_read(tmp_path, monkeypatch):
    def cannot(a, b):
        raise OSError(errno.ENOSYS, "no exchange")

    path, rename = tmp_path / "out", disk.rename
    write_shards(path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "exchange", cannot)

        def second_fails(a, b):
            if b.name == "b.safetensors":
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            rename(a, b)

        patch.setattr(disk, "rename", second_fails)
        with pytest.raises(PermissionError, match="out"):
            write_shards(path, 2)
        with pytest.raises(PermissionError, match="were being replaced when the writer died"):
            open_checkpoint(path)
    with open_checkpoint(path) as checkpoint:
        assert {name: x[0] for name, x in checkpoint.items()} == {"a": 2, "b": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
