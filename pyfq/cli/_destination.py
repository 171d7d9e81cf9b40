"""The checkpoint that a command writes: which files, what lies beside them, and what is refused.

A name of ``-o`` that ends in .safetensors or .npz is a file. One that ends as a file of another
format does, as ``model.gguf``, is refused: a directory of that name is not what was meant. Any
other name is a directory, ``model.v2`` too; so is one of another format that ends in a slash, or is
a directory already.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pyfq._core.check import shown
from pyfq._core.text import small_letters
from pyfq.cli._beside import WEIGHTS, Beside, find_beside
from pyfq.cli._model_config import (
    CONFIG,
    QUANTIZATION,
    is_of_transformers,
    read_config,
    values_of,
    with_quantization,
)
from pyfq.cli._parser import path_of
from pyfq.cli._source import Source, text_bytes
from pyfq.cli._streams import one_line
from pyfq.exchange.compressed_tensors import Declaration
from pyfq.exchange.manifest import KEY
from pyfq.io.directory import SINGLE, checkpoints_in, find_checkpoint, older_files
from pyfq.io.dtypes import WORDS, nbytes_of
from pyfq.io.errors import FormatError
from pyfq.io.links import followed, is_within, target_of
from pyfq.io.npz import can_hold
from pyfq.io.sharded import index_content, is_index, read_index_document
from pyfq.io.staging import INSIDE, places_of, refuse_obstacles

#: The formats that a checkpoint is written in.
FORMATS = (".safetensors", ".npz")

# Endings of weights and data of other programs, besides those of `WEIGHTS`.
_FOREIGN = (
    ".csv", ".engine", ".ggml", ".gz", ".hdf5", ".joblib", ".json", ".keras", ".llamafile", ".mat",
    ".mlmodel", ".npy", ".ort", ".parquet", ".pb", ".pickle", ".pkl", ".safetensor", ".tar",
    ".toml", ".txt", ".zip",
)  # fmt: skip

#: Where PEFT says what an adapter is, and how the names of its weights begin. A ``config.json``
#: beside it is that of a model.
ADAPTER, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model."

#: Where it stands how to open a directory; README.md is the model's own card.
README = "README-pyfq.md"

#: How that begins where pyfq wrote it.
README_BEGINS = """\
# Compressed by pyfq

