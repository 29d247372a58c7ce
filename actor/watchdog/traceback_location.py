"""Place in the code, in a few words: the innermost function outside Python's own library."""

import sysconfig
import traceback
from pathlib import Path
from types import FrameType

from dppo.protocol.texts import error_text

_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_PACKAGES = ("site-packages", "dist-packages")  # installed below the library's folder, and not part of it


def place_of_error(error: BaseException) -> str:
    """Return where it was raised, as "reacher.py:44 in step"; "" where the error has none."""
    return _place([(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)])


def with_place(error: BaseException) -> str:
    """Return an error's kind, text and place in one line."""
    place, text = place_of_error(error), error_text(error)
    return f"{type(error).__name__}{f': {text}' if text else ''}{f' ({place})' if place else ''}"


def place_of_frame(frame: FrameType | None) -> str:
    """Return the place of a thread whose innermost frame is this one, in the same words."""
    return _place(list(traceback.walk_stack(frame))[::-1] if frame is not None else [])


def _place(frames: list[tuple[FrameType, int]]) -> str:
    """frames: the innermost one last."""
    own = [(frame, line) for frame, line in frames if not is_library(frame.f_code.co_filename)]
    for frame, line in (own or frames)[-1:]:
        return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
    return ""


def is_library(file: str) -> bool:
    """Whether the file belongs to Python's own library: a wait in `time` or `socket` is of the code that calls it."""
    return file.startswith(("<frozen", *_LIBRARY)) and not any(part in _PACKAGES for part in Path(file).parts)
