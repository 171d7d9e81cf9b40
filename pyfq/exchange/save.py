"""Networks in safetensors files; `pyfq/exchange/network_format.py` is what stands in them."""

import os
from pathlib import Path

from .._core.check import shown
from .._core.text import small_letters
from ..io import FormatError, open_checkpoint, write_safetensors
from ..networks.foreign import as_network
from ..networks.network import Network
from .network_format import network_in, tensors_of


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a safetensors file, atomically.

    Weights are written in the form they have: arrays under their names in ``network.parameters``,
    those of 2 bytes as well, as BF16 or F16, `Quantized` and `RateQuantized` ones as ``pyfq
    compress`` writes them, `Sparse` ones as their parts. ``pyfq inspect``, ``compress`` and
    ``decompress`` take the file.

    Parameters
    ----------
    network : Network
        What to write.
    path : str or os.PathLike
        The target, which ends in ``.safetensors``; replaced when all is written.

    Raises
    ------
    TypeError
        If `network` is no `Network`, or its classes are neither strings nor numbers.
    ValueError
        If `path` does not end in ``.safetensors``.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_network : Read it back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from pyfq import quantize
    >>> network = Network.create((64, 32, 10)).map_weights(lambda w: quantize(w, 8))
    >>> x = np.ones((5, 64), np.float32)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "network.safetensors")
    ...     save_network(network, path)
    ...     again = load_network(path)
    >>> np.array_equal(again.forward(x), network.forward(x))
    True
    """
    as_network(network)
    path = Path(path)
    if path.suffix != ".safetensors":
        case = small_letters(path.suffix, (".safetensors",))
        raise ValueError(f"path must end in .safetensors{case}, not {shown(path.name)}")
    tensors, metadata, words = tensors_of(network)
    write_safetensors(path, tensors, metadata, dtypes=words)


def load_network(path: str | os.PathLike[str]) -> Network:
    """Read a network that `save_network` wrote.

    Also after ``pyfq compress`` or ``decompress``: layers whose weights were compressed have
    `Quantized`, `RateQuantized`, `Codebook` or `LowRank` ones, or arrays again. Any other tensor
    that a recipe compressed, such as a bias, becomes the floats that it stands for.

    Parameters
    ----------
    path : str or os.PathLike
        The file, or a directory with ``model.safetensors``, as ``pyfq compress`` makes it.

    Returns
    -------
    Network
        The same arrays, in memory of their own.

    Raises
    ------
    FormatError
        If the file is not safetensors or no network, or its parts do not fit each other; the
        message names it and says what was expected. It is a ValueError.
    OSError
        If the file cannot be opened.

    See Also
    --------
    save_network : Write it; with an example.
    from_arrays : A network of weights and biases from any other file.
    """
    with open_checkpoint(path) as checkpoint:
        try:
            return network_in(checkpoint)
        except FormatError:
            raise
        except (TypeError, ValueError) as e:
            raise FormatError(checkpoint.path, str(e)) from e
