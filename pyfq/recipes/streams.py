"""Tensors in streams that were made to see how many bytes they take, until they are written."""

from pyfq.arrays.rate import RateQuantized
from pyfq.exchange.methods.coded import Coded
from pyfq.exchange.methods.lossless import Packed


class Streams:
    """The last codes made of tensors, as many as fit.

    What is not there is made again, and is the same.

    Parameters
    ----------
    most : int
        Bytes that they may take together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, RateQuantized | Packed] = {}
        self._bytes = 0

    def keep(self, name: str, made: RateQuantized | Packed) -> None:
        """Keep the codes of a tensor, in place of those that were there; not if they do not fit."""
        before = self._held.pop(name, None)
        self._bytes -= 0 if before is None else before.nbytes
        if self._bytes + made.nbytes <= self._most:
            self._held[name] = made
            self._bytes += made.nbytes

    def take(self, name: str, coded: Coded | None) -> RateQuantized | Packed | None:
        """Return the codes of a tensor that turned out to be this, and forget them; or None."""
        made = self._held.pop(name, None)
        if made is None:
            return None
        self._bytes -= made.nbytes
        same = coded is not None and (made.step, made.stream.size) == (coded.step, coded.nbytes)
        return made if same else None
