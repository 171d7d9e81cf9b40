"""Signals that end a command: Ctrl-C, and SIGTERM and SIGHUP of batch systems and terminals."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupting(*asked: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt for these signals in the block, unless they are ignored or taken."""
    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [number for number in asked if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
