"""Exceptions, and the meaning of every status code (`fortran/base/fq_status.f90`)."""

from collections.abc import Iterator
from contextlib import contextmanager

STATUS = {
    1: ("FQ_NO_MEMORY", "a workspace could not be allocated"),
    2: ("FQ_NOT_FINITE", "an input holds NaN or Inf"),
    3: ("FQ_NOT_FITTING", "extents are negative, or arrays do not fit each other"),
    4: ("FQ_NOT_KNOWN", "a code, such as that of an activation, or a number is not one there is"),
    5: ("FQ_NOT_GIVEN", "a pointer to an array is null"),
}
NOT_FINITE = 2


class FqError(RuntimeError):
    """A Fortran kernel reported a failure.

    Parameters
    ----------
    routine : str
        What failed.
    info : int
        The status code.
    where : str
        The file, the tensor: what the message begins with, if anything.

    Attributes
    ----------
    routine, info, where
        As given.

    Examples
    --------
    >>> print(FqError("select_groups", 1))
    select_groups: a workspace could not be allocated (FQ_NO_MEMORY, info=1)
    """

    def __init__(self, routine: str, info: int, where: str = ""):
        name, meaning = STATUS.get(info, ("FQ_UNKNOWN", "unknown status"))
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{routine}: {meaning} ({name}, info={info})")
        self.routine = routine
        self.info = info
        self.where = where

    def __reduce__(self) -> tuple[type, tuple[str, int, str]]:
        """Copy and pickle what the error was made of: so it comes back from a worker process."""
        return type(self), (self.routine, self.info, self.where)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Let a failure of a kernel, of memory or of arithmetic in the block say where it was.

    Examples
    --------
    >>> with located("w.npz"):
    ...     raise MemoryError
    Traceback (most recent call last):
    MemoryError: w.npz: there is not enough memory
    """
    try:
        yield
    except FqError as e:
        place = f"{where}: {e.where}" if e.where else where
        raise FqError(e.routine, e.info, place) from e
    except MemoryError as e:
        raise MemoryError(f"{where}: {str(e) or 'there is not enough memory'}") from e
    except FloatingPointError as e:
        raise FloatingPointError(f"{where}: {e}") from e
