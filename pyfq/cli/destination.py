"""Which names of ``-o`` are files, which directories, and which are refused.

A name that ends in .safetensors or .npz is a file. One that ends as a file of another format does,
as ``model.gguf``, is refused: a directory of that name is not what was meant. Any other name is a
directory, ``model.v2`` too; so is one of another format that ends in a slash, or is a directory
already.
"""

import argparse
import os
from pathlib import Path

from pyfq.cli.parser import path_of
from pyfq.cli.target import WEIGHTS

#: The formats that a checkpoint is written in.
FORMATS = (".safetensors", ".npz")

# Endings of weights and data of other programs, besides those of `WEIGHTS`.
_FOREIGN = (
    ".csv", ".engine", ".ggml", ".gz", ".hdf5", ".joblib", ".json", ".keras", ".llamafile", ".mat",
    ".mlmodel", ".npy", ".ort", ".parquet", ".pb", ".pickle", ".pkl", ".safetensor", ".tar",
    ".toml", ".txt", ".zip",
)  # fmt: skip


def destination(word: str) -> Path:
    """Return the file or directory that ``-o`` names.

    Raises
    ------
    argparse.ArgumentTypeError
        A name that ends as another format does, or ``-``; the message lists the formats. The root
        of all files; the name of a file with a slash behind it.

    Examples
    --------
    >>> destination("small").name, destination("small.npz").name
    ('small', 'small.npz')
    >>> destination("small.gguf")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: small.gguf: .gguf is not written: expected NAME.safetensors, ...
    """
    path = path_of(word)
    if os.path.realpath(path) == os.sep:
        raise argparse.ArgumentTypeError(f"{word} is the root of all files, which is no target")
    if word.endswith("/") and path.suffix in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{word}: a name that ends in {path.suffix} is a file's, and takes no slash"
        )
    ending = (path.suffix or path.name).lower()
    if word.endswith("/") or path.suffix in FORMATS or _is_directory(path):
        return path
    expected = "expected NAME.safetensors, NAME.npz or a directory"
    if word == "-":
        raise argparse.ArgumentTypeError(f"a checkpoint is not written to stdout: {expected}")
    if ending in (*FORMATS, *WEIGHTS, *_FOREIGN):
        raise argparse.ArgumentTypeError(f"{word}: {ending} is not written: {expected}")
    return path


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for the system
        return False
