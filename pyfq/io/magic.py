"""What a file is that is not what it was taken for, told by its first bytes.

Sources: the *magic numbers* of each format's own description; for git-lfs
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, for pickles PEP 3154.
"""

import re
from collections.abc import Callable

from pyfq._core.check import shown

#: As many first bytes as `kind_of` looks at.
HEAD = 512
# As many as are looked at of what was taken for a model of ONNX, blanks in front included.
_HEAD_OF_MODEL = 64

_AGAIN = "download the file again"
_TORCH = "open it with PyTorch and save its tensors with safetensors.torch.save_file"

#: What `torch.save` writes since PyTorch 1.6.
TORCH_ARCHIVE = f"a zip archive of PyTorch (torch.save): {_TORCH}"


def _kind_of_pointer(head: bytes) -> str:
    size = re.search(rb"^size (\d{1,20})$", head, re.MULTILINE)
    of = f" of {size[1].decode()} bytes" if size else ""
    return f"a git-lfs pointer to the file{of}: fetch it with `git lfs pull` in its repository"


def _kind_of_utf16(head: bytes) -> str | None:
    text = head[: len(head) // 2 * 2].decode("utf-16", "replace").rstrip("\ufffd")
    if not "".join(text.split()).isprintable() or "\ufffd" in text:
        return None
    return "text in UTF-16, as a shell of Windows writes: save it as UTF-8"


def _kind_of_zip(head: bytes) -> str:
    if b"data.pkl" in head or b".format_version" in head or b"byteorder" in head:
        return TORCH_ARCHIVE
    if b".npy" in head:
        return "a zip archive of NumPy arrays: name it .npz"
    return "a zip archive: unpack it first"


# First bytes; what a file that has them is and what to do with it, or a function that tells by the
# bytes, where a checkpoint was expected; and where a model of ONNX was.
_KINDS: tuple[tuple[bytes, str | Callable[[bytes], str | None] | None, str | None], ...] = (
    (
        b"version https://git-lfs",
        _kind_of_pointer,
        "a pointer of git-lfs: fetch the file with `git lfs pull`",
    ),
    (b"PK\3\4", _kind_of_zip, "a zip archive, as torch.save writes: use torch.onnx.export"),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes: save its arrays with numpy.savez",
        "an HDF5 file, as Keras writes: export the model to ONNX",
    ),
    (b"GGUF", "a GGUF file of llama.cpp: convert the checkpoint that it was made from", None),
    (b"\x93NUMPY", "one array of NumPy (.npy): save it with numpy.savez", None),
    (b"\x1f\x8b", "compressed with gzip: unpack it first", None),
    (b"BZh", "compressed with bzip2: unpack it first", None),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it first", None),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first", None),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip: unpack it first", None),
    (b"MATLAB 5.0 MAT-file", "a MAT file: save its arrays with numpy.savez", None),
    (b"\x7fELF", "a program", None),
    (b"%PDF-", "a PDF document", None),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", None),
    (b"\xff\xd8\xff", "a JPEG image", None),
    (b"GIF8", "a GIF image", None),
    (b"\xff\xfe", _kind_of_utf16, None),
    (b"\xfe\xff", _kind_of_utf16, None),
    # A checkpoint's may be any page: see `_kind_of_text`.
    (b"<!doctype html", None, "an HTML page: the download failed"),
    (b"<html", None, "an HTML page: the download failed"),
    (b"ir_version:", None, "ONNX in the text format: convert it with onnx.save_model"),
)


def kind_of(head: bytes) -> str | None:
    """Return what a file is and what to do with it, or None if its first bytes do not tell.

    Parameters
    ----------
    head : bytes
        The first `HEAD` bytes of the file, or all of it.

    Examples
    --------
    >>> kind_of(b"<!DOCTYPE html><html>")
    'an HTML page, as a failed download leaves it: download the file again'
    """
    if re.match(rb"\x80[\2-\5]", head):
        return f"a Python pickle, as torch.save writes: {_TORCH}"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file: name it .safetensors"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    for start, kind, _ in _KINDS:
        if kind is not None and head.startswith(start):
            return kind(head) if callable(kind) else kind
    if len(head) >= 16 and not head.strip(b"\0"):
        return f"zeros at its beginning, as an unfinished download or copy leaves: {_AGAIN}"
    return _kind_of_text(head)


def kind_of_model(head: bytes) -> str | None:
    """Return what a file is that was taken for a model of ONNX, or None if that is not known.

    Parameters
    ----------
    head : bytes
        The first `HEAD` bytes of the file, or all of it.

    Examples
    --------
    >>> kind_of_model(b"<!DOCTYPE html><html>")
    'an HTML page: the download failed'
    """
    head = head[:_HEAD_OF_MODEL].lstrip().lower()
    for start, _, kind in _KINDS:
        if kind is not None and head.startswith(start.lower()):
            return kind
    return None


def _kind_of_text(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype|html|head|body|!--)", text, re.IGNORECASE):
        return f"an HTML page, as a failed download leaves it: {_AGAIN}"
    if re.match(rb"<(\?xml|[A-Za-z]{2,40}[ >/])", text):
        return f"an XML text, as a failed download leaves it: {_AGAIN}"
    try:
        words = text.decode("utf-8").split()
    except UnicodeDecodeError as error:
        if len(text) < HEAD - 16 or error.start < len(text) - 3:  # other than a character cut off
            return None
        words = text[: error.start].decode("utf-8").split()
    line = " ".join(words)[:60]
    if len(line) < 9 or not line.isprintable():
        return None
    kind = "JSON" if re.match(r'[{\[]\s*["{\[]', line) else "text"
    return f"{kind} that begins with {shown(line)}, as a failed download leaves it: {_AGAIN}"
