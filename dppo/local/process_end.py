"""Start and end our processes despite other text encodings and threads that do not end."""

import codecs
import contextlib
import errno
import locale
import os
import stat
import sys
import threading
import time
from collections import Counter
from typing import NoReturn

ROOM = 2**20  # bytes: where less is free, a write may have failed
LEAVE_SECONDS = 3.0  # for threads and processes of environments, once everything of ours is done


def use_utf8() -> None:
    """Start this command again in Python's UTF-8 mode where the locale has another encoding; files of ours are UTF-8.

    Text that a terminal cannot show is escaped from here on instead of ending the command.
    """
    encoding = codecs.lookup(locale.getencoding()).name
    if not sys.flags.utf8_mode and encoding != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        if encoding != "ascii":  # of the C locale, which says nothing of the terminal
            os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 -- the same program once more
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def hold_standard_descriptors() -> None:
    """Have standard input, output and error lead nowhere where they are closed (`>&-`, some daemons).

    Else the next file or pipe gets one of their numbers: what Python or a library prints goes into it, and a process
    that is to inherit it gets its own output in its place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # by now the lowest number that is free
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # for our own processes


def _open_what_is_closed() -> None:
    """Do that, and give Python a stream for each that it found closed at its start."""
    hold_standard_descriptors()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- for as long as the process


def is_of_output(error: OSError) -> bool:
    """Whether what is printed cannot be written: the disk is full, for example.

    Errors of most files name the file; those of the others may be as well what one of the two streams would give.
    """
    if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return False
    return any(_may_have_failed(descriptor, error.errno) for descriptor in (1, 2))


def _may_have_failed(descriptor: int, number: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return number != errno.ENOSPC or os.fstatvfs(descriptor).f_bavail * os.fstatvfs(descriptor).f_frsize < ROOM
        return stat.S_ISCHR(mode) and (number == errno.EIO or not os.isatty(descriptor))  # /dev/full, a terminal gone
    except OSError:
        return False


def output_trouble(error: Exception) -> str:
    """Return why what is printed cannot be written, which goes nowhere from here on; "" where that is not the error."""
    if not (isinstance(error, OSError) and is_of_output(error)):
        return ""
    drop_output()
    return f"the output cannot be written: {error.strerror or error}"


def drop_output() -> None:
    """Let what is printed go nowhere from here on: Python would try again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def leave(code: int) -> NoReturn:
    """End the process with this exit code; threads and processes that an environment left behind hold it up briefly.

    Python itself would wait for them for ever.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    _end_pools()
    for thread in _threads():
        thread.join(max(0.0, deadline - time.monotonic()))
    started = sys.modules.get("multiprocessing")  # 10 ms to import, and without it no process was started
    children = [child for child in started.active_children() if not child.daemon] if started else []
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
    names = [f"thread {thread.name}" for thread in _threads()]
    for child in children:
        if child.is_alive():
            names.append(f"process {child.name}")
            child.kill()
    if not names:
        sys.exit(code)
    with contextlib.suppress(OSError, ValueError):
        counted = ", ".join(f"{name}{f' ({n} of them)' if n > 1 else ''}" for name, n in Counter(names).items())
        print(f"not waiting for what an environment left running: {counted}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _end_pools() -> None:
    """Tell idle threads of pools (concurrent.futures) to end, as Python does at its own end."""
    module = sys.modules.get("concurrent.futures.thread")
    end = getattr(module, "_python_exit", None)
    if end is not None:
        threading.Thread(target=end, name="pools", daemon=True).start()  # it waits for busy ones


def _threads() -> list[threading.Thread]:
    """Return the threads that Python would wait for."""
    return [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]
