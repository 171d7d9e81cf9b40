"""The samples, networks and outputs of a teacher that a command reads from files."""

import argparse
import csv
import errno
import io
import itertools
import os
import re
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import DTypeLike, NDArray

import pyfq
from pyfq._core import array_like
from pyfq._core.check import refuse_not_finite, shown
from pyfq._core.text import small_letters
from pyfq.cli import UsageError
from pyfq.cli._report import path_text
from pyfq.io import FormatError, open_checkpoint
from pyfq.io.regular import open_regular

#: What the epilog of every command that reads samples says of them.
FILES = """\
files of samples:
  FILE.npz    arrays x (samples, inputs) and y (samples,) or (samples, outputs), or X and Y; --x and
              --y name others. Further axes of x, as those of images, are taken as one.
  X.npy,Y.npy the same in two files; X.npy alone where y is not needed
  FILE.csv    a line for each sample, fields between commas. A first line without any number, or of
              0, 1, 2, ... as pandas numbers columns, names them, else they are called 0, 1, ... A
              first column without a name is an index, and left out. The last one is y, unless there
              are just as many as the network has inputs; --x and --y choose others:
              --y temperature,humidity
  Labels are integers or text, values to be learned are floats; 007 is text.
"""

# What others write between fields, and what it is called.
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

