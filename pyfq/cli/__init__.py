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
command needs beyond NumPy is its own affair. Modules whose names begin with an underscore are what
commands share, or a part of the one that they are named for.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

from pyfq import FqError, __version__, set_num_threads
from pyfq._core.text import printable
from pyfq.cli._help import HelpFormatter
from pyfq.cli._parser import Parser, suggestion
from pyfq.cli._signals import interrupting
from pyfq.cli._streams import one_line, outputs_of_a_command

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

pyfq COMMAND --help, or pyfq help COMMAND, tells the rest.
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
        0 for success, 1 for failure, 2 for options that do not go together, 130 for an interrupt.

    Raises
    ------
    SystemExit
        With code 2 for a command line that cannot be parsed, with 0 after ``--help`` and
        ``--version``: as `argparse` has it.

    Examples
    --------
    >>> main(["inspect", "no/such.safetensors"])
    1
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    with outputs_of_a_command():
        try:
            return _flushed(_run(words))
        except SystemExit as e:
            raise SystemExit(_flushed(e.code or 0)) from None


def use_threads(n: int | None) -> None:
    """Do what ``--threads`` says."""
    try:
        set_num_threads(n)
    except ValueError as e:
        raise UsageError(f"--threads: {e}") from e


def _run(words: Sequence[str]) -> int:
    prog = "pyfq"
    try:
        args = _parse(words)
        prog = f"pyfq {args.command}"
        module = importlib.import_module(f"pyfq.cli.{args.command}")
        with interrupting(signal.SIGINT):
            return module.run(args)
    except UsageError as e:
        print(f"{prog}: error: {one_line(e)}\nTry '{prog} --help'.", file=sys.stderr)
        return 2
    except KeyboardInterrupt as e:
        print(f"{prog}: interrupted{printable(e.args[0]) if e.args else ''}", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, MemoryError, FloatingPointError, FqError) as e:
        print(f"{prog}: error: {one_line(e)}", file=sys.stderr)
        return 1


def _flushed(code: int) -> int:
    """Return the exit code after what is left went to stdout."""
    try:
        sys.stdout.flush()
    except OSError as e:
        print(f"pyfq: error: {one_line(e)}", file=sys.stderr)
        return code or 1
    return code


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what the words of a command line say; those of the command's parser, and `command`."""
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    parser, subparsers = _top_parser()
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    parser.refuse_unknown(words[:at])
    command = words[at] if at < len(words) else None
    for name, summary in COMMANDS.items():
        if name == command:
            importlib.import_module(f"pyfq.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    if command is not None:
        if command not in COMMANDS:
            names = ", ".join(COMMANDS)
            hint = suggestion(command, COMMANDS) or f": expected {names}"
            parser.error(f"unknown command {command!r}{hint}")
        if any("\0" in word for word in words):  # a shell cannot say it, a program can
            subparsers.choices[command].error("an argument holds a NUL character")
        subparsers.choices[command].refuse_unknown(words[at + 1 :])
    args, extra = parser.parse_known_args(words)
    subparsers.choices[args.command].refuse_extra(extra)
    return args


def _top_parser() -> tuple[Parser, SubParsers]:
    parser = Parser(
        prog="pyfq",
        description="Compress, train and run neural networks on CPUs.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"pyfq {__version__}")
    return parser, parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
