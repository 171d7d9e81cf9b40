"""What an interrupted ``pyfq compress`` has done: JSON lines beside its unfinished file.

The first line holds the settings and the identity of the inputs, every further line what the first
pass found of a tensor, the report of one, written before the tensor itself, or the name of a
finished file.
"""

import json
from pathlib import Path
from typing import Any


class Journal:
    """An open journal.

    Attributes
    ----------
    path : Path
        The file.
    rows : dict of str to dict
        The report of each tensor that was begun.
    findings : dict of str to dict
        What the first pass found of each tensor.
    finished : set of str
        The files that are complete.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self.findings: dict[str, dict[str, Any]] = {}
        self.finished: set[str] = set()
        # As it reads when it comes back: tuples become lists.
        settings = json.loads(json.dumps(settings))
        if resume and path.exists():
            self._read(settings)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            self._append({"settings": settings})

    def add_row(self, row: dict[str, Any]) -> None:
        """Note the report of a tensor that is about to be written."""
        self.rows[row["name"]] = row
        self._append({"row": row})

    def add_finding(self, name: str, finding: dict[str, Any]) -> None:
        """Note what the first pass found of a tensor."""
        self.findings[name] = finding
        self._append({"finding": finding, "name": name})

    def add_finished(self, file: str) -> None:
        """Note that a file is complete."""
        self.finished.add(file)
        self._append({"finished": file})

    def remove(self) -> None:
        """Remove the journal: there is nothing left to resume."""
        self.path.unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _read(self, settings: dict[str, Any]) -> None:
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # the last line may have been cut short
        try:
            entries = [json.loads(line) for line in whole.splitlines()]
            begun = entries.pop(0)["settings"]
        except (json.JSONDecodeError, IndexError, KeyError, TypeError) as e:
            raise ValueError(f"{self.path}: not a journal; --force begins anew") from e
        changed = [key for key in settings if begun.get(key) != settings[key]]
        if changed:
            raise ValueError(
                f"cannot resume: {', '.join(changed)} of the interrupted run differ "
                f"(was {_brief(begun.get(changed[0]))}, is {_brief(settings[changed[0]])}); "
                "--force begins anew"
            )
        for entry in entries:
            if "row" in entry:
                self.rows[entry["row"]["name"]] = entry["row"]
            elif "finding" in entry:
                self.findings[entry["name"]] = entry["finding"]
            else:
                self.finished.add(entry["finished"])
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else text[:300] + " ..."