# Numbers that are in memory at a time where samples need not be all there.
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Samples:
    """What a file holds.

    Attributes
    ----------
    name : str
        What the command line calls it.
    x : (samples, inputs) array
        Real numbers of any dtype; maybe a memory map.
    y : (samples,) or (samples, outputs) array, or None
        int64 or text: labels; float64, or another float: values.
    """

    name: str
    x: NDArray
    y: NDArray | None


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which arrays or columns are read."""
    parser.add_argument(
        "--x",
        metavar="NAME",
        help="array of an npz file (default: x), or columns of a CSV file (default: all but y)",
    )
    parser.add_argument(
        "--y",
        metavar="NAME",
        help="array of an npz file (default: y), or columns of a CSV file (default: the last)",
    )


def read_network(path: Path) -> pyfq.Network:
    """Return the network of a file of pyfq or of ONNX, or of what ``pyfq compress`` made of one."""
    _refuse_missing(path)
    if path.suffix == ".onnx":
        open_regular(path).close()
        try:
            return pyfq.from_onnx(path)
        except FormatError:
            raise
        except (TypeError, ValueError) as e:
            raise FormatError(path, str(e)) from e
    if path.suffix == ".safetensors" or path.is_dir():
        return pyfq.load_network(path)
    case = small_letters(path.suffix, (".safetensors", ".onnx"))
    raise ValueError(f"{path}: a network is a .safetensors or .onnx file{case}")


def read_teacher(path: Path) -> pyfq.Network | NDArray:
    """Return a network, or the outputs that were kept of one."""
    return _read_outputs(path) if path.suffix in (".npy", ".npz") else read_network(path)


def files_of(word: str) -> list[Path]:
    """Return the files that a word of the command line names."""
    parts = word.split(",")
    several = len(parts) > 1 and all(part.endswith(".npy") for part in parts)
    return [Path(part) for part in parts] if several else [Path(word)]


def network_files(paths: Sequence[Path]) -> list[Path]:
    """Return files, and those that hold the weights of networks that are directories."""
    files = []
    for path in paths:
        if path.is_dir():
            with open_checkpoint(path) as checkpoint:
                files += checkpoint.files
        else:
            files.append(path)
    return files


def read_samples(word: str, args: argparse.Namespace, inputs: int) -> Samples:
    """Read samples.

    Parameters
    ----------
    word : str
        What the command line says: see `FILES`.
    args : Namespace
        With `x` and `y`, see `add_columns`.
    inputs : int
        Those of the network.

    Returns
    -------
    Samples
        At least one.

    Raises
    ------
    UsageError
        If options do not suit the file.
    ValueError, OSError
        If the file cannot be read, or holds something else.
    """
    if word.endswith(".csv"):
        x, y = _read_csv(Path(word), args, inputs)
    else:
        x, y = _read_arrays(word, args, with_y=True)
        y = None if y is None else _as_targets(y, word)
    x = _as_rows(x, word, inputs)
    if y is not None and len(y) != len(x):
        raise ValueError(f"{word}: y has {len(y)} samples, x has {len(x)}")
    return Samples(word, x, y)


def open_inputs(
    word: str, args: argparse.Namespace, inputs: int
) -> tuple[int | None, Iterator[NDArray]]:
    """Return the number of samples, if it is known before, and chunks of their inputs.

    The arguments are those of `read_samples`. Only a chunk is in memory, except of an npz file.
    """
    if word.endswith(".csv"):
        return None, (_as_rows(x, word, inputs) for x, _ in _csv_chunks(Path(word), args, inputs))
    step = _rows_of_chunk(inputs)
    x = _as_rows(_read_arrays(word, args, with_y=False)[0], word, inputs)
    if not isinstance(x, np.memmap):
        return len(x), (x[i : i + step] for i in range(0, len(x), step))
    # The pages of a map stay with the process once they are read: each chunk has a map of its own.
    path = files_of(word)[0]
    return len(x), (
        _as_rows(_load(path), word, inputs)[i : i + step] for i in range(0, len(x), step)
    )


def file_floats(x: NDArray, dtype: DTypeLike, name: str, what: str = "x") -> NDArray:
    """Return numbers from a file as the network takes them: of its dtype, finite, C-contiguous.

    Parameters
    ----------
    x : array
        The numbers.
    dtype : dtype
        The network's.
    name, what : str
        The file, and what it calls them, for errors.

    Returns
    -------
    array
        The same numbers, rounded to the dtype.

    Raises
    ------
    ValueError
        If one is not finite, as it is or in that dtype.
    """
    try:
        floats = array_like.as_floats(x, what, np.dtype(dtype))
        refuse_not_finite({what: floats})
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    return floats


def classifies(y: NDArray, loss: str | None, network: pyfq.Network | None) -> bool:
    """Return whether y is labels: what the network is for, or the loss, or else what y holds.

    Parameters
    ----------
    y : array
        As `Samples` has it.
    loss : str or None
        That was asked for.
    network : Network or None
        What there is already.

    Returns
    -------
    bool
        Whether the outputs of the network are those of classes.
    """
    if network is not None and network.classes is not None:
        if loss in ("mse", "huber"):
            raise UsageError(f"the network has classes, {loss} is a loss of values")
        return True
    if loss is not None:
        return loss == "cross_entropy"
    if network is not None and (network.output_mean is not None or network.sizes[-1] == 1):
        return False
    return y.dtype.kind != "f"


def file_classes(y: NDArray, outputs: int, name: str) -> NDArray:
    """Return what the outputs of a new network stand for: 0, 1, ..., or the labels there are."""
    y = file_labels(y, None, name) if y.dtype.kind == "f" else y
    found = np.unique(y)
    if y.dtype.kind == "i" and found[0] >= 0 and found[-1] < outputs:
        return np.arange(outputs)
    if len(found) != outputs:
        raise ValueError(
            f"{name}: y has {len(found)} different labels, the network has {outputs} outputs; "
            "numbers that are values are learned with the loss mse"
        )
    return found


def file_labels(y: NDArray, classes: NDArray | None, name: str) -> NDArray:
    """Return y as labels of the kind that the classes are of."""
    if y.dtype.kind == "f":
        with np.errstate(over="ignore"):
            whole = y.astype(np.float64)  # float16 has no 2**53, and long double more than floats
        if y.ndim != 1 or not ((whole == np.rint(whole)) & (np.abs(whole) <= 2**53)).all():
            raise ValueError(f"{name}: y must be labels, integers or text, not {y.dtype} {y.shape}")
        y = whole.astype(np.int64)
    is_text = classes is not None and np.asarray(classes).dtype.kind == "U"
    if is_text != (y.dtype.kind == "U"):
        kinds = ("numbers", "text")
        raise ValueError(
            f"{name}: y must be labels that are {kinds[is_text]}, as those of the network, "
            f"not {y.dtype}"
        )
    return y


def file_values(y: NDArray, network: pyfq.Network, name: str) -> NDArray:
    """Return y as values of each output."""
    if y.dtype.kind == "U":
        raise ValueError(f"{name}: y must be numbers, not text such as {shown(str(y[0]))}")
    y = file_floats(y, network.dtype, name, "y").reshape(len(y), -1)
    if y.shape[1] != network.sizes[-1]:
        raise ValueError(
            f"{name}: y has {y.shape[1]} values a sample, the network {network.sizes[-1]} outputs"
        )
    return y


def _read_outputs(path: Path) -> NDArray:
    """Return outputs (samples, outputs); in an npz file they are called so, or stand alone."""
    if path.suffix == ".npy":
        outputs = _load(path)
    else:
        with _damage_named(path), _open_npz(path) as file:
            names = file.files
            if "outputs" not in names and len(names) != 1:
                raise ValueError(f"expected an array 'outputs', or only one, not {shown(names)}")
            outputs = _member(file, "outputs" if "outputs" in names else names[0])
    if outputs.ndim == 1:
        outputs = outputs.reshape(-1, 1)
    if outputs.dtype.kind not in "fiu" or outputs.ndim != 2:
        raise FormatError(
            path, f"expected numbers (samples, outputs), not {outputs.dtype} {outputs.shape}"
        )
    return outputs


def _read_arrays(
    word: str, args: argparse.Namespace, *, with_y: bool
) -> tuple[NDArray, NDArray | None]:
    """Return x of an npz file or of .npy files, and y if it is wanted and there."""
    paths = files_of(word)
    if paths[0].suffix == ".npz":
        return _read_npz(paths[0], args, with_y=with_y)
    if paths[0].suffix != ".npy":
        _refuse_missing(paths[0])
        case = small_letters(paths[0].suffix, (".npz", ".csv", ".npy"))
        raise ValueError(f"{word}: samples are in a .npz or .csv file, or in X.npy,Y.npy{case}")
    if len(paths) > 2:
        raise UsageError(f"{word}: X.npy,Y.npy are two files, not {len(paths)}")
    if args.x is not None or args.y is not None:
        raise UsageError("--x and --y name arrays of an npz file or columns of a CSV file")
    x, *y = (_load(path) for path in paths)
    return x, y[0] if y else None


def _read_npz(
    path: Path, args: argparse.Namespace, *, with_y: bool
) -> tuple[NDArray, NDArray | None]:
    with _damage_named(path), _open_npz(path) as file:
        x, y = (args.x or _usual(file, "x"), args.y or _usual(file, "y"))
        with_y = with_y and (args.y is not None or y in file.files)
        return _member(file, x), _member(file, y) if with_y else None


def _usual(file: NpzFile, name: str) -> str:
    """Return x or y as the file spells it, small or, as scikit-learn does, large."""
    if name in file.files and name.upper() in file.files:
        raise ValueError(f"it holds {name} and {name.upper()}: --{name} says which to take")
    return name.upper() if name not in file.files and name.upper() in file.files else name


def _member(file: NpzFile, name: str) -> NDArray:
    if name not in file.files:
        raise ValueError(f"no array {shown(name)}, only {shown(file.files)}")
    array = file[name]
    if not isinstance(array, np.ndarray):  # NumPy gives the bytes of what is no array
        raise ValueError(f"member {shown(name)} is no array")
    return array


@contextmanager
def _open_npz(path: Path) -> Iterator[NpzFile]:
    with open_regular(path) as stream, NpzFile(stream) as file:
        yield file


def _load(path: Path) -> NDArray:
    """Return the array of a .npy file as a memory map."""
    open_regular(path).close()
    with _damage_named(path):
        try:
            with np.errstate(over="raise"):  # NumPy multiplies the extents as int64
                return np.lib.format.open_memmap(path, mode="r")
        except (ValueError, FloatingPointError) as e:
            if isinstance(e, ValueError) and "mmap length" not in str(e):
                raise
            raise ValueError("it is shorter than its header says: an unfinished copy?") from e


def _refuse_missing(path: Path) -> None:
    """Say that there is no such file before its name is found wrong."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what a damaged file makes NumPy and zipfile raise into `FormatError`."""
    try:
        yield
    except FormatError:
        raise
    except (
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
        tokenize.TokenError,
        SyntaxError,
        NotImplementedError,  # a zip feature that zipfile lacks
        RuntimeError,  # encrypted
        OverflowError,
    ) as e:
        raise FormatError(path, str(e) or type(e).__name__) from e


