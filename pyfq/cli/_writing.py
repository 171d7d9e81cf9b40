"""How ``compress`` and ``decompress`` write: beside -o, with a journal, all or nothing."""

import argparse
import filecmp
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from pyfq import FqError, __version__
from pyfq.cli._destination import (
    README,
    Contents,
    Destination,
    Parts,
    contents_of,
    hidden_by,
    makes_config,
    refuse_archive,
    refuse_config_of_another,
    refuse_existing,
    refuse_overlap,
    stale_files,
)
from pyfq.cli._journal import Journal, resumed
from pyfq.cli._model_config import CONFIG
from pyfq.cli._opening import packed_of, quantization_of, readme
from pyfq.cli._report import path_text
from pyfq.cli._signals import interrupting
from pyfq.cli._source import Source, text_bytes
from pyfq.cli._streams import one_line
from pyfq.exchange.compressed_tensors import Declaration, file_order
from pyfq.exchange.manifest import KEY, write_manifest
from pyfq.exchange.stored import TensorPlan
from pyfq.io import FormatError, NpzFile, SafetensorsFile, disk, open_npz, open_safetensors
from pyfq.io.atomic import DiskFile, buffered
from pyfq.io.dtypes import nbytes_of
from pyfq.io.header import encode_header, lay_out
from pyfq.io.npz import archive_nbytes, write_archive
from pyfq.io.safetensors_writer import TensorStream
from pyfq.io.staging import Staging, commit, created, discard, place, refuse_unknown, staged

_CHUNK = 1 << 20  # bytes
_SAMPLE = 1 << 26  # bytes of tensors that are made again to see whether a destination is theirs


def add_writing_arguments(group: argparse._ActionsContainer) -> None:
    """Add the options that say what may be there already."""
    add = group.add_argument
    add("--force", action="store_true", help="replace what is at DST")
    add("--resume", action="store_true", help="go on with an interrupted run")
    add(
        "--break-lock",
        action="store_true",
        help="write although a process of another machine seems to; be sure that it is gone",
    )


class Work(Protocol):
    """What a command makes of the tensors of its source."""

    def declare(self, journal: Journal | None) -> dict[str, TensorPlan]:
        """Return what becomes of each tensor, by name; a journal knows what data told before."""

    def make(self, tensor: TensorPlan, journal: Journal | None) -> dict[str, NDArray]:
        """Return the arrays of the parts of a tensor, and note in a journal what was done."""


class Written(NamedTuple):
    """What `write_checkpoint` did.

    Attributes
    ----------
    tensors : dict of str to TensorPlan
        What became of each tensor.
    journal : Journal or None
        That of the run, closed; None if the destination was complete already.
    removed : list of Path
        What was there of an older version of the model: weights under other names, pyfq's README.
    """

    tensors: dict[str, TensorPlan]
    journal: Journal | None
    removed: list[Path]


def removed_line(removed: Sequence[Path]) -> str:
    """Return the line of a report that says what was removed, "" if nothing was."""
    return f"\nremoved: {', '.join(map(path_text, removed))}" if removed else ""


def write_checkpoint(
    args: argparse.Namespace,
    source: Source,
    destination: Destination,
    settings: Mapping[str, Any],
    work: Work,
) -> Written:
    """Write what becomes of a source, all of it or nothing.

    Parameters
    ----------
    args : argparse.Namespace
        Those of the command, with what `add_writing_arguments` adds.
    source : Source
        What is read.
    destination : Destination
        What is written.
    settings : mapping
        What a run that goes on with an interrupted one must have as well, besides files.
    work : Work
        What becomes of the tensors.

    Returns
    -------
    Written
        What was done.
    """
    identity = source.identity()
    settings = {"command": args.command, "version": __version__, "source": identity, **settings}
    settings |= {"files": [str(file.relative_to(destination.root)) for file in destination.files]}
    with _locked(destination, args) as staging:
        if args.resume and destination.exists and not _is_interrupted(staging):
            tensors = work.declare(None)
            make = partial(_make, work, tensors, None)
            if not _is_complete(source, destination, tensors, make):
                _refuse_another(destination)
            return Written(tensors, None, [])
        with _running(staging, destination, settings, args) as journal:
            tensors = work.declare(journal)
            make = partial(_make, work, tensors, journal)
            files, metadata, contents = _files_of(source, destination, tensors)
            _write_files(staging, destination, files, make, metadata, journal)
            _write_contents(staging, contents)
            removed = _take_place(staging, destination, contents, source, identity)
    if (remark := hidden_by(destination)) is not None:
        print(f"pyfq {args.command}: {one_line(remark)}", file=sys.stderr)
    return Written(tensors, journal, removed)