The weights beside this file were compressed by `pyfq compress`."""

#: Files that hold no tensors, by their names relative to the destination: bytes, or a file to copy.
Contents = dict[Path, bytes | Path]

# Parts of this many bytes may wait for their place in the file.
_SMALL = 4096


def output_path(word: str) -> Path:
    """Return the file or directory that ``-o`` names.

    Raises
    ------
    argparse.ArgumentTypeError
        A name that ends as another format does, or ``-``; the message lists the formats. The root
        of all files; the name of a file with a slash behind it.

    Examples
    --------
    >>> output_path("small").name, output_path("small.npz").name
    ('small', 'small.npz')
    >>> output_path("small.gguf")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: small.gguf: .gguf is not written: expected NAME.safetensors, ...
    """
    path = path_of(word)
    if _is_root(path):
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
    if case := small_letters(path.suffix, FORMATS):
        raise argparse.ArgumentTypeError(f"{word}: expected {ending}{case}")
    if ending in (*FORMATS, *WEIGHTS, *_FOREIGN):
        raise argparse.ArgumentTypeError(f"{word}: {ending} is not written: {expected}")
    return path


def _is_root(path: Path) -> bool:
    with suppress(OSError):  # what leads nowhere, of which `plan_destination` says so
        return followed(path) == Path(os.sep)
    return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for the system
        return False


@dataclass(frozen=True)
class Destination:
    """Where the results of a command go.

    Attributes
    ----------
    path : Path
        A file, or the directory that holds everything below, as it was named.
    target : Path
        The same; if it is a link, what that leads to. All names below begin with it.
    files : dict of Path to list of str
        The tensors of each file of weights.
    index : Path or None
        The index of the files, if the source has one and is not merged into one file.
    beside : dict of Path to Path
        Files to copy: where they go, and whence.
    config : Path or None
        The source's ``config.json``.
    found : Beside
        What there is beside the weights of the source.
    index_entries : (dict, dict)
        What stands in the source's index besides sizes and files: in its metadata, and beside it.
    inputs : tuple of Path
        What else the command reads, such as a recipe.
    adapts : bool
        Whether the weights are those of an adapter of PEFT.
    """

    path: Path
    target: Path
    files: dict[Path, list[str]]
    index: Path | None = None
    beside: dict[Path, Path] = field(default_factory=dict)
    config: Path | None = None
    found: Beside = field(default_factory=Beside)
    index_entries: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    inputs: tuple[Path, ...] = ()
    adapts: bool = False

    @property
    def is_explained(self) -> bool:
        """Whether it is the directory of a model of transformers, where a README says of it."""
        if self.config is None or self.adapts:
            return False
        return is_of_transformers(read_config(self.config))

    @property
    def has_config(self) -> bool:
        """Whether there is a ``config.json``: the source's, or else one that the target has.

        One that holds nothing but a quantization was made up for weights that go; one beside an
        adapter is that of the model which it adapts.
        """
        if self.adapts:
            return False
        if self.config is not None or self.is_file:
            return self.config is not None
        text = _config_of_target(self)
        return text is not None and bool(values_of(text).keys() - {QUANTIZATION})

    @property
    def is_file(self) -> bool:
        """Whether the destination is a single file."""
        return self.target in self.files

    @property
    def is_archive(self) -> bool:
        """Whether it is an npz file; shards are safetensors whatever their names are."""
        return self.is_file and self.path.suffix == ".npz"

    @property
    def exists(self) -> bool:
        """Whether there is anything at its place."""
        if self.is_file or not self.target.is_dir():
            return self.target.exists()
        return any(entry.name != INSIDE for entry in self.target.iterdir())

    @property
    def read_beside(self) -> list[Path]:
        """The files that are read besides those of weights."""
        return [*self.beside.values(), *filter(None, [self.config]), *self.inputs]

    @property
    def places_beside(self) -> list[Path]:
        """Where files without tensors may be written, but for the index."""
        if self.is_file:
            return []
        explained = [self.target / README] if self.is_explained else []
        return [*self.beside, self.target / CONFIG, *explained]

    @property
    def names(self) -> set[Path]:
        """The names of all files that may be written, relative to the root."""
        places = {*self.files, *filter(None, [self.index]), *self.places_beside}
        if self.adapts and self.config is None:
            places.discard(self.target / CONFIG)
        return {place.relative_to(self.root) for place in places}

    @property
    def root(self) -> Path:
        """The directory that all files are in."""
        return self.target.parent if self.is_file else self.target


def plan_destination(source: Source, path: Path, inputs: Iterable[Path] = ()) -> Destination:
    """Return what a command that reads `source` writes to `path`, a link to which is followed.

    Parameters
    ----------
    source : Source
        The checkpoint.
    path : Path
        What ``-o`` names.
    inputs : iterable of Path
        What the command reads besides the checkpoint.

    Raises
    ------
    ValueError
        A link whose name is that of one format leads to a name of the other.
    OSError
        Links lead in a circle, or ``..`` leads up from nowhere.
    """
    target = target_of(path)
    adapts = _is_adapter(source)
    if path.suffix in FORMATS:
        if target.suffix in FORMATS and target.suffix != path.suffix:
            raise ValueError(f"{path} is a link to {target}, the name of another format")
        return Destination(
            path, target, {target: list(source.tensors)}, inputs=tuple(inputs), adapts=adapts
        )
    index = target / source.file.name if is_index(source.file.name) else None
    places = {
        file: target / (file.relative_to(source.file.parent) if index else _name_in(file))
        for file in source.files
    }
    files: dict[Path, list[str]] = {place: [] for place in places.values()}
    for tensor in source.tensors.values():
        file = source.file_of[next(iter(tensor.parts))]
        files[places[file]].append(tensor.name)
    root = source.file.parent
    config = root / CONFIG if (root / CONFIG).exists() else None
    if config:  # refused before anything is written
        entries = values_of(read_config(config)).keys()
        if CONFIG in source.made and entries == {QUANTIZATION}:
            config = None  # pyfq made it up to say what it did
    found = Beside()
    if config or (root / ADAPTER).is_file() or source.path.is_dir():
        made = {root / name for name in source.made}
        found = find_beside(root, {*source.files, source.file, *made})
    beside = {target / name: root / name for name in found.files}
    entries = _entries_of(source.file) if index else ({}, {})
    return Destination(
        path, target, files, index, beside, config, found, entries, tuple(inputs), adapts
    )


def _is_adapter(source: Source) -> bool:
    """Return whether weights are an adapter's by their name, or are all that stands beside one."""
    root = source.file.parent
    if source.file.name.startswith(_ADAPTER_WEIGHTS):
        return True
    return (root / ADAPTER).is_file() and not (root / CONFIG).exists()


