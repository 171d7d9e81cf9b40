"""A file of lines that a crash can cut short but not falsify: each carries its own checksum.

A line is a CRC-32 in hexadecimal, a blank, and JSON. The checksum is that of all the JSON up to
there, so that a line that is missing or stands elsewhere shows, too. The first line that is not so
ends the journal: it and all that follows are cut off when writing goes on.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from pyfq.io import disk
from pyfq.io.atomic import DiskFile


def read_journal(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the entries of a journal that are whole, and the bytes that they take.

    Raises
    ------
    OSError
        It cannot be read, or is no regular file.
    """
    with DiskFile(disk.reopen(path), path) as file:
        content = file.readall()
    entries, size, running = [], 0, 0
    for line in content.splitlines(keepends=True):
        checksum, _, text = line.partition(b" ")
        running = zlib.crc32(text[:-1], running)
        if not line.endswith(b"\n") or checksum != b"%08x" % running:
            break
        entries.append(json.loads(text))
        size += len(line)
    return entries, size


class JournalWriter:
    """A journal that is open for more entries.

    Parameters
    ----------
    path : Path
        The journal; created if `size` is None.
    size : int or None
        How many of its bytes are whole.
    asked : Path
        The target, which errors name.
    """

    def __init__(self, path: Path, size: int | None, asked: Path) -> None:
        with disk.naming(asked):
            fd = disk.create(path) if size is None else disk.reopen(path)
        self._file = DiskFile(fd, asked)
        self._waiting: list[bytes] = []
        self._running = 0
        if size is not None:
            if os.fstat(fd).st_size > size:
                self._file.truncate(size)
            for line in self._file.readall().splitlines():
                self._running = zlib.crc32(line.partition(b" ")[2], self._running)

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry, in memory."""
        text = json.dumps(entry).encode()
        self._running = zlib.crc32(text, self._running)
        self._waiting.append(b"%08x %s\n" % (self._running, text))

    def flush(self) -> None:
        """Put the entries on the disk."""
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            start = self._file.tell()
            try:
                self._file.write_all(data)
            except OSError:
                self._file.seek(start)  # what is written next begins a line
                raise
            self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