def _make(
    work: Work, tensors: Mapping[str, TensorPlan], journal: Journal | None, name: str
) -> dict[str, NDArray]:
    return work.make(tensors[name], journal)


def _files_of(
    source: Source, destination: Destination, tensors: Mapping[str, TensorPlan]
) -> tuple[dict[Path, dict[str, Declaration]], dict[Path, dict[str, str]], Contents]:
    """Return what the tensors of each file become, its metadata, and the files without tensors."""
    compressed = any(tensor.rule is not None for tensor in tensors.values())
    quantization = quantization_of(destination, tensors.values())
    made = [CONFIG] if makes_config(destination, quantization) else []
    explains = destination.is_explained and bool(packed_of(tensors.values()))
    made += [README] if explains else []
    files, metadata = {}, {}
    for file, names in destination.files.items():
        files[file] = {name: tensors[name].parts for name in names}
        metadata[file] = source.metadata_of([source.tensors[name] for name in names])
        if compressed:
            plans = [tensors[name] for name in names]
            metadata[file][KEY] = write_manifest(plans, __version__, made)
    contents = contents_of(destination, files, quantization)
    if explains:
        contents[Path(README)] = readme(tensors.values())
    return files, metadata, contents


def nbytes_of_files(
    source: Source, destination: Destination, tensors: Mapping[str, TensorPlan]
) -> int:
    """Return the bytes of the files of weights, headers counted, that tensors would become."""
    total = 0
    files, metadata, _ = _files_of(source, destination, tensors)
    for file, its_tensors in files.items():
        order = file_order(list(its_tensors.values()))
        if destination.is_archive:
            manifest = metadata[file].get(KEY)
            order |= {} if manifest is None else {KEY: ("U8", text_bytes(manifest).shape)}
            total += archive_nbytes(order)
        else:
            total += len(encode_header(lay_out(order), metadata[file] or None))
            total += sum(nbytes_of(*declared) for declared in order.values())
    return total


@contextmanager
def _locked(destination: Destination, args: argparse.Namespace) -> Iterator[Staging]:
    """Exclude other writers of a destination for the length of a block."""
    with (
        interrupting(signal.SIGTERM, signal.SIGHUP),
        staged(
            destination.target, is_file=destination.is_file, break_lock=args.break_lock
        ) as staging,
    ):
        if not _is_interrupted(staging):
            refuse_unknown(staging, destination.names)
            discard(staging)  # what is left of a run that was given up
        yield staging


def _is_interrupted(staging: Staging) -> bool:
    """Return whether there is a run to go on with."""
    return os.path.lexists(staging.journal)


@contextmanager
def _running(
    staging: Staging,
    destination: Destination,
    settings: Mapping[str, Any],
    args: argparse.Namespace,
) -> Iterator[Journal]:
    """Yield the journal of a run, begun or gone on with.

    After an error that would come again nothing is left; after any other, and an interrupt, what
    was done stays for ``--resume``.
    """
    with _told_to_resume(staging):
        journal = _journal_of(staging, destination, settings, args)
        with _kept(staging, journal):
            yield journal


