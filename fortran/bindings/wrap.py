"""Write the C wrapper of a variant; fail if it lacks a routine of the signatures, or a check.

f2py leaves out what it does not find or understand, says so in a line, and ends with status 0.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

OPTIONS = ("--skip-empty-wrappers", "--freethreading-compatible")


def main(variant: str, wrapper: str, *signatures: str) -> None:
    """Write `wrapper` for `variant`, a signature file that includes the others."""
    command = [sys.executable, "-P", "-m", "numpy.f2py", variant]
    folder = Path(wrapper).parent
    done = subprocess.run(
        [*command, "--build-dir", folder, *OPTIONS],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout)
    missing = declared("".join(Path(file).read_text() for file in signatures)) - wrapped(
        Path(wrapper).read_text()
    )
    if missing:
        Path(wrapper).unlink()
        sys.exit(f"{done.stdout}\nf2py left out of {wrapper}: {', '.join(sorted(missing))}")


def declared(signatures: str) -> Counter:
    """Return the routines that signatures declare, and how often each check of an array."""
    return Counter(
        re.findall(r"^subroutine (\w+)", signatures, re.M)
        + re.findall(r"check\((EXACT\(.*?\))\)", signatures)
    )


def wrapped(text: str) -> Counter:
    """Return the same of the C text that f2py writes."""
    return Counter(
        re.findall(r'^ *\{"(\w+)",-1,', text, re.M)
        + re.findall(r'^ *CHECKARRAY\((EXACT\(.*?\)),"', text, re.M)
    )


main(*sys.argv[1:])
