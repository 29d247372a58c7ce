"""Ends of log files, and what is added to them. Knows files only."""

from pathlib import Path

MOST_BYTES = 1_000_000  # of one log at once


def end_of(path: Path, lines: int) -> tuple[str, int]:
    """Return the last lines of a file, and where it ends; nothing where there is no file yet."""
    text, at = added_to(path, max(0, _size(path) - MOST_BYTES))
    last = text.splitlines(keepends=True)
    return "".join(last[len(last) - min(lines, len(last)) :]), at


def added_to(path: Path, since: int) -> tuple[str, int]:
    """Return what a file has behind that byte, at most MOST_BYTES, and where that ends."""
    try:
        with path.open("rb") as file:
            file.seek(since)
            content = file.read(MOST_BYTES)
    except OSError:
        return "", since
    return content.decode(errors="replace"), since + len(content)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
