"""A checkpoint as what its tensors are: codes and scales, factors, streams, or arrays."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._core.array_like import refuse_overflow
from .._core.check import shown
from .._core.frozen import read_only, refuse_copies
from ..arrays.half import Half
from ..errors import located
from ..io.checkpoint import Checkpoint, open_checkpoint
from ..io.errors import FormatError
from .contents import Contents, read_contents
from .floats import widen
from .rule import FLOAT_WORDS
from .stored import COPY, Form, TensorPlan, decompress_tensor, restore_tensor, stored_word

# Of bfloat16: set in NaN and infinities alone.
_EXPONENT = np.uint16(0x7F80)


def load_checkpoint(path: str | os.PathLike[str]) -> "CompressedCheckpoint":
    """Open a checkpoint, compressed or not, as a lazy mapping from names to tensors.

    Parameters
    ----------
    path : str or os.PathLike
        What ``pyfq compress`` wrote, or any other checkpoint: a ``.safetensors`` or ``.npz`` file,
        an ``.index.json`` of shards, or a directory, as `pyfq.io.open_checkpoint` takes them.

    Returns
    -------
    CompressedCheckpoint
        Each tensor in the form that it has in the file, read when it is asked for.

    Raises
    ------
    FormatError
        A file breaks the rules of its format, or does not hold what it says; a ValueError that
        names the file. Headers are read at once; what data breaks is found when its tensor is
        asked for.
    OSError
        A file does not exist, or cannot be opened.

    See Also
    --------
    pyfq.io.open_checkpoint : The arrays as they stand in the files.
    load_network : A network that `save_network` wrote.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pyfq
    >>> from pyfq.cli import main
    >>> from pyfq.io import write_safetensors
    >>> w = np.random.default_rng(0).standard_normal((64, 128), np.float32)
    >>> with tempfile.TemporaryDirectory() as directory:  # doctest: +ELLIPSIS
    ...     source, small = Path(directory, "w.safetensors"), Path(directory, "small.safetensors")
    ...     write_safetensors(source, {"a.weight": w, "a.bias": np.zeros(64, np.float32)})
    ...     _ = main(["compress", str(source), "-o", str(small), "--bits", "8"])
    ...     with pyfq.load_checkpoint(small) as checkpoint:
    ...         q, dense = checkpoint["a.weight"], checkpoint.dense("a.weight")
    tensor ...
    >>> type(q).__name__, q.shape, q.bits, dense.dtype
    ('Quantized', (64, 128), 8, dtype('float32'))
    >>> np.array_equal(dense, q.dequantize())
    True
    """
    checkpoint = open_checkpoint(path)
    try:
        return CompressedCheckpoint(checkpoint, read_contents(checkpoint))
    except BaseException:
        checkpoint.close()
        raise


class CompressedCheckpoint(Mapping[str, Form | Half]):
    """An open checkpoint of tensors in the forms that they have; `load_checkpoint` makes it.

    A tensor is what ``checkpoint[name]`` returns: `pyfq.Quantized`, `pyfq.Codebook`,
    `pyfq.RateQuantized`, `pyfq.LowRank`, or an array where it was copied, rounded to another dtype,
    or packed without loss. BF16, for which NumPy has no dtype, is a `pyfq.Half`. Factors of a stack
    of matrices are a form with `u`, `v`, `residual` and ``toarray()``. Arrays refuse writes.
    Kernels ``(out, in, ...)`` have the shape of their rows, ``(out, in * ...)``, where they are
    compressed.

    Attributes
    ----------
    path : Path
        The file or index that was opened.
    files : tuple of Path
        The files that hold the tensors.
    dtypes : dict of str to str
        The safetensors dtype word of each tensor, before compression.
    shapes : dict of str to tuple of int
        Its shape before compression.
    methods : dict of str to str
        What was done to each in a few words, as "int4 symmetric per 64"; "copy" if nothing.
    nbytes : int
        Bytes of all tensors in the files.
    """

    def __init__(self, checkpoint: Checkpoint, contents: Contents) -> None:
        self.path = checkpoint.path
        self.files = checkpoint.files
        self._checkpoint = checkpoint
        self._contents = contents
        self._tensors = tensors = contents.tensors
        self.dtypes = {name: tensor.word for name, tensor in tensors.items()}
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.methods = {name: str(tensor.rule or COPY) for name, tensor in tensors.items()}
        self.nbytes = sum(tensor.nbytes_after for tensor in tensors.values())

    # Of two that are open none is the other, and their arrays are not compared.
    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __reduce__ = refuse_copies("load_checkpoint")

    def __getitem__(self, name: str) -> Form | Half:
        """Return a tensor in the form that it has; float32 for BF16 with NaN or infinities.

        Raises
        ------
        KeyError
            There is no such tensor.
        FormatError
            Its parts hold what they cannot.
        """
        tensor = self._tensors[name]
        with self._naming(tensor):
            form = restore_tensor(tensor, self._parts(tensor))
            if not isinstance(form, np.ndarray):
                return form
            if _word_of(tensor) == "BF16":
                bits = np.ascontiguousarray(form.view(np.uint16))
                if ((bits & _EXPONENT) == _EXPONENT).any():
                    return read_only(widen(bits, "BF16").reshape(tensor.shape))
                return Half(bits, "bfloat16")
            return read_only(form.reshape(tensor.shape))

    def dense(self, name: str, dtype: DTypeLike = None) -> NDArray:
        """Return the numbers that a tensor stands for, in the shape that it had.

        Parameters
        ----------
        name : str
            The tensor.
        dtype : dtype, optional
            A dtype of floats (default: that of the tensor; for BF16 float32).

        Returns
        -------
        array
            The numbers. Integers and booleans have the dtype of the file, and so do bits of floats
            of 8 bits and less, which NumPy has no dtype for.

        Raises
        ------
        KeyError
            There is no such tensor.
        FormatError
            Its parts hold what they cannot.
        TypeError
            `dtype` is not one of floats, or the tensor holds none.
        ValueError
            A finite number is beyond the largest of `dtype`.
        """
        tensor = self._tensors[name]
        wanted = None if dtype is None else np.dtype(dtype)
        is_float = tensor.word in FLOAT_WORDS
        if wanted is not None and not (is_float and wanted.kind == "f"):
            raise TypeError(
                f"dtype must be one of floats, of a tensor of floats, not {wanted} of a tensor of "
                f"{tensor.word}"
            )
        with self._naming(tensor):
            values = decompress_tensor(tensor, self._parts(tensor)).reshape(tensor.shape)
        if tensor.word == "BF16" or (tensor.word == "F16" and wanted not in (None, values.dtype)):
            values = widen(np.ascontiguousarray(values), tensor.word)
        if wanted is None:
            return read_only(values)
        with np.errstate(over="ignore"):
            floats = values.astype(wanted, copy=False)
        refuse_overflow(values, floats, name)
        return read_only(floats)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the tensors, file by file."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a tensor of that name, without reading it."""
        return name in self._tensors

    def __repr__(self) -> str:
        """Return where it was opened, and how much it holds, in a line."""
        compressed = sum(tensor.rule is not None for tensor in self._tensors.values())
        return (
            f"CompressedCheckpoint({str(self.path)!r}: {len(self)} tensors, {compressed} "
            f"compressed, {self.nbytes} bytes)"
        )

    def close(self) -> None:
        """Close all files; tensors that were read stay."""
        self._checkpoint.close()

    def __enter__(self) -> Self:
        """Return the checkpoint itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files."""
        self.close()

    def _parts(self, tensor: TensorPlan) -> dict[str, NDArray]:
        return {part: self._checkpoint[part] for part in tensor.parts}

    @contextmanager
    def _naming(self, tensor: TensorPlan) -> Iterator[None]:
        """Let a refusal of what a tensor holds name the file and the tensor."""
        file = self._contents.file_of[next(iter(tensor.parts))]
        with located(f"{file}: tensor {shown(tensor.name)}"):
            try:
                yield
            except FormatError:
                raise
            except ValueError as e:
                raise FormatError(file, f"tensor {shown(tensor.name)}: {e}") from e


def _word_of(tensor: TensorPlan) -> str:
    """Return the word of floats that stand in the file, or in a stream that packs them."""
    return tensor.word if tensor.rule is None else stored_word(tensor.word, tensor.rule)
