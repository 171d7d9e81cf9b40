"""stdout and stderr of a command, which take any text, and how messages are written."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from pyfq._core.text import printable

# A message is cut in its middle when it is longer: a file may hold a name of a megabyte.
_MOST = 2000
# How text is written that an encoding cannot express.
_ESCAPES = "backslashreplace"


class _Output(io.FileIO):
    """stdout or stderr, for as long as somebody takes what is written.

    A reader of stdout that has left, as head does, has what it wanted: the command goes on and ends
    as it would. A full disk is an error, once. Of stderr nobody could be told.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.what = name
        self.is_gone = False

    def write(self, data: Any) -> int | None:
        """Write, or drop what nobody takes any more."""
        if not self.is_gone:
            try:
                return super().write(data)
            except OSError as e:
                self.is_gone = True
                if self.what == "stdout" and not isinstance(e, BrokenPipeError):
                    raise OSError(e.errno, e.strerror, self.what) from e
        return memoryview(data).nbytes


@contextmanager
def outputs_of_a_command() -> Iterator[None]:
    """Let stdout and stderr take any text inside a ``with`` block, whoever reads them.

    What their encoding cannot express, such as a file name that is not UTF-8, is written as Python
    writes it in a literal. A stream that was closed before the process began leads nowhere.
    """
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- the stack's
                new: TextIO = nowhere
            elif stream is getattr(sys, f"__{name}__"):
                stream.flush()
                buffer = io.BufferedWriter(_Output(stream.fileno(), name))
                new = io.TextIOWrapper(
                    buffer, stream.encoding, _ESCAPES, line_buffering=stream.line_buffering
                )
            else:  # somebody captures it, and may have to be told how to take any text
                if isinstance(stream, io.TextIOWrapper):
                    stack.callback(stream.reconfigure, errors=stream.errors)
                    stream.reconfigure(errors=_ESCAPES)
                continue
            stack.enter_context(new)
            stack.callback(setattr, sys, name, stream)
            setattr(sys, name, new)
        yield


def nobody_reads() -> bool:
    """Return whether the reader of stdout is known to have left."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Output) and raw.is_gone


def one_line(said: BaseException | str) -> str:
    """Return the message of an error as one line of bounded length, its file first."""
    text = str(said)
    if isinstance(said, OSError) and said.filename is not None and said.strerror:
        text = f"{os.fsdecode(said.filename)}: {said.strerror}"
    return printable(" ".join(text.split()), _MOST) or type(said).__name__
