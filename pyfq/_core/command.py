"""Whether this process is the command ``pyfq``, and what the command needs before all else."""

import _signal as signal  # compiled into Python; the module `signal` takes a while
import sys


def is_module() -> bool:
    """Return whether Python was started as ``python -m pyfq``, none of whose lines ran so far."""
    words = sys.orig_argv
    after = words[words.index("-m") + 1 :] if "-m" in words else []
    return _program() == "-m" and after[:1] == ["pyfq"]


def is_command() -> bool:
    """Return whether Python was started as ``pyfq`` or as ``python -m pyfq``."""
    return _program().rpartition("/")[2] == "pyfq" or is_module()


def _program() -> str:
    return sys.argv[0] if getattr(sys, "argv", None) else ""  # none where Python is embedded


# As `_pyfq_command` does for ``pyfq``; a library leaves signals alone.
if is_module() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
