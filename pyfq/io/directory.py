"""Which checkpoint a directory holds: the names that libraries give their weights."""

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from pyfq._core.check import shown
from pyfq.io.errors import FormatError
from pyfq.io.safetensors import open_safetensors
from pyfq.io.sharded import is_index, read_index

#: Names of weights by convention, the first that is there is taken, each before its own index:
#: transformers and sentence-transformers; diffusers; PEFT; Mistral.
CONVENTIONS = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "adapter_model.safetensors",
    "consolidated.safetensors",
)

SINGLE = CONVENTIONS[0]
INDEX = f"{SINGLE}.index.json"

# Weights that are not read, and what to do with them.
_OTHERS = {
    (".bin", ".pt", ".pth", ".ckpt"): (
        "PyTorch: open them with PyTorch and save them with safetensors.torch.save_file, or with "
        "save_pretrained(..., safe_serialization=True) of transformers"
    ),
    (".gguf",): "llama.cpp: compress the checkpoint that it was made from",
    (".h5", ".hdf5", ".keras"): "Keras: save the arrays with numpy.savez",
    (".msgpack",): "Flax: save the arrays with safetensors.flax.save_file",
    (".onnx",): "ONNX: `pyfq distill` and `pyfq predict` read a network of dense layers",
    (".npz",): "NumPy: name the file itself",
}

_SHARD = re.compile(r"[-_]\d{5,}[-_]of[-_]\d{5,}")


def find_checkpoint(directory: Path) -> Path:
    """Return the file or index of the checkpoint in a directory.

    Parameters
    ----------
    directory : Path
        The directory.

    Raises
    ------
    FormatError
        There is none, or several of which none has a name of `CONVENTIONS`; the message lists what
        there is and says what to do.
    OSError
        The directory cannot be read.
    """
    found = checkpoints_in(directory)
    if len(found) == 1 and (is_index(found[0]) or not _SHARD.search(found[0])):
        return directory / found[0]
    raise FormatError(directory, _why_none(directory, found, sorted(_files_in(directory))))


def checkpoints_in(
    directory: Path, *, written: Collection[str] = (), removed: Collection[str] = ()
) -> list[str]:
    """Return the names of what may be the checkpoint of a directory; one, if `CONVENTIONS` tell.

    Parameters
    ----------
    directory : Path
        The directory.
    written : collection of str
        Names of files that are about to come: one of weights, or an index and its shards.
    removed : collection of str
        Names of files that are about to go.

    Raises
    ------
    FormatError
        An index that would tell is damaged.
    OSError
        The directory cannot be read.
    """
    present = _files_in(directory).difference(removed).union(written)
    for name in CONVENTIONS:
        for candidate in (name, f"{name}.index.json"):
            if candidate in present:
                return [candidate]
    indices = sorted(name for name in present if is_index(name) and ".safetensors" in name)
    weights = sorted(name for name in present if name.endswith(".safetensors"))
    for index in indices:
        shards = written if index in written else set(read_index(directory / index).values())
        weights = [name for name in weights if name not in shards]
    return indices + weights


def _files_in(directory: Path) -> set[str]:
    return {entry.name for entry in os.scandir(directory) if not _is_directory(entry)}


def older_files(directory: Path, name: str) -> set[Path]:
    """Return the files of weights of a model that is about to be written anew under a name.

    They are those of both layouts of that model, one file, and an index with its shards; so, when
    the names that are written again are left aside, nothing of an older version can be taken for
    the new one. Models of other names, variants such as fp16 among them, have no part in it.

    Parameters
    ----------
    directory : Path
        The directory.
    name : str
        The name of the file of weights, or of the index.

    Returns
    -------
    set of Path
        The file and the index, as far as they are there, and of the shards that the index lists
        those that hold what it says, or by their name are weights that cannot be read. What is no
        file of weights is not among them though an index lists it, nor is what another index lists,
        in the directory or in one below. Of a damaged index the shards are not known.
    """
    single, indices = _layouts_of(name)
    files = {directory / file for file in (single, *indices)} - {directory / ""}
    for index in indices:
        files |= _shards_of(directory / index)
    ours = {directory / index for index in indices}
    for place in _directories_of(files, directory):
        for entry in os.scandir(place) if place.is_dir() else ():
            if is_index(entry.name) and place / entry.name not in ours:
                files -= _shards_of(place / entry.name)
    return {file for file in files if file.is_file() or file.is_symlink()}


def _directories_of(files: set[Path], root: Path) -> set[Path]:
    """Return the directories from a root down to files: an index lists nothing above its own."""
    above = {place for file in files for place in file.parents}
    return {root, *(place for place in above if place.is_relative_to(root))}


def _layouts_of(name: str) -> tuple[str, list[str]]:
    """Return the name of a model in one file, "" if it has none, and those that its index has."""
    if index := re.fullmatch(r"(.+)\.safetensors\.index(\.[\w-]+)?\.json", name):
        single = f"{index[1]}{index[2] or ''}.safetensors"
    elif name.endswith(".safetensors"):
        single = name
    else:
        return "", [name]
    indices = [f"{single}.index.json"]
    if variant := re.fullmatch(r"(.+)(\.[\w-]+)\.safetensors", single):
        indices.append(f"{variant[1]}.safetensors.index{variant[2]}.json")
    return single, indices


def _shards_of(index: Path) -> set[Path]:
    """Return the files of weights that an index lists, none if it cannot be read."""
    listed: dict[str, set[str]] = {}
    with suppress(FormatError, OSError):
        for tensor, shard in read_index(index).items():
            listed.setdefault(shard, set()).add(tensor)
    return {
        index.parent / shard for shard, its in listed.items() if _holds(index.parent / shard, its)
    }


def _holds(shard: Path, tensors: set[str]) -> bool:
    try:
        with open_safetensors(shard) as file:
            return tensors <= file.keys()
    except (FormatError, OSError):
        return shard.name.endswith(".safetensors")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _why_none(directory: Path, found: list[str], entries: list[str]) -> str:
    expected = f"expected {SINGLE}, {INDEX} or exactly one .safetensors file, found "
    if found and all(_SHARD.search(name) for name in found):
        return f"{expected}{_listed(found)}: shards without their index, which is to be fetched too"
    if found:
        return f"{expected}{_listed(found)}: name the one that is meant"
    if "model_index.json" in entries:
        parts = [path.parent.name for path in sorted(directory.glob("*/*.safetensors"))]
        listed = _listed(list(dict.fromkeys(parts))) if parts else "none has weights yet"
        return f"{expected}a pipeline of diffusers: name one of its directories ({listed})"
    if (directory / "snapshots").is_dir():
        return f"{expected}the cache of a hub: name a directory in {directory / 'snapshots'}"
    for suffixes, advice in _OTHERS.items():
        if others := [name for name in entries if name.endswith(suffixes)]:
            return f"{expected}{_listed(others)}, which are weights of {advice}"
    below = sorted({path.parent.name for path in directory.glob("*/*.safetensors")})
    return f"{expected}none" + (f" but in {_listed(below)}: name that directory" if below else "")


def _listed(names: list[str], most: int = 8) -> str:
    text = ", ".join(name if name.isprintable() else shown(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
