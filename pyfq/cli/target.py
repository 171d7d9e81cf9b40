"""The checkpoint that a command writes: which files, what lies beside them, and what is refused."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pyfq.cli.config import CONFIG, read_config, with_quantization
from pyfq.cli.source import Source, as_array
from pyfq.io import SafetensorsWriter, write_index, write_npz
from pyfq.io.atomic import partial_path, replacing
from pyfq.io.directory import SINGLE, conventional_files
from pyfq.io.dtypes import nbytes_of
from pyfq.io.sharded import is_index, read_index_document
from pyfq.recipes.layout import Declaration, file_order
from pyfq.recipes.manifest import KEY

#: Files that hold weights; a model directory is copied without them and their indices.
WEIGHTS = (
    ".safetensors", ".npz", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack",
    ".onnx", ".onnx_data", ".gguf", ".ot", ".tflite",
)  # fmt: skip

#: Where PEFT says what an adapter is; there is no ``config.json`` beside it.
ADAPTER = "adapter_config.json"

# Parts of this many bytes may wait for their place in the file.
_SMALL = 4096


@dataclass(frozen=True)
class Target:
    """Where the results of a command go.

    Attributes
    ----------
    path : Path
        A file, or the directory that holds everything below.
    files : dict of Path to list of str
        The tensors of each file of weights.
    index : Path or None
        The index of the files, if the source has one and is not merged into one file.
    beside : dict of Path to Path
        Files to copy: where they go, and whence.
    config : Path or None
        The source's ``config.json``.
    index_entries : (dict, dict)
        What stands in the source's index besides sizes and files: in its metadata, and beside it.
    """

    path: Path
    files: dict[Path, list[str]]
    index: Path | None
    beside: dict[Path, Path]
    config: Path | None
    index_entries: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    @property
    def adapts(self) -> bool:
        """Whether it is the directory of an adapter of PEFT."""
        return self.config is None and self.path / ADAPTER in self.beside

    @property
    def is_file(self) -> bool:
        """Whether the target is a single file."""
        return self.path in self.files


def plan_target(source: Source, path: Path) -> Target:
    """Return what a command that reads `source` writes to `path`."""
    if path.suffix in (".safetensors", ".npz"):
        return Target(path, {path: list(source.tensors)}, None, {}, None)
    index = path / source.file.name if is_index(source.file.name) else None
    places = {
        file: path / (file.relative_to(source.file.parent) if index else _name_in(file))
        for file in source.files
    }
    files: dict[Path, list[str]] = {place: [] for place in places.values()}
    for tensor in source.tensors.values():
        file = source.file_of[next(iter(tensor.parts))]
        files[places[file]].append(tensor.name)
    root = source.file.parent
    config = root / CONFIG if (root / CONFIG).exists() else None
    if config:
        read_config(config)  # refused before anything is written
    beside = {}
    if config or (root / ADAPTER).is_file() or source.path.is_dir():
        beside = {path / file.relative_to(root): file for file in _beside(root)}
    entries = _entries_of(source.file) if index else ({}, {})
    return Target(path, files, index, beside, config, entries)


def _entries_of(index: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    document = read_index_document(index)
    others = {k: v for k, v in document.items() if k not in ("metadata", "weight_map")}
    return {k: v for k, v in document["metadata"].items() if k != "total_size"}, others


def _name_in(file: Path) -> str:
    """Return the name of a single file of weights in a directory: its own, if it can be."""
    return file.name if file.suffix == ".safetensors" else SINGLE


def refuse_overlap(source: Source, target: Target) -> None:
    """Raise ValueError if writing the target would change the source, or copy itself."""
    read = {file.resolve() for file in (*source.files, source.file)}
    for file in (*target.files, target.index):
        if file is not None and file.resolve() in read:
            raise ValueError(f"{file} is the source itself: choose another destination")
    root = source.file.parent.resolve()
    if target.beside and target.path.resolve().is_relative_to(root):
        raise ValueError(
            f"{target.path} is inside the model's directory {root}: choose a destination outside"
        )


def refuse_existing(target: Target, *, force: bool) -> None:
    """Raise ValueError if the target is there already and may not be replaced."""
    if force:
        return
    if target.is_file and target.path.is_dir():
        raise ValueError(f"{target.path} is a directory, expected a file")
    if not target.is_file and target.path.exists() and not target.path.is_dir():
        raise ValueError(f"{target.path} is a file; name one ending in .safetensors or .npz")
    if target.path.exists() and (target.is_file or any(target.path.iterdir())):
        raise ValueError(f"{target.path} exists: --force replaces it")


def refuse_existing_file(path: Path, *, force: bool) -> None:
    """Raise ValueError if a file may not be written there, or not replaced."""
    if path.is_dir():
        raise ValueError(f"{path} is a directory, expected a file")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a directory: {path} cannot be written")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: --force replaces it")


def write_tensors(
    path: Path,
    tensors: Mapping[str, Declaration],
    make: Callable[[str], dict[str, NDArray]],
    metadata: Mapping[str, str],
    *,
    resume: bool = False,
    keep_partial: bool = False,
) -> None:
    """Write a file of tensors, each made when its turn comes.

    Parameters
    ----------
    path : Path
        The target, replaced when all is written.
    tensors : mapping of str to Declaration
        What each tensor becomes in the file.
    make : callable
        Returns the arrays that a tensor becomes.
    metadata : mapping of str to str
        The metadata of a safetensors file; of an npz file, which has none, only pyfq's own entry.
    resume, keep_partial : bool
        See `pyfq.io.SafetensorsWriter`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = _Parts(tensors, make)
    if path.suffix == ".npz":
        _refuse_bits(tensors)
        write_npz(path, parts if KEY not in metadata else _WithManifest(parts, metadata[KEY]))
        return
    order = file_order(list(tensors.values()))
    with SafetensorsWriter(
        path, order, metadata or None, resume=resume, keep_partial=keep_partial
    ) as writer:
        for part in writer.remaining:
            writer.write(part, parts[part])


