"""Exceptions, and the meaning of every status code (`fortran/base/fq_status.f90`)."""

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

    Attributes
    ----------
    routine, info
        As given.

    Examples
    --------
    >>> print(FqError("select_groups", 1))
    select_groups: a workspace could not be allocated (FQ_NO_MEMORY, info=1)
    """

    def __init__(self, routine: str, info: int):
        name, meaning = STATUS.get(info, ("FQ_UNKNOWN", "unknown status"))
        super().__init__(f"{routine}: {meaning} ({name}, info={info})")
        self.routine = routine
        self.info = info

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        """Copy and pickle what the error was made of: so it comes back from a worker process."""
        return type(self), (self.routine, self.info)
