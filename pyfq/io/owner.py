"""Who writes: a process, told from every other one that had or will have its number."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

_MOST_PID = 2**31 - 1


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes
    ----------
    host : str
        The machine.
    space : str
        The numbering of its processes: containers on one machine have their own.
    pid : int
        The number of the process there.
    start : str or None
        When it began: the boot of the machine, and clock ticks since; None if the system does not
        say. A process that was given the number later has another one.
    """

    host: str
    space: str
    pid: int
    start: str | None

    def __str__(self) -> str:
        """Return how messages name it."""
        return f"{self.host}, pid {self.pid}"


def this_process() -> Owner:
    """Return the process that asks."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 -- no file has this name
    except OSError:
        space = ""
    pid = os.getpid()
    return Owner(os.uname().nodename, space, pid, _state_of(pid)[1])


def is_alive(owner: Owner) -> bool | None:
    """Return whether a process runs; None if that cannot be told from here."""
    here = this_process()
    if (owner.host, owner.space) != (here.host, here.space):
        return None
    if owner == here:
        return True
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    state, start = _state_of(owner.pid)
    if start is None or owner.start is None:
        return None
    return start == owner.start and state not in ("Z", "X")


def owner_text(owner: Owner) -> str:
    """Return what `read_owner` reads: a line of JSON."""
    return json.dumps(asdict(owner)) + "\n"


def read_owner(text: str) -> Owner | None:
    """Return the process that a text names; None if it names none."""
    try:
        fields = json.loads(text)
        owner = Owner(*(fields[name] for name in ("host", "space", "pid", "start")))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    words = isinstance(owner.host, str) and isinstance(owner.space, str)
    number = type(owner.pid) is int and 0 < owner.pid <= _MOST_PID
    start = owner.start is None or isinstance(owner.start, str)
    return owner if words and number and start else None


def _state_of(pid: int) -> tuple[str, str | None]:
    """Return the state of a process and when it began, as Linux tells it in ``/proc``."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        # Behind the command, which may itself hold blanks and parentheses, from field 3 on.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], f"{boot}.{fields[19]}"
    except (OSError, IndexError):
        return "", None
