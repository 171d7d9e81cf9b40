"""The command line: ``pyfq COMMAND ...``, one file a command.

A command is a module ``pyfq/cli/<command>.py``, named in `COMMANDS`, that offers two functions:

``add_parser(subparsers: SubParsers) -> None``
    Call ``subparsers.add_parser("<command>", description=..., epilog=...)`` once and add the
    arguments to what it returns. Examples stand in the epilog.
``run(args: argparse.Namespace) -> int``
    Do the work and return the exit code: 0 for success, 1 for failure. Raise `UsageError` for
    options that do not go together (exit code 2). A `ValueError`, `OSError`, `ImportError`,
    `MemoryError`, `FloatingPointError` or `pyfq.FqError` becomes one line on stderr and exit code
    1. Results go to stdout; progress and remarks to stderr.

The module is imported when its command runs, not before: ``pyfq --help`` stays quick, and what a
command needs beyond NumPy is its own affair.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from pyfq import FqError, __version__, set_num_threads

SubParsers = argparse._SubParsersAction

#: Every command and what ``pyfq --help`` says of it.
COMMANDS = {
    "compress": "quantize, factorize, prune or round a checkpoint",
    "decompress": "turn a compressed checkpoint back into a dense one",
    "inspect": "show what a checkpoint holds",
    "train": "train a network on samples in a file",
    "distill": "train a small network to do as a large one does",
    "evaluate": "measure a network on samples in a file",
    "predict": "apply a network to samples in a file",
    "check": "verify the kernels on this machine",
    "bench": "time products and layers on this machine",
    "info": "show how pyfq was built and what it runs on",
    "demo": "compress a small network and show what it costs",
}

EPILOG = """\
examples:
  pyfq compress model.safetensors -o small --bits 8
  pyfq inspect small/model.safetensors
  pyfq decompress small -o dense
  pyfq train --layers 64,128,10 --data digits.npz -o large.safetensors
  pyfq distill large.safetensors --student 64,16,10 --data digits.npz -o small.safetensors
  pyfq check

pyfq COMMAND --help tells the rest.
exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted
"""


class UsageError(ValueError):
    """Options that each parse but do not go together."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process if not given.

    Returns
    -------
    int
        0 for success, 1 for failure, 2 for wrong usage, 130 for an interrupt.

    Examples
    --------
    >>> main(["inspect", "no/such.safetensors"])
    1
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser, subparsers = _top_parser()
    command = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name == command:
            importlib.import_module(f"pyfq.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    args = parser.parse_args(arguments)
    prog = f"pyfq {args.command}"
    try:
        code = importlib.import_module(f"pyfq.cli.{args.command}").run(args)
        sys.stdout.flush()
        return code
    except UsageError as e:
        print(f"{prog}: error: {e}\nTry '{prog} --help'.", file=sys.stderr)
        return 2
    except KeyboardInterrupt as e:
        print(f"{prog}: interrupted{e.args[0] if e.args else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has left, as head does; the flush at exit must not complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError, MemoryError, FloatingPointError, FqError) as e:
        print(f"{prog}: error: {one_line(e)}", file=sys.stderr)
        return 1


def use_threads(n: int | None) -> None:
    """Do what ``--threads`` says."""
    try:
        set_num_threads(n)
    except ValueError as e:
        raise UsageError(f"--threads: {e}") from e


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _top_parser() -> tuple[argparse.ArgumentParser, SubParsers]:
    parser = argparse.ArgumentParser(
        prog="pyfq",
        description="Compress, train and run neural networks on CPUs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyfq {__version__}")
    return parser, parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