def _entries_of(index: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    document = read_index_document(index)
    others = {k: v for k, v in document.items() if k not in ("metadata", "weight_map")}
    return {k: v for k, v in document["metadata"].items() if k != "total_size"}, others


def _name_in(file: Path) -> str:
    """Return the name of a single file of weights in a directory: its own, if it can be."""
    return file.name if file.suffix == ".safetensors" else SINGLE


def tell_left_out(command: str, destination: Destination) -> None:
    """Name on stderr what is not copied though it lies beside the weights."""
    for name, why in destination.found.left_out.items():
        print(f"pyfq {command}: {one_line(str(name))} is not copied: {why}", file=sys.stderr)


def refuse_overlap(source: Source, destination: Destination) -> None:
    """Raise ValueError if writing the destination would change what is read, or copy itself.

    So it does if something there is in the way of a file. Raise OSError if links at the destination
    lead in a circle.
    """
    place = followed(destination.target)
    stale = stale_files(destination)
    _refuse_read(source, destination, stale)
    for staging in places_of(destination.target):
        if staging.is_symlink():  # which writers refuse
            continue
        for file in (*source.read, *destination.inputs):
            if is_within(followed(file), staging):
                what = file if file in destination.inputs else source.path
                raise ValueError(
                    f"{what} leads into {staging}, which is for writing {destination.path}: "
                    "choose another destination"
                )
    _refuse_obstacles(destination, stale)
    for root in destination.found.roots if destination.beside else ():
        if is_within(place, root):
            raise ValueError(
                f"{destination.path} is inside the model's directory {root}: "
                "choose a destination outside"
            )


def _refuse_obstacles(destination: Destination, stale: Iterable[Path]) -> None:
    """Raise ValueError if something in a directory is in the way of what is written or removed."""
    if destination.is_file:
        return
    root, names = destination.root, destination.names
    going = {file.relative_to(root) for file in stale}
    for name in sorted(names | going):
        if INSIDE in name.parts:
            raise ValueError(
                f"{destination.path / name}: {INSIDE} is for what pyfq has not finished: give that "
                "directory another name, in the index too"
            )
    try:
        refuse_obstacles(root, names, going)
    except OSError as e:
        raise ValueError(f"{destination.path}: {e.strerror}") from e


def _refuse_read(source: Source, destination: Destination, stale: Iterable[Path]) -> None:
    """Raise ValueError if a file that is read would be replaced or removed, by whatever name.

    Files are told by device and inode: of a file that is read under another name, a hard link for
    one, or in letters of another case, the path says nothing. A link beside the weights, or to what
    is removed, is itself what goes, and not what it leads to.
    """
    read: dict[tuple[int, int], Path] = {}
    for file in (*source.read, *destination.read_beside):
        for found in (file.lstat(), file.stat()):
            read[found.st_dev, found.st_ino] = file
    written = {*destination.files, destination.index} - {None}
    for file in sorted({*written, *destination.places_beside, *stale}):
        with suppress(OSError):  # nothing is there; links in a circle, which would be replaced
            found = file.stat(follow_symlinks=file in written)
            other = read.get((found.st_dev, found.st_ino))
            if other is None:
                continue
            if other not in destination.inputs and _is_directory_of(source, destination):
                raise ValueError(
                    f"{destination.path} is the directory of the source itself, {source.path}: "
                    "choose another destination"
                )
            asked = destination.path if destination.is_file else file
            is_source = other == source.file or other in source.files
            what = "the source itself" if is_source else f"{other}, which is read"
            raise ValueError(f"{asked} is {what}: choose another destination")


def _is_directory_of(source: Source, destination: Destination) -> bool:
    return not destination.is_file and destination.target.samefile(source.file.parent)


def refuse_existing(destination: Destination, *, force: bool) -> None:
    """Raise ValueError if the destination is there already and may not be replaced."""
    path, target = destination.path, destination.target
    if destination.is_file and target.is_dir():
        raise ValueError(f"{path} is a directory, expected a file")
    if destination.is_file and target.exists() and not target.is_file():
        raise ValueError(f"{path} is not a regular file")
    if not destination.is_file and target.exists() and not target.is_dir():
        raise ValueError(f"{path} is a file; name one ending in .safetensors or .npz")
    if not force and destination.exists:
        raise ValueError(f"{path} exists: --force replaces it")


def refuse_existing_file(path: Path, *, force: bool) -> None:
    """Raise ValueError if a file may not be written there, or not replaced."""
    if path.is_dir():
        raise ValueError(f"{path} is a directory, expected a file")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a directory: {path} cannot be written")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: --force replaces it")


