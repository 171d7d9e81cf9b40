"""What the system lets this process have: shares of the processors, and threads."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")

# Either lifts the limit on the processes of a user.
CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 21, 24
# Bytes of the stack of a thread, where the system sets no limit.
STACK = 2**23
UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def processors() -> int | None:
    """Return how many processors' time the control groups of this process grant, rounded up.

    None if they set no limit.  Which processors it may use, its affinity, is not asked.
    """
    shares = []
    for group in _groups("cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            shares.append(max(1, math.ceil(int(quota) / int(period))))
    return min(shares, default=None)


def threads() -> int | None:
    """Return how many threads a team could have now, the calling one among them.

    That is the least that control groups, the limits of the user and of the process, and the system
    allow, as far as they can be read; None if none can.
    """
    free = [*_free_in_groups(), *_free_of_user(), *_free_in_memory(), *_free_in_system()]
    return max(1, min(free) + 1) if free else None


def _groups(controller: str) -> Iterator[Path]:
    """Yield the directories of the control groups that this process is in, in both versions.

    In a container the path may be one of the host, of which only the last directory, the root
    there, is seen: what is not there reads as empty.
    """
    for line in _read(PROC / "self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = CGROUPS / controller if names else CGROUPS
        group = root / path.strip("/")
        yield group
        while group != root:
            group = group.parent
            yield group


def _free_in_groups() -> Iterator[int]:
    for group in _groups("pids"):
        most, now = _read(group / "pids.max"), _read(group / "pids.current")
        if most.isdecimal() and now.isdecimal():
            yield int(most) - int(now)


def _free_of_user() -> Iterator[int]:
    """Yield the limit on threads of this user, less those that run; nothing if it is not one."""
    most = _limit("RLIMIT_NPROC")
    user = os.getuid() if hasattr(os, "getuid") else 0
    capable = re.search(r"^CapEff:\s*(\w+)$", _read(PROC / "self/status"), re.M)
    lifting = 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE
    if most is None or user == 0 or not capable or int(capable[1], 16) & lifting:
        return
    processes = (folder for folder in PROC.iterdir() if folder.name.isdecimal())
    yield most - sum(_threads_of(process, user) for process in processes)


def _threads_of(process: Path, user: int) -> int:
    try:
        return sum(1 for _ in (process / "task").iterdir()) if process.stat().st_uid == user else 0
    except OSError:  # it has ended
        return 0


def _free_in_memory() -> Iterator[int]:
    """Yield how many stacks fit in half of the addresses that are left under RLIMIT_AS."""
    most, pages = _limit("RLIMIT_AS"), _read(PROC / "self/statm").partition(" ")[0]
    if most is not None and pages:
        left = most - int(pages) * os.sysconf("SC_PAGE_SIZE")
        yield left // 2 // (_stack_size() or _limit("RLIMIT_STACK") or STACK)


def _stack_size() -> int | None:
    """Return what OMP_STACKSIZE says, in kilobytes where it names no unit; None if unset or odd."""
    said = re.fullmatch(r"\s*(\d+)\s*([BKMG]?)\s*", os.environ.get("OMP_STACKSIZE", "").upper())
    return int(said[1]) * UNITS[said[2] or "K"] if said else None


def _free_in_system() -> Iterator[int]:
    running = re.search(r"/(\d+) ", _read(PROC / "loadavg"))
    for name in ("threads-max", "pid_max"):
        most = _read(PROC / "sys/kernel" / name)
        if running and most.isdecimal():
            yield int(most) - int(running[1])


def _limit(name: str) -> int | None:
    if resource is None:
        return None
    most = resource.getrlimit(getattr(resource, name))[0]
    return None if most == resource.RLIM_INFINITY else most


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
