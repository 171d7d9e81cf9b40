"""What an interrupted ``pyfq compress`` or ``decompress`` has done.

The first entry holds the settings and the identity of the inputs. Every further one is what the
first pass found of a tensor, what its codes of some step turned out to be, the report of one, or
the checksums of tensors of a file, which are on the disk when the entry is written.
"""

import json
import time
from pathlib import Path
from typing import Any

from pyfq.io.journal import JournalWriter, read_journal
from pyfq.io.staging import Staging

_SECONDS, _BYTES = 1.0, 1 << 26  # at most so much work is not yet in the journal


class Journal:
    """An open journal.

    Attributes
    ----------
    replaces : bool
        Whether the run may replace what is at its target.
    rows : dict of str to dict
        The report of each tensor that was begun.
    findings : dict of str to dict
        What the first pass found of each tensor.
    codes : dict of str to dict of float to dict
        What the codes of a tensor turned out to be, by step.
    written : dict of str to list of int
        The checksums of the leading tensors of each file.
    """

    def __init__(
        self, staging: Staging, settings: dict[str, Any], size: int | None, *, replaces: bool
    ) -> None:
        self.replaces = replaces
        self.rows: dict[str, dict[str, Any]] = {}
        self.findings: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, dict[float, dict[str, Any]]] = {}
        self.written: dict[str, list[int]] = {}
        self._writer = JournalWriter(staging.journal, size, staging.asked)
        self._unsynced: list[int] = []
        self._bytes = 0
        self._flushed = time.monotonic()
        if size is None:
            self._writer.add({"settings": settings, "replaces": replaces})
            try:
                self._writer.flush()
            except BaseException:
                self._writer.close()
                raise

    def add_row(self, row: dict[str, Any]) -> None:
        """Note the report of a tensor that is about to be written."""
        self.rows[row["name"]] = row
        self._writer.add({"row": row})

    def add_finding(self, name: str, finding: dict[str, Any]) -> None:
        """Note what the first pass found of a tensor."""
        self.findings[name] = finding
        self._writer.add({"finding": finding, "name": name})
        if self.is_due():
            self.flush()

    def add_codes(self, name: str, step: float, codes: dict[str, Any]) -> None:
        """Note what the codes of a tensor at a step turned out to be."""
        self.codes.setdefault(name, {})[step] = codes
        self._writer.add({"codes": codes, "name": name, "step": step})
        if self.is_due():
            self.flush()

    def begin_file(self, file: Path, completed: int) -> None:
        """Note that a file goes on behind this many tensors."""
        self.written[str(file)] = self.written.get(str(file), [])[:completed]

    def add_written(self, checksum: int, nbytes: int) -> None:
        """Note the next tensor of a file, before it is on the disk: see `flush`."""
        self._unsynced.append(checksum)
        self._bytes += nbytes

    def is_due(self) -> bool:
        """Return whether there is enough for a `flush`."""
        return self._bytes >= _BYTES or time.monotonic() - self._flushed >= _SECONDS

    def flush(self, file: Path | None = None) -> None:
        """Write what was noted; the tensors of the file must be on the disk."""
        if file is not None and self._unsynced:
            known = self.written[str(file)]
            entry = {"written": str(file), "from": len(known), "checksums": self._unsynced}
            self._writer.add(entry)
            known += self._unsynced
            self._unsynced = []
        self._writer.flush()
        self._bytes, self._flushed = 0, time.monotonic()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def resumed(staging: Staging, settings: dict[str, Any]) -> Journal | None:
    """Return the journal of the interrupted run; None if it is damaged from its beginning.

    Raises
    ------
    ValueError
        The run had other settings.
    """
    entries, size = read_journal(staging.journal)
    if not entries or "settings" not in entries[0]:
        return None
    begun = entries[0]["settings"]
    changed = [key for key in settings if begun.get(key) != settings[key]]
    if changed:
        raise ValueError(
            f"cannot resume: {', '.join(changed)} of the interrupted run differ "
            f"({_difference(begun.get(changed[0]), settings[changed[0]])}); "
            "--force begins anew"
        )
    journal = Journal(staging, settings, size, replaces=entries[0]["replaces"])
    for entry in entries[1:]:
        if "row" in entry:
            journal.rows[entry["row"]["name"]] = entry["row"]
        elif "finding" in entry:
            journal.findings[entry["name"]] = entry["finding"]
        elif "codes" in entry:
            journal.codes.setdefault(entry["name"], {})[entry["step"]] = entry["codes"]
        else:
            known = journal.written.setdefault(entry["written"], [])
            known[entry["from"] :] = entry["checksums"]
    return journal


def _difference(was: object, now: object) -> str:
    """Return how two settings differ: of lists and mappings the first entries that do."""
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for one, other in zip(was, now, strict=True):
            if one != other:
                return _difference(one, other)
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [key for key in now if key == "path" or was.get(key) != now[key]]
        was, now = {key: was.get(key) for key in keys}, {key: now[key] for key in keys}
    return f"was {_brief(was)}, is {_brief(now)}"


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else text[:300] + " ..."
