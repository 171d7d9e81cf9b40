"""Exceptions, and the meaning of every status code (`fortran/fq_status.f90`)."""

STATUS = {
    1: ("FQ_NO_MEMORY", "a workspace could not be allocated"),
    2: ("FQ_NOT_FINITE", "an input holds NaN or Inf"),
}
NOT_FINITE = 2


class FqError(RuntimeError):
    """A Fortran kernel reported a failure.

    Attributes
    ----------
    info : int
        The status code.

    Examples
    --------
    >>> print(FqError("select_groups", 1))
    select_groups: a workspace could not be allocated (FQ_NO_MEMORY, info=1)
    """

    def __init__(self, routine: str, info: int):
        name, meaning = STATUS.get(info, ("FQ_UNKNOWN", "unknown status"))
        super().__init__(f"{routine}: {meaning} ({name}, info={info})")
        self.info = info
