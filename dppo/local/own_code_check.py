"""Checks of a user's code in a process of its own, before anything is started: a user's module may do anything.

Such a process prints one line that begins with ERROR where the code does not do, and exits with another code than 0.
"""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress

from dppo.local.child_process import ChildProcess
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import Lifeline, watch_parent

ERROR = "dppo: error: "
END_SECONDS = 2.0


class CheckElsewhere:
    """A check in a process of its own, which is started at once, and may get what to check later."""

    def __init__(self, arguments: Sequence[str]) -> None:
        with ExitStack() as stack:
            self._log = stack.enter_context(tempfile.TemporaryFile())
            lifeline = stack.enter_context(Lifeline())
            self._process = ChildProcess(
                arguments, lifeline, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log
            )
            stack.callback(self._end)
            self._open = stack.pop_all()
        self._writer: threading.Thread | None = None

    def give(self, content: bytes) -> None:
        """Write a first, short part of its standard input: what a pipe holds without a reader."""
        with suppress(BrokenPipeError):
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def finish(self, what: str, *, seconds: float, task: bytes = b"") -> None:
        """Write the rest of its standard input and wait. Raises UsageError, in one line, where it refuses or fails.

        what: that it does with which setting, for messages. seconds: that it may take; what it has started ends with
        it.
        """
        # by a thread: a user's module that hangs reads nothing
        self._writer = threading.Thread(target=self._process.give_input, args=(task,), daemon=True)
        self._writer.start()
        code = self._process.wait_at_most(seconds)
        self._process.kill()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        if code is None:
            raise UsageError(f"{what} takes more than {seconds:g} s")
        if code:
            errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
            raise UsageError(errors[-1] if errors else f"{what} {how_it_ended(code)}")

    def close(self) -> None:
        """End it, if it is not over."""
        self._open.close()

    def _end(self) -> None:
        self._process.kill()
        if self._writer is not None:
            self._writer.join(END_SECONDS)  # nothing reads any more, unless something has got away
            if self._writer.is_alive():
                return
        with suppress(BrokenPipeError):
            self._process.stdin.close()


def check_elsewhere(arguments: Sequence[str], what: str, *, seconds: float, task: bytes = b"") -> None:
    """Run `python ARGUMENTS` with that standard input, and raise as `CheckElsewhere.finish` does."""
    with closing(CheckElsewhere(arguments)) as check:
        check.finish(what, seconds=seconds, task=task)


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