def _as_rows(x: NDArray, name: str, inputs: int) -> NDArray:
    """Return inputs as rows, one for each sample."""
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name}: x must be numbers, not {x.dtype}")
    if not x.ndim or not x.size:
        raise ValueError(f"{name}: x must hold at least one sample, not have shape {x.shape}")
    x = x.reshape(len(x), -1)
    if x.shape[1] != inputs:
        raise ValueError(f"{name}: a sample has {x.shape[1]} inputs, the network takes {inputs}")
    return x


def _as_targets(y: NDArray, name: str) -> NDArray:
    """Return labels as int64 or text, values as floats."""
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f":
        y = y[:, 0]
    kind = y.dtype.kind
    if kind not in "fiubU" or y.ndim not in (1, 2) or (kind != "f" and y.ndim != 1):
        raise ValueError(
            f"{name}: y must be labels (samples,), integers or text, or floats (samples,) or "
            f"(samples, outputs), not {y.dtype} {y.shape}"
        )
    if kind not in "iub":
        return y
    if y.size and int(y.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: y must be labels below 2**63, not {y.max()}")
    return y.astype(np.int64)


def _read_csv(path: Path, args: argparse.Namespace, inputs: int) -> tuple[NDArray, NDArray | None]:
    chunks, fields = [], []
    for x, its_fields in _csv_chunks(path, args, inputs):
        chunks.append(x)
        fields += its_fields
    x = np.concatenate(chunks) if chunks else np.empty((0, inputs))
    return x, _typed(fields, path) if fields and fields[0] else None


def _typed(fields: Sequence[Sequence[str]], path: Path) -> NDArray:
    """Return fields as integers if all are, else as floats, else, of one column, as text."""
    flat = [field.strip() for line in fields for field in line]
    shape = (len(fields), len(fields[0])) if len(fields[0]) > 1 else (len(fields),)
    if len(shape) == 1 and any(map(_is_code, flat)):
        return np.array(flat)
    for convert, dtype in ((int, np.int64), (float, np.float64)):
        if convert is int and len(shape) == 2:
            continue
        try:
            if not any("_" in field for field in flat):  # 1_000 is a number to Python only
                return np.array([convert(field) for field in flat], dtype).reshape(shape)
        except (ValueError, OverflowError):
            continue
    if len(shape) == 2:
        raise FormatError(path, "several columns of y must be numbers")
    return np.array(flat)


def _is_code(field: str) -> bool:
    """Tell whether digits are no number but a name, such as 007."""
    return re.fullmatch(r"0\d+", field) is not None


def _csv_chunks(
    path: Path, args: argparse.Namespace, inputs: int
) -> Iterator[tuple[NDArray[np.float64], list[list[str]]]]:
    """Yield the inputs of some lines, and their fields that are y."""
    with (
        io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as stream,
        _text_named(path),
    ):
        reader = csv.reader(stream)
        lines = ((reader.line_num, line) for line in reader if line)
        first = next(lines, None)
        if first is None:
            raise FormatError(path, "it is empty")
        width, names = len(first[1]), [field.strip() for field in first[1]]
        _refuse_other_separator(first[1], path)
        second = next(lines, None)
        lines = itertools.chain([] if second is None else [second], lines)
        has_names = _are_names(names, None if second is None else second[1])
        if not has_names:
            names = [str(i) for i in range(width)]
            lines = itertools.chain([first], lines)
        elif any(_is_number(field) for field in names):
            _remark(path, "the first line, which numbers the columns, is taken for their names")
        x_at, y_at = _columns(names, args, inputs, path)
        while chunk := list(itertools.islice(lines, _rows_of_chunk(width))):
            for number, line in chunk:
                if len(line) != width:
                    raise FormatError(
                        path, f"line {number} has {len(line)} fields, the first one has {width}"
                    )
            x = np.array([_floats(line, number, x_at, names, path) for number, line in chunk])
            yield x, [[line[i] for i in y_at] for _, line in chunk]


def _are_names(line: Sequence[str], second: Sequence[str] | None) -> bool:
    """Tell whether the first line names the columns.

    It does if it holds no number, or if its numbers are those of the columns, as pandas numbers
    columns without names: all of them, or all but names of columns of numbers.
    """
    numbers = [i for i, field in enumerate(line) if _is_number(field)]
    if any(line[i] != str(i) for i in numbers):
        return False
    others = [field for i, field in enumerate(second or ()) if i not in numbers]
    if len(numbers) < len(line):
        return not numbers or any(map(_is_number, others))
    return len(line) > 2 and second is not None


def _remark(path: Path, text: str) -> None:
    print(f"{path_text(path)}: {text}", file=sys.stderr)


def _refuse_other_separator(line: Sequence[str], path: Path) -> None:
    """Raise FormatError if the first line is one field, which holds other separators."""
    found = [name for mark, name in _SEPARATORS.items() if len(line) == 1 and mark in line[0]]
    if found:
        raise FormatError(
            path, f"expected commas between fields, the first line has {found[0]} and no comma"
        )


def _columns(
    names: Sequence[str], args: argparse.Namespace, inputs: int, path: Path
) -> tuple[list[int], list[int]]:
    """Return where x and y stand."""
    x, y = (_positions(word, names, path) for word in (args.x, args.y))
    last = len(names) - 1
    index = [0] if args.x is None and len(names) > 1 and names[0] == "" else []
    if index:
        _remark(path, "the first column, which has no name, is taken for an index and left out")
    if args.y is None and last not in x and (args.x is not None or last + 1 - len(index) != inputs):
        y = [last]
    if args.x is None:
        x = [i for i in range(len(names)) if i not in (*y, *index)]
    both = sorted(set(x) & set(y))
    if both:
        raise UsageError(f"column {shown(names[both[0]])} is named by --x and by --y")
    return x, y


def _positions(word: str | None, names: Sequence[str], path: Path) -> list[int]:
    """Return where the named columns stand."""
    wanted = [] if word is None else [name.strip() for name in word.split(",")]
    for name in wanted:
        if names.count(name) != 1:
            problem = "no column" if name not in names else "more than one column"
            raise FormatError(path, f"{problem} {shown(name)}; they are {shown(list(names))}")
    return [names.index(name) for name in wanted]


def _floats(
    line: Sequence[str], number: int, at: Sequence[int], names: Sequence[str], path: Path
) -> list[float]:
    try:
        if "_" not in "".join(line) or all(_is_number(line[i]) for i in at):
            return [float(line[i]) for i in at]
        raise ValueError
    except ValueError:
        i = next(i for i in at if not _is_number(line[i]))
        found = [name for mark, name in _SEPARATORS.items() if mark in line[i]]
        hint = f"; commas stand between fields, not {found[0]}" if found else ""
        raise FormatError(
            path, f"line {number}: {shown(names[i])} must be a number, not {shown(line[i])}{hint}"
        ) from None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # 1_000 is a number to Python only


@contextmanager
def _text_named(path: Path) -> Iterator[None]:
    """Turn what broken text raises into `FormatError`."""
    try:
        yield
    except UnicodeDecodeError as e:
        raise FormatError(path, f"expected text in UTF-8: {e.reason}") from e
    except csv.Error as e:
        raise FormatError(path, str(e)) from e


def _rows_of_chunk(width: int) -> int:
    return max(1, _CHUNK // max(width, 1))