def write_beside(target: Target, tensors: Mapping[Path, Mapping[str, Declaration]]) -> None:
    """Write the index, and copy what lies beside the source's weights; the config is not copied."""
    if target.index is not None:
        placed = {
            part: (file.relative_to(target.path).as_posix(), nbytes_of(*declared))
            for file, its_tensors in tensors.items()
            for parts in its_tensors.values()
            for part, declared in parts.items()
        }
        weight_map = {part: file for part, (file, _) in placed.items()}
        total = sum(nbytes for _, nbytes in placed.values())
        metadata, others = target.index_entries
        write_index(target.index, weight_map, total, metadata, others=others)
    for place, file in target.beside.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def write_config(target: Target, quantization: Mapping[str, Any] | None) -> None:
    """Write ``config.json``: the source's, with this quantization or none, else as it is."""
    if target.is_file or (target.config is None and quantization is None):
        return
    if target.adapts:
        return  # PEFT would take a config.json for that of a whole model
    text = "{}" if target.config is None else read_config(target.config)
    with replacing(target.path / CONFIG) as file:
        file.write(with_quantization(text, quantization).encode())


def remove_stale(target: Target) -> None:
    """Remove the checkpoint that the target replaced, as far as it was not overwritten.

    A reader of the directory would take an old ``model.safetensors`` for the result.
    """
    if target.is_file:
        return
    written = {*target.files, target.index}
    name = (target.index or next(iter(target.files))).name
    for file in conventional_files(target.path, name) - written:
        file.unlink(missing_ok=True)


def remove_partial(target: Target) -> None:
    """Remove the unfinished files of a run that cannot go on, and the directory if it is empty."""
    for file in target.files:
        partial_path(file).unlink(missing_ok=True)
    if not target.is_file and target.path.is_dir() and not any(target.path.iterdir()):
        target.path.rmdir()


class _Parts(Mapping[str, NDArray]):
    """The arrays of a file by name, made tensor by tensor as they are asked for, in order."""

    def __init__(
        self, tensors: Mapping[str, Declaration], make: Callable[[str], dict[str, NDArray]]
    ) -> None:
        self._tensors = tensors
        self._make = make
        self._owner = {part: name for name, parts in tensors.items() for part in parts}
        self._held: dict[str, NDArray] = {}
        self._large: dict[str, NDArray] = {}

    def __getitem__(self, part: str) -> NDArray:
        if part in self._held:
            return self._held.pop(part)
        if part not in self._large:
            # A tensor whose parts do not stand together is made again for the large ones.
            made = self._make(self._owner[part])
            self._large = {name: x for name, x in made.items() if x.nbytes > _SMALL}
            self._held |= {name: x for name, x in made.items() if name not in self._large}
        return (self._large if part in self._large else self._held).pop(part)

    def __iter__(self) -> Iterator[str]:
        return (part for parts in self._tensors.values() for part in parts)

    def __len__(self) -> int:
        return len(self._owner)


class _WithManifest(Mapping[str, NDArray]):
    """The arrays of an npz file and, behind them, pyfq's own entry."""

    def __init__(self, parts: _Parts, manifest: str) -> None:
        if KEY in parts:
            raise ValueError(f"tensor {KEY!r}: pyfq needs this name in an npz file")
        self._parts = parts
        self._manifest = as_array(manifest)

    def __getitem__(self, name: str) -> NDArray:
        return self._manifest if name == KEY else self._parts[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._parts
        yield KEY

    def __len__(self) -> int:
        return len(self._parts) + 1


def _refuse_bits(tensors: Mapping[str, Declaration]) -> None:
    """Refuse dtypes that NumPy does not have: npz would hold bits of unknown meaning."""
    for name, parts in tensors.items():
        for word, _ in parts.values():
            if word == "BF16" or word.startswith(("F8", "F6", "F4")):
                raise ValueError(f"tensor {name!r}: npz cannot hold {word}; write .safetensors")


def _beside(root: Path) -> Iterator[Path]:
    """Yield the files of a model directory that are not its weights, nor its config.

    Weights in a directory below that has a config of its own belong to another part of the model
    (the dense layer of a sentence transformer) and are copied as they are.
    """
    for file in sorted(root.rglob("*")):
        place = file.relative_to(root)
        if not file.is_file() or any(part.startswith(".") for part in place.parts):
            continue
        nested = file.parent != root and (file.parent / CONFIG).is_file()
        weights = file.name.endswith(WEIGHTS) or is_index(file.name)
        if place != Path(CONFIG) and (nested or not weights):
            yield file
