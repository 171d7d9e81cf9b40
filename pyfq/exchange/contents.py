"""The tensors that the names in an open checkpoint stand for, compressed ones among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .._core.check import shown
from ..io.checkpoint import Checkpoint
from ..io.errors import FormatError
from .manifest import KEY, read_made, read_manifest
from .stored import TensorPlan, copied


@dataclass(frozen=True)
class Contents:
    """What `read_contents` found.

    Attributes
    ----------
    words, shapes : mapping of str to str, to tuple of int
        Dtype word and shape of each name in the files, without pyfq's own entry.
    file_of : mapping of str to Path
        The file of each.
    metadata : dict of Path to dict of str to str
        That of each file, without pyfq's own entry.
    made : set of str
        Files beside the weights that pyfq made up when it compressed them.
    tensors : dict of str to TensorPlan
        The tensors that the names stand for: where pyfq compressed one, its parts are the names;
        any other is its own part, of format "copy".
    """

    words: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    file_of: Mapping[str, Path]
    metadata: dict[Path, dict[str, str]]
    made: set[str]
    tensors: dict[str, TensorPlan]


def read_contents(checkpoint: Checkpoint) -> Contents:
    """Return what an open checkpoint holds; no data is read.

    Raises
    ------
    FormatError
        What a file says of its tensors is not what is there.
    """
    words, shapes, file_of = checkpoint.dtypes, checkpoint.shapes, checkpoint.file_of
    metadata = {file: dict(checkpoint.metadata_of[file]) for file in checkpoint.files}
    texts = {file: entries.pop(KEY) for file, entries in metadata.items() if KEY in entries}
    if checkpoint.path.suffix == ".npz" and words.get(KEY) == "U8":
        texts[checkpoint.path] = checkpoint[KEY].tobytes().decode("utf-8", "replace")
        words, shapes, file_of = (
            {name: value for name, value in about.items() if name != KEY}
            for about in (words, shapes, file_of)
        )
    compressed: dict[str, TensorPlan] = {}
    made: set[str] = set()
    for file, text in texts.items():
        try:
            described = read_manifest(text)
        except ValueError as e:
            raise FormatError(file, str(e)) from e
        made |= set(read_made(text))
        for name, tensor in described.items():
            if name in compressed:
                raise FormatError(file, f"tensor {shown(name)} is in another file, too")
            _refuse_other(file, tensor, words, shapes, file_of)
            compressed[name] = tensor
    tensors = _gather(compressed, words, shapes, file_of)
    return Contents(words, shapes, file_of, metadata, made, tensors)


def _refuse_other(
    file: Path,
    tensor: TensorPlan,
    words: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    file_of: Mapping[str, Path],
) -> None:
    """Raise FormatError if a part of a tensor is missing, or has another dtype or shape."""
    for part, (word, shape) in tensor.parts.items():
        here = file_of.get(part) == file
        if not here or (words[part], shapes[part]) != (word, shape):
            found = f"got {words[part]} {list(shapes[part])}" if here else "it is missing"
            raise FormatError(
                file,
                f"tensor {shown(part)} of {shown(tensor.name)}: "
                f"expected {word} {list(shape)}, {found}",
            )


def _gather(
    compressed: Mapping[str, TensorPlan],
    words: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    file_of: Mapping[str, Path],
) -> dict[str, TensorPlan]:
    owner: dict[str, str] = {}
    for tensor in compressed.values():
        for part in tensor.parts:
            if owner.setdefault(part, tensor.name) != tensor.name:
                raise FormatError(
                    file_of[part],
                    f"entry {KEY!r}: {shown(part)} is a part both of {shown(owner[part])} "
                    f"and of {shown(tensor.name)}",
                )
    tensors: dict[str, TensorPlan] = {}
    for part, word in words.items():
        if part in owner:
            tensors[owner[part]] = compressed[owner[part]]
            continue
        if part in compressed:
            raise FormatError(
                file_of[part], f"tensor {shown(part)} stands there both as it was and compressed"
            )
        tensors[part] = copied(part, word, shapes[part])
    return tensors
