"""The command ``pyfq``, which Ctrl-C ends at any moment without a traceback.

This module lies beside the package, because importing any part of that takes a tenth of a second.
Until a command runs, SIGINT does what it does to other programs: the process ends by it. Then
`pyfq.cli` has it raise KeyboardInterrupt.
"""

import _signal as signal  # compiled into Python; the module `signal` takes a while
import sys


def main() -> int:
    """Run the command of the command line and return its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pyfq.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