def contents_of(
    destination: Destination,
    tensors: Mapping[Path, Mapping[str, Declaration]],
    quantization: Mapping[str, Any] | None,
) -> Contents:
    """Return the files that hold no tensors: the index, the config, what lies beside the weights.

    The config is the source's, with this quantization or none.
    """
    contents: Contents = {
        place.relative_to(destination.root): file for place, file in destination.beside.items()
    }
    if destination.index is not None:
        placed = {
            part: (file.relative_to(destination.root).as_posix(), nbytes_of(*declared))
            for file, its_tensors in tensors.items()
            for parts in its_tensors.values()
            for part, declared in parts.items()
        }
        weight_map = {part: file for part, (file, _) in placed.items()}
        total = sum(nbytes for _, nbytes in placed.values())
        metadata, others = destination.index_entries
        index = index_content(weight_map, total, metadata, others)
        contents[destination.index.relative_to(destination.root)] = index
    config = config_content(destination, quantization)
    return contents if config is None else contents | {Path(CONFIG): config}


def makes_config(destination: Destination, quantization: Mapping[str, Any] | None) -> bool:
    """Return whether there is to be a config though the source has none.

    PEFT would take one beside an adapter for that of a whole model.
    """
    absent = destination.config is None and not destination.is_file
    return absent and quantization is not None and not destination.adapts


def config_content(
    destination: Destination, quantization: Mapping[str, Any] | None
) -> bytes | None:
    """Return ``config.json``: the source's, with this quantization or none, else as it is.

    Beside an adapter it is as it is. Where the source has none, that of the target stays, but for
    its quantization, which was that of the weights that go. A file has none.
    """
    if destination.is_file:
        return None
    if destination.adapts:  # a config beside an adapter is that of the model which it adapts
        return None if destination.config is None else destination.config.read_bytes()
    if destination.config is not None:
        return with_quantization(read_config(destination.config), quantization).encode()
    text = _config_of_target(destination)
    if quantization is None and (text is None or QUANTIZATION not in values_of(text)):
        return None
    return with_quantization("{}" if text is None else text, quantization).encode()


def _config_of_target(destination: Destination) -> str | None:
    """Return the config that a directory has before it is written to, if it can be read."""
    path = destination.target / CONFIG
    if not path.is_file():
        return None
    with suppress(FormatError):
        return read_config(path)
    return None


def stale_files(destination: Destination, contents: Collection[Path] = ()) -> set[Path]:
    """Return what is untrue once the destination is written, which does not overwrite it.

    A reader of the directory would take an old ``model.safetensors`` for the result, and would
    believe what pyfq's README says of weights that went.

    Parameters
    ----------
    destination : Destination
        What is written.
    contents : collection of Path
        The files without tensors that are written, relative to the root.
    """
    if destination.is_file:
        return set()
    written = {*destination.files, destination.index, *destination.beside}
    written |= {destination.root / name for name in contents}
    readme = destination.target / README
    stale = {readme} if _is_of_pyfq(readme) else set()
    return (older_files(destination.target, _name_of(destination)) | stale) - written


