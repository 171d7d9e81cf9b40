"""Commands, run in this process, and what is wrong with how they ended."""

import contextlib
import hashlib
import io
import signal
import traceback
import warnings

from pyfq.cli import main


class Hangs(BaseException):
    """A call took longer than a minute."""


def _hangs(*_):
    raise Hangs


def run(*arguments):
    """Run a command; return its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as e:
            code = e.code
    return code, out.getvalue(), err.getvalue()


def contents(root):
    """Return what every file below a directory holds."""
    files = (file for file in root.rglob("*") if file.is_file())
    return {file: hashlib.sha256(file.read_bytes()).digest() for file in files}


def complaint(words, place):
    """Run a command and return what is wrong with how it ended, or None."""
    before = contents(place)
    handler = signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(60)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ResourceWarning)  # of files that an error leaves open
            code, out, err = run(*words)
    except BaseException:
        return traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    lines = err.splitlines()
    prog = f"pyfq {words[0]}: "
    if code == 0:
        return None if all(line.startswith(prog) for line in lines) else f"stderr: {err}"
    if code not in (1, 2):
        return f"exit code {code}: {err[:2000]}"
    reasons = lines[:-1] if code == 2 else lines
    if not reasons or not reasons[-1].startswith(f"{prog}error: ") or len(reasons[-1]) > 3000:
        return f"exit code {code}, stderr: {err[:2000]}"
    if any(not line.startswith(prog) or "error: " in line[:30] for line in reasons[:-1]):
        return f"more than one line: {err[:2000]}"
    if out and "-" not in words:
        return f"exit code {code}, and stdout: {out[:500]}"
    after = contents(place)
    return None if after == before else f"changed: {after.keys() ^ before.keys()} ({err})"
