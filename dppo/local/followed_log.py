"""A log that another process appends to: read as it grows, emptied before it gets long. Knows files; prints nothing."""

import os
from pathlib import Path

from dppo.protocol.texts import printable

MOST_BYTES = 65_536  # at one look: an environment may print faster than a terminal shows
KEPT_BYTES = 1_000_000  # in the file, which may be in memory
LINE_CHARACTERS = 2000


class FollowedLog:
    """The lines of one log, each once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._open = b""  # of a line whose end is not there yet

    def new_lines(self) -> list[str]:
        """Return the lines that have come since the last look, without what a terminal would obey."""
        try:
            with self.path.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                skipped = max(0, size - self._position - MOST_BYTES)
                log.seek(self._position + skipped)
                content = log.read(MOST_BYTES)
        except FileNotFoundError:
            return []
        self._position += skipped + len(content)
        *whole, self._open = ((b"" if skipped else self._open) + content).split(b"\n")
        lines = [printable(line.decode(errors="replace"), LINE_CHARACTERS) for line in whole]
        note = [f"({skipped:,} bytes of its output are left out)"] if skipped else []
        return [*note, *(line for line in lines if line)]

    def last_words(self) -> list[str]:
        """Return the lines that are left once its writer has ended, one without an end included."""
        lines = self.new_lines()
        rest, self._open = printable(self._open.decode(errors="replace"), LINE_CHARACTERS), b""
        return [*lines, rest] if rest else lines

    def empty_if_long(self) -> bool:
        """Empty it where it is long, while its writer, which appends, goes on; returns whether that was done."""
        if self._position < KEPT_BYTES:
            return False
        os.truncate(self.path, 0)
        self._position = 0
        return True