@contextmanager
def _told_to_resume(staging: Staging) -> Iterator[None]:
    """Let an interrupt say what goes on, once there is a journal."""
    try:
        yield
    except KeyboardInterrupt:
        if not _is_interrupted(staging):
            raise
        raise KeyboardInterrupt("; the same command with --resume goes on") from None


@contextmanager
def _kept(staging: Staging, journal: Journal) -> Iterator[None]:
    """Keep what was done in a block that fails, if it may succeed another time."""
    try:
        yield
    except (ValueError, FqError):
        with disk.naming(staging.asked):
            discard(staging)
        raise
    except OSError as e:
        if e.errno is None:
            raise
        hint = f"{e.strerror}; --resume goes on when that is mended"
        raise OSError(e.errno, hint, e.filename) from e
    finally:
        with suppress(OSError):
            journal.flush()
        journal.close()


def _write_files(
    staging: Staging,
    destination: Destination,
    files: Mapping[Path, Mapping[str, Declaration]],
    make: Callable[[str], dict[str, NDArray]],
    metadata: Mapping[Path, Mapping[str, str]],
    journal: Journal,
) -> None:
    """Write the files of tensors, each tensor made when its turn comes.

    Parameters
    ----------
    staging : Staging
        Where they wait for each other.
    destination : Destination
        What they are of.
    files : mapping of Path to mapping of str to Declaration
        What each tensor of each file becomes.
    make : callable
        Returns the arrays that a tensor becomes.
    metadata : mapping of Path to mapping of str to str
        The metadata of each file; of an npz file, which has none, only pyfq's own entry.
    journal : Journal
        What is done already, and where more is noted.
    """
    for file, its_tensors in files.items():
        name, parts = file.relative_to(destination.root), Parts(its_tensors, make)
        if destination.is_archive:
            manifest = metadata[file].get(KEY)
            refuse_archive(file, its_tensors, manifest)
            with created(staging, name) as raw, buffered(raw) as stream:
                write_archive(stream, staging.asked, parts.with_manifest(manifest))
        else:
            order = file_order(list(its_tensors.values()))
            with _opened(staging, name) as raw:
                stream = TensorStream(raw, file, order, metadata[file] or None)
                _write_tensors(stream, raw, name, parts, journal)


def _write_contents(staging: Staging, contents: Contents) -> None:
    """Write the files that hold no tensors."""
    for name, content in contents.items():
        with created(staging, name) as copy:
            if isinstance(content, bytes):
                copy.write_all(content)
                continue
            with content.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    copy.write_all(chunk)


def _take_place(
    staging: Staging, destination: Destination, contents: Contents, source: Source, identity: object
) -> list[Path]:
    """Let everything that was written take its place, and return what is removed with that.

    The source must be what it was.
    """
    if source.identity() != identity:
        raise ValueError(f"{source.path} has changed since it was opened: nothing was written")
    refuse_overlap(source, destination)  # the target may have changed, too
    refuse_config_of_another(destination, contents.get(Path(CONFIG)))
    files = [file.relative_to(destination.root) for file in destination.files]
    stale = sorted(stale_files(destination, contents))
    commit(staging, [*files, *contents], [file.relative_to(destination.root) for file in stale])
    return stale


def _is_complete(
    source: Source,
    destination: Destination,
    tensors: Mapping[str, TensorPlan],
    make: Callable[[str], dict[str, NDArray]],
) -> bool:
    """Return whether a destination is what a run would write.

    All names, dtypes, shapes, metadata and files beside the weights must be the same, and so must
    the bytes of the smallest tensors, which are made again, up to 64 MB of the source.
    """
    declared, metadata, contents = _files_of(source, destination, tensors)
    if any(file.exists() for file in stale_files(destination, contents)):
        return False
    if not all(_holds(destination.root / name, content) for name, content in contents.items()):
        return False
    with suppress(FormatError, OSError), ExitStack() as stack:
        open_file = open_npz if destination.is_archive else open_safetensors
        files = {file: stack.enter_context(open_file(file)) for file in declared}
        for file, its_tensors in declared.items():
            if not _is_declared(files[file], its_tensors, metadata[file]):
                return False
        owner = {name: files[file] for file, names in declared.items() for name in names}
        seen = 0
        for name in sorted(owner, key=lambda name: tensors[name].nbytes):
            for part, array in make(name).items():
                if owner[name][part].tobytes() != array.tobytes():
                    return False
            seen += tensors[name].nbytes
            if seen > _SAMPLE:
                break
        return True
    return False


