"""Everything below a directory at one moment: names, bytes, and when each was changed last."""

import os
from pathlib import Path


def snapshot(path: Path) -> dict[str, tuple[bytes | str, int, int]]:
    """By path: content (or where a link leads, or what it is), mode, and time of the last change in nanoseconds.

    The time of `path` itself is left out: a file that came and went is found by the names below it, if it is still
    there, and a temporary one that is gone has done no harm.
    """
    found: dict[str, tuple[bytes | str, int, int]] = {}
    for folder, _, files in os.walk(path):
        for entry in (Path(folder), *(Path(folder, name) for name in files)):
            if entry == path:
                continue
            status = entry.lstat()
            content: bytes | str = "folder"
            if entry.is_symlink():
                content = os.readlink(entry)
            elif entry.is_file():
                content = entry.read_bytes()
            elif not entry.is_dir():
                content = "special"
            found[str(entry.relative_to(path))] = (content, status.st_mode, status.st_mtime_ns)
    return found
