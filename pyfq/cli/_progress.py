"""A bar on stderr, if that is a terminal, that names what is being done and never stands still."""

import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyfq._core.text import printable
from pyfq.cli._table import shortened, width_of

if TYPE_CHECKING:
    from tqdm import tqdm

# Columns of the terminal for the bar and the times, and what a name has at least.
_BAR, _NAME = 35, 8
# Seconds between two pictures of the bar.
_TICK = 0.2
# Bytes a second, of a phase of which nothing is known yet.
_SPEED = 2e7

_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
_OF_EPOCHS = "{desc} {n_fmt}/{total_fmt} epochs |{bar}| {elapsed}<{remaining}{postfix}"


class Progress:
    """How many bytes of tensors are done, and which tensor is in work.

    A tensor may take a minute in one call of a kernel. Meanwhile the bar goes on by the speed that
    the phase had so far, slower and slower, so that it never arrives before the tensor does.

    Parameters
    ----------
    bar : tqdm.tqdm
        What is drawn.
    """

    def __init__(self, bar: "tqdm") -> None:
        self._bar = bar
        self._done = 0
        self._now: tuple[int, float, float] | None = None  # bytes, start, expected seconds
        self._spent: dict[str, tuple[int, float]] = {}  # bytes and seconds of each phase

    @contextmanager
    def tensor(self, phase: str, name: str, nbytes: int) -> Iterator[None]:
        """Show what is done in a block to a tensor of so many bytes; 0 if that does not count."""
        if self._bar.disable:
            yield
            return
        known, seconds = self._spent.get(phase, (0, 0.0))
        speed = known / seconds if known and seconds else _SPEED
        started = time.perf_counter()
        self._say(phase, name)
        self._now = nbytes, started, max(nbytes / speed, _TICK)
        try:
            yield
        finally:
            self._now = None
        self._spent[phase] = known + nbytes, seconds + time.perf_counter() - started
        self._done += nbytes
        self._show(self._done)

    def tick(self) -> None:
        """Move the bar within the tensor that is in work."""
        now = self._now
        if now is not None:
            nbytes, started, expected = now
            part = 1 - math.exp((started - time.perf_counter()) / expected)
            self._show(self._done + int(part * nbytes))

    def _say(self, phase: str, name: str) -> None:
        width = self._bar.ncols - _BAR
        room = max(width - len(phase) - 1, _NAME)
        text = f"{phase} {shortened(printable(name), room)}"
        self._bar.set_description_str(text + " " * (width - width_of(text)), refresh=False)

    def _show(self, nbytes: int) -> None:
        self._bar.total = max(self._bar.total, nbytes)  # steps may have to be chosen once more
        self._bar.n = nbytes
        self._bar.refresh()


@contextmanager
def progress(total: int, *, quiet: bool = False) -> Iterator[Progress]:
    """Yield what tells of so many bytes of tensors."""
    from tqdm import tqdm

    how = {"leave": False, "disable": quiet or None, "ncols": _columns(), "bar_format": _FORMAT}
    with tqdm(total=max(total, 1), **how) as bar:
        shown = Progress(bar)
        with _ticking(shown.tick, bar):
            yield shown
    sys.stderr.flush()  # what takes the bar away


@contextmanager
def epochs(total: int, label: str, *, quiet: bool = False) -> Iterator["tqdm"]:
    """Yield a bar of so many epochs."""
    from tqdm import tqdm

    how = {"leave": False, "disable": quiet or None, "ncols": _columns()}
    with tqdm(total=total, desc=label, bar_format=_OF_EPOCHS, **how) as bar:
        yield bar
    sys.stderr.flush()


def _columns() -> int:
    return max(shutil.get_terminal_size().columns - 1, 40)


@contextmanager
def _ticking(tick: Callable[[], None], bar: "tqdm") -> Iterator[None]:
    """Call something some times a second, from a thread, as long as a block runs."""
    if bar.disable:
        yield
        return
    over = threading.Event()

    def run() -> None:
        while not over.wait(_TICK):
            tick()

    thread = threading.Thread(target=run, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