def _refuse_another(destination: Destination) -> None:
    """Refuse to go on with a run that is not there, over something else."""
    raise ValueError(
        f"{destination.path} exists, there is no interrupted run, and it is not what this command "
        "writes: --force replaces it"
    )


def _journal_of(
    staging: Staging,
    destination: Destination,
    settings: Mapping[str, Any],
    args: argparse.Namespace,
) -> Journal:
    # As it reads when it comes back: tuples become lists.
    settings = json.loads(json.dumps(settings))
    if _is_interrupted(staging) and not (args.resume or args.force):
        raise ValueError(
            f"{destination.path}: an interrupted run: --resume goes on with it, --force begins anew"
        )
    if _is_interrupted(staging) and args.resume:
        journal = resumed(staging, settings)
        if journal is None and destination.exists:
            raise ValueError(
                f"{destination.path} exists, and the journal of the interrupted run is damaged: "
                "whether it may be replaced is not known; --force replaces it"
            )
        refuse_existing(destination, force=journal is not None and journal.replaces)
        if journal is not None:
            return journal
        print(
            f"pyfq {args.command}: the journal of the interrupted run is damaged: begun anew",
            file=sys.stderr,
        )
    else:
        refuse_existing(destination, force=args.force)
    with disk.naming(staging.asked):
        discard(staging)
    try:
        return Journal(staging, settings, None, replaces=args.force)
    except OSError:
        with suppress(OSError):
            discard(staging)  # a journal that says nothing is no run to go on with
        raise


def _opened(staging: Staging, name: Path) -> DiskFile:
    """Open a file that was begun, or a new one."""
    path = place(staging, name)
    with disk.naming(staging.asked):
        fd = disk.reopen(path) if os.path.lexists(path) else disk.create(path)
    return DiskFile(fd, staging.asked)


def _write_tensors(
    stream: TensorStream, file: DiskFile, name: Path, parts: Parts, journal: Journal
) -> None:
    try:
        stream.resume(checksums=journal.written.get(str(name), []))
    except FormatError:  # damaged: the journal knows that it was begun with this header
        file.truncate(0)
        stream.resume(completed=0)
    journal.begin_file(name, stream.completed)
    try:
        for part in stream.remaining:
            array = parts[part]
            journal.add_written(stream.write(part, array), array.nbytes)
            if journal.is_due():
                file.sync()
                journal.flush(name)
    except BaseException:
        with suppress(OSError):
            file.sync()
            journal.flush(name)
        raise
    file.sync()
    journal.flush(name)


def _holds(file: Path, content: bytes | Path) -> bool:
    with suppress(OSError):
        if isinstance(content, bytes):
            return file.read_bytes() == content
        return filecmp.cmp(file, content, shallow=False)
    return False


def _is_declared(
    checkpoint: NpzFile | SafetensorsFile,
    tensors: Mapping[str, Declaration],
    metadata: Mapping[str, str],
) -> bool:
    declared: Declaration = {}
    for parts in tensors.values():
        declared |= parts
    if isinstance(checkpoint, NpzFile) and KEY in metadata:
        manifest = text_bytes(metadata[KEY])
        declared[KEY] = ("U8", manifest.shape)
        if KEY not in checkpoint or checkpoint[KEY].tobytes() != manifest.tobytes():
            return False
    elif checkpoint.metadata != dict(metadata):
        return False
    found = {name: (word, checkpoint.shapes[name]) for name, word in checkpoint.dtypes.items()}
    return found == {name: (word, tuple(shape)) for name, (word, shape) in declared.items()}
