"""The files of a model's directory that go with its weights: tokenizer, vocabulary and so on."""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyfq.cli._model_config import CONFIG
from pyfq.io.links import followed
from pyfq.io.regular import kind_of_mode
from pyfq.io.sharded import is_index

#: Endings of files that hold weights; a model's directory is copied without them.
WEIGHTS = (
    ".safetensors", ".npz", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack",
    ".onnx", ".onnx_data", ".gguf", ".ot", ".tflite",
)  # fmt: skip

# Device and inode.
_Identity = tuple[int, int]


@dataclass(frozen=True)
class Beside:
    """What lies beside the weights of a model.

    Attributes
    ----------
    files : tuple of Path
        The files to copy, by their names relative to the model's directory.
    left_out : dict of Path to str
        What cannot be copied, by such a name, and why.
    roots : tuple of Path
        The directories that hold all of it, without links: the model's, and where links in it lead.
    """

    files: tuple[Path, ...] = ()
    left_out: dict[Path, str] = field(default_factory=dict)
    roots: tuple[Path, ...] = ()


def find_beside(root: Path, read: Collection[Path]) -> Beside:
    """Return the files of a model's directory that are not its weights, nor its config.

    The index decides what is read as weights, whatever the names are. All other weights are left
    aside, which their names tell; but those in a directory below that has a config of its own
    belong to another part of the model (the dense layer of a sentence transformer) and are copied
    as they are. So are files to which links lead, and those in directories to which links lead.

    Parameters
    ----------
    root : Path
        The directory.
    read : collection of Path
        The files of weights, and their index.
    """
    files, left_out, roots = [], {}, {followed(root)}
    for name, found in _walk(root, Path(), ()):
        file = root / name
        if file in read or name == Path(CONFIG) or _is_weights(file, name):
            continue
        if found is None:
            left_out[name] = "it is a link that leads nowhere"
        elif isinstance(found, str):
            left_out[name] = found
        elif stat.S_ISREG(found.st_mode):
            files.append(name)
        elif stat.S_ISDIR(found.st_mode):
            roots.add(followed(file))
        else:
            left_out[name] = f"it is {kind_of_mode(found.st_mode)}"
    return Beside(tuple(files), left_out, tuple(roots))


def _is_weights(file: Path, name: Path) -> bool:
    nested = len(name.parts) > 1 and (file.parent / CONFIG).is_file()
    return not nested and (name.name.endswith(WEIGHTS) or is_index(name.name))


def _walk(
    root: Path, at: Path, above: tuple[_Identity, ...]
) -> Iterator[tuple[Path, os.stat_result | str | None]]:
    """Yield the names below a directory that are not hidden, in order, and what they lead to.

    That is None for a link that leads nowhere, and text where a directory is not entered: why.
    Directories are only named if they are reached by a link.
    """
    found = (root / at).stat()
    identity = found.st_dev, found.st_ino
    if identity in above:
        yield at, "it is a link to a directory that it is in"
        return
    try:
        with os.scandir(root / at) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except PermissionError:
        yield at, "it may not be read"
        return
    for name in names:
        try:
            found = (root / at / name).stat()
        except OSError:
            yield at / name, None
            continue
        if not stat.S_ISDIR(found.st_mode):
            yield at / name, found
            continue
        if (root / at / name).is_symlink():
            yield at / name, found
        yield from _walk(root, at / name, (*above, identity))