def _is_of_pyfq(readme: Path) -> bool:
    """Return whether a README begins as pyfq's do; any other a person wrote."""
    beginning = README_BEGINS.encode()
    with suppress(OSError):
        if readme.is_file():
            with readme.open("rb") as file:
                return file.read(len(beginning)) == beginning
    return False


def _name_of(destination: Destination) -> str:
    """Return the name of what readers of a destination that is a directory look for."""
    return (destination.index or next(iter(destination.files))).name


def hidden_by(destination: Destination) -> str | None:
    """Return what is to be said of a directory whose readers do not take what was written there."""
    if destination.is_file:
        return None
    name, target = _name_of(destination), destination.target
    try:
        found = find_checkpoint(target).name
    except (FormatError, OSError):
        asked = destination.path
        return f"readers of {asked} do not find which checkpoint is meant: name {asked / name}"
    if found == name:
        return None
    return (
        f"readers of {destination.path} take {found}, another checkpoint, which stays: "
        f"name {destination.path / name}"
    )


def refuse_config_of_another(destination: Destination, content: bytes | Path | None) -> None:
    """Raise ValueError if another checkpoint, which stays, would get the config of this one.

    Parameters
    ----------
    destination : Destination
        What is written.
    content : bytes or None
        The config that is to be written; None if there is none.
    """
    config = destination.target / CONFIG
    if content is None or not destination.exists:
        return
    if config.is_file() and config.read_bytes() == content:
        return
    if other := _other_checkpoint(destination):
        raise ValueError(
            f"{destination.path}: {other}, another checkpoint, stays there, and {CONFIG} would "
            "not be its own: choose another directory, or name a file, NAME.safetensors, which is "
            "written alone"
        )


def _other_checkpoint(destination: Destination) -> str | None:
    """Return what readers of a directory may take instead of the result, or took before it."""
    target, name = destination.target, _name_of(destination)
    written = {file.name for file in destination.files if file.parent == target} | {name}
    removed = {file.name for file in stale_files(destination) if file.parent == target}
    try:
        later = set(checkpoints_in(target, written=written, removed=removed)) - {name}
        others = later | set(checkpoints_in(target)) - written - removed
    except FormatError as e:
        return Path(e.path).name
    return min(others, default=None)


class Parts(Mapping[str, NDArray]):
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
        """Return an array, and make its tensor if it is not made."""
        if part in self._held:
            return self._held.pop(part)
        if part not in self._large:
            # A tensor whose parts do not stand together is made again for the large ones.
            made = self._make(self._owner[part])
            self._large = {name: x for name, x in made.items() if x.nbytes > _SMALL}
            self._held |= {name: x for name, x in made.items() if name not in self._large}
        return (self._large if part in self._large else self._held).pop(part)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, tensor by tensor."""
        return (part for parts in self._tensors.values() for part in parts)

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._owner)

    def with_manifest(self, manifest: str | None) -> Mapping[str, NDArray]:
        """Return the same with pyfq's own entry behind them, if there is one."""
        return self if manifest is None else _WithManifest(self, manifest)


class _WithManifest(Mapping[str, NDArray]):
    """The arrays of an npz file and, behind them, pyfq's own entry."""

    def __init__(self, parts: Parts, manifest: str) -> None:
        self._parts = parts
        self._manifest = text_bytes(manifest)

    def __getitem__(self, name: str) -> NDArray:
        return self._manifest if name == KEY else self._parts[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._parts
        yield KEY

    def __len__(self) -> int:
        return len(self._parts) + 1


def refuse_archive(
    file: Path, tensors: Mapping[str, Declaration], manifest: str | None = None
) -> None:
    """Raise ValueError for what npz cannot hold.

    That is dtypes that NumPy lacks, whose bits would have no meaning, names that zip cannot hold,
    and the name of pyfq's own entry, if there is one.
    """
    for name, parts in tensors.items():
        for part, (word, _) in parts.items():
            if word not in WORDS.values():
                why = f"npz cannot hold {word}"
            elif not can_hold(part):
                why = "npz cannot hold this name"
            elif manifest is not None and part == KEY:
                why = "pyfq needs this name in an npz file"
            else:
                continue
            raise ValueError(f"{file}: tensor {shown(name)}: {why}; write .safetensors")
