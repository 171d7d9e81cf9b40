"""``pyfq info``: how pyfq was built and what it runs on."""

import argparse

from pyfq import show_config
from pyfq.cli import SubParsers
from pyfq.cli._report import refuse_missing_directory, write_json

EPILOG = """\
Put this into a bug report. PYFQ_ISA=base pyfq info chooses another variant of the kernels.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "info",
        description="Show version, compiler, flags of every variant, OpenMP, threads and places.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", metavar="FILE", help="write JSON; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Show the configuration."""
    refuse_missing_directory("--json", args.json)
    if args.json is not None:
        write_json(show_config(mode="dict"), args.json)
    if args.json != "-":
        show_config()
    return 0
