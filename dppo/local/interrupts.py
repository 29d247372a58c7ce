"""Ctrl-C while modules are imported: heard once they are. Knows signals and frames; knows no commands."""

import os
import signal
from types import FrameType

PAUSE_SECONDS = 0.02  # until the signal is looked at again
_IMPORTS = "<frozen importlib._bootstrap>"  # file name of the frames of every import


def interrupt_between_imports() -> None:
    """Raise KeyboardInterrupt for SIGINT as Python does, and never within an import.

    Extension modules do not all bear an exception there: msgspec ends the process by a segmentation fault where one
    comes while it makes a class. A SIGINT that is ignored, as of a command behind `nohup`, stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if not _is_importing(frame):
        raise KeyboardInterrupt
    import threading  # only here: a command that is not interrupted has no need of it

    again = threading.Timer(PAUSE_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False
