"""Files that are not what they are taken for: `pyfq.io` says what they are, and never waits."""

import gzip
import io
import os
import pickle
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pyfq
from pyfq._core.text import printable
from pyfq.io import FormatError, open_checkpoint, write_index, write_safetensors
from pyfq.io.magic import HEAD, kind_of
from pyfq.io.regular import open_regular, read_regular

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 90868376\n"
)


def zipped(name, data=b"x" * 40):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.safetensors"))
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


KINDS = {
    "git-lfs": (POINTER, "a git-lfs pointer to the file of 90868376 bytes"),
    "html": (b"\n<!doctype html><html><head>", "an HTML page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text"),
    "json": (b'{"error":"Repository not found"}', 'JSON that begins with \'{"error"'),
    "text": (b"Invalid username or password.", "text that begins with 'Invalid username"),
    "utf-8": ("Zugriff verweigert für alle, é".encode() * 40, "text that begins with 'Zugriff"),
    "torch": (zipped("archive/data.pkl"), "a zip archive of PyTorch"),
    "zip": (zipped("a.txt"), "a zip archive"),
    "pickle": (pickle.dumps({"w": [1.0] * 9}, 2), "a Python pickle"),
    "gguf": (b"GGUF" + bytes(range(40)), "a GGUF file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "npy": (npy(), "one array of NumPy"),
    "tar": (tarred(), "a tar archive"),
    "gzip": (gzip.compress(b"weights" * 9), "compressed with gzip"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a JPEG image"),
    "gif": (b"GIF89a\1\0\1\0", "a GIF image"),
    "utf-16": ('{"a": 1}, \u00e9'.encode("utf-16"), "text in UTF-16"),
    "utf-16-be": (b"\xfe\xff" + "an error".encode("utf-16-be"), "text in UTF-16"),
    "zeros": (bytes(4096), "zeros at its beginning"),
}


@pytest.mark.parametrize(("data", "kind"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", ["model.safetensors", "w.npz", "pytorch_model.bin", "noname"])
def test_open_checkpoint_says_what_a_file_is(tmp_path, data, kind, name):
    path = tmp_path / name
    path.write_bytes(data)
    if name == "w.npz" and data.startswith(b"PK"):
        kind = "member 'a.txt'" if b"a.txt" in data else kind
    with pytest.raises(FormatError) as caught:
        open_checkpoint(path)
    assert kind in caught.value.reason
    assert len(str(caught.value)) < 1000
    if path.suffix == ".safetensors":
        with pytest.raises(FormatError) as caught:
            pyfq.load_network(path)
        assert kind in caught.value.reason


def test_kind_of_says_nothing_of_what_it_does_not_know():
    noise = np.random.default_rng(0).integers(0, 256, (200, HEAD), np.uint8)
    assert {kind_of(row.tobytes()) for row in noise} == {None}
    assert kind_of(b"") is None


@pytest.mark.parametrize("text", ['{"hidden": 8}', '\ufeff {\n"a": 1}', "[1, 2, 3, 4]"])
def test_json_under_its_own_suffix_is_no_failed_download(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError) as caught:
        open_checkpoint(tmp_path / "config.json")
    assert caught.value.reason.endswith("got JSON: name the directory that it is in")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".bin", ".index.json"])
def test_an_error_of_reading_names_the_file(tmp_path, suffix):
    memory = Path("/proc/self/mem")
    if not memory.exists():
        pytest.skip("of Linux")
    link = tmp_path / f"w{suffix}"
    link.symlink_to(memory)
    with pytest.raises(OSError, match="error") as caught:
        open_checkpoint(link)
    assert str(caught.value.filename) == str(link)


def test_formats_of_ours_under_another_suffix_are_named(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"w": np.ones(3)})
    (tmp_path / "a.safetensors").rename(tmp_path / "a.npz")
    with pytest.raises(FormatError, match=r"a safetensors file: name it \.safetensors"):
        open_checkpoint(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", w=np.ones(3))
    (tmp_path / "b.npz").rename(tmp_path / "b.safetensors")
    with pytest.raises(FormatError, match=r"a zip archive of NumPy arrays: name it \.npz"):
        open_checkpoint(tmp_path / "b.safetensors")


@pytest.mark.parametrize("kept", [20, 100, 389])
def test_half_a_download_is_told_in_bytes(tmp_path, kept):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"w": np.ones(80, np.float32)})
    whole = path.read_bytes()
    assert len(whole) > 389
    path.write_bytes(whole[:kept])
    with pytest.raises(FormatError, match="the download or copy is incomplete") as caught:
        open_checkpoint(path)
    numbers = (f"{kept} of {len(whole)} in all", f"{kept - 8} bytes in the file")
    assert any(number in caught.value.reason for number in numbers)


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "w.safetensors").touch()
    with pytest.raises(FormatError, match="the file is empty"):
        open_checkpoint(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("openai-community/gpt2", "hf download openai-community/gpt2 --local-dir gpt2"),
        ("https://huggingface.co/gpt2", "URLs are not read"),
        ("no/such.safetensors", "No such file"),
        ("model", "No such file"),
    ],
)
def test_what_does_not_exist_is_no_format_error(path, advice):
    with pytest.raises(FileNotFoundError, match=advice) as caught:
        open_checkpoint(path)
    assert ("hf download" in str(caught.value)) == ("hf download" in advice)


# What is no regular file


def special(path, kind):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.fspath(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.safetensors.index.json", "w.bin"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    special(tmp_path / name, kind)
    with pytest.raises(FormatError, match=f"expected a regular file, not a {kind}"):
        open_checkpoint(name)
    for read in open_regular, read_regular:
        with pytest.raises(FormatError, match=kind):
            read(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_shard_that_is_a_fifo_is_refused(tmp_path):
    write_index(tmp_path / "model.safetensors.index.json", {"a": "a.safetensors"}, 0)
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="not a FIFO"):
        open_checkpoint(tmp_path)


def test_open_regular_leaves_directories_to_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / "a").write_bytes(b"abc")
    assert read_regular(tmp_path / "a") == b"abc"


# Text on a terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layers.0.weight é 漢", "layers.0.weight é 漢"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("x" * 1_000_000, "x" * 104 + "..." + "x" * 53),
    ],
)
def test_printable_is_one_line_without_controls(text, shown):
    assert printable(text) == shown
