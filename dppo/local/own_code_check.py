"""Checks of a user's code in a process of its own, before anything is started: a user's module may do anything.

Such a process prints one line that begins with ERROR where the code does not do, and exits with another code than 0.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from dppo.local.child_process import ChildProcess
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import Lifeline, watch_parent

ERROR = "dppo: error: "


def check_elsewhere(arguments: Sequence[str], what: str, *, seconds: float, task: bytes = b"") -> None:
    """Run `python ARGUMENTS` with that standard input. Raises UsageError, in one line, where it refuses or fails.

    what: that it does with which setting, for messages. seconds: that it may take; what it has started ends with it.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as log, Lifeline() as lifeline:
        given.write(task)
        given.seek(0)
        process = ChildProcess(arguments, lifeline, stdin=given, stdout=subprocess.DEVNULL, stderr=log)
        try:
            code = process.wait_at_most(seconds)
        finally:
            process.kill()
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    if code is None:
        raise UsageError(f"{what} takes more than {seconds:g} s")
    if code:
        errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        raise UsageError(errors[-1] if errors else f"{what} {how_it_ended(code)}")


def checked(check: Callable[[], object]) -> int:
    """Do the check in this process; returns its exit code."""
    append_working_directory()
    watch_parent()
    try:
        check()
    except DppoError as error:
        print(f"{ERROR}{' '.join(str(error).split())}", file=sys.stderr)
        return UsageError.exit_code
    return 0
