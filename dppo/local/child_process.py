"""One process of ours, from its start to its end: lifeline, mark, deadlines, reaping. Knows nothing of what it does.

Every process that a command starts, watches and ends is one of these; only the sweeper, which outlives its parent, and
workers of environments, which multiprocessing starts, are not. `processes.py` starts one again when it dies.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dppo.protocol.process.descendants import MARK_VARIABLE, kill_group, kill_started_by, new_mark
from dppo.protocol.process.interpreter import SAFE_PATH
from dppo.protocol.process.lifeline import LIFELINE_VARIABLE, Lifeline

FIRST_LOOK_SECONDS = 0.001
LOOK_SECONDS = 0.05  # between two looks at a process that is waited for

Stream = int | IO[Any] | None  # a descriptor, a file, or one of subprocess's constants; None: this process's own


class ChildProcess:
    """A process that runs Python, in a session of its own: Ctrl-C in a terminal reaches this process only.

    What it has started ends with it, and it ends by itself when this process is gone.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        lifeline: Lifeline,
        *,
        variables: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        pass_fds: tuple[int, ...] = (),
        working_directory: Path | None = None,
        host: Sequence[str] = (),
        is_command: bool = False,
    ) -> None:
        """Start it. Raises OSError.

        variables: environment variables beside those that it inherits; inherited: None for those of this process.
        working_directory: None for that of this process; host: put before the command, to run it elsewhere.
        is_command: it ends by itself what it has started, also where it is killed (household.py), which takes time.
        """
        self._is_command = is_command
        self._mark = "" if is_command else new_mark()
        environment = {**(os.environ if inherited is None else inherited), **(variables or {})}
        environment[LIFELINE_VARIABLE] = str(lifeline.read_fd)
        if self._mark:
            environment[MARK_VARIABLE] = self._mark
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [*host, sys.executable, SAFE_PATH, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            pass_fds=(lifeline.read_fd, *pass_fds),
            start_new_session=True,
            cwd=working_directory,
        )
        self._code: int | None = None  # once it is reaped

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code as of the newest look at it (negative: the signal); None where it was not over."""
        return self._code

    @property
    def stdin(self) -> IO[bytes]:
        """Standard input of the process, which was made a pipe."""
        assert self._process.stdin is not None, "it is a pipe"
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Standard output of the process, which was made a pipe."""
        assert self._process.stdout is not None, "it is a pipe"
        return self._process.stdout

    def give_input(self, content: bytes) -> None:
        """Write all of its standard input. A process that has ended already does not matter here."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(content)
            self.stdin.close()

    def poll(self) -> int | None:
        """Return its exit code if it has ended, else None. Reaps it, and ends what it has left running."""
        if self._code is None and self.is_over():
            self._reap()
        return self._code

    def is_over(self) -> bool:
        """Whether it has ended; leaves it to be reaped with its group, on Linux."""
        if self._code is not None:
            return True
        if sys.platform != "linux":
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # SIGCHLD is ignored in a user's program
            return True

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        code = self.wait_at_most(float("inf"))
        assert code is not None, "waited for as long as it takes"
        return code

    def wait_at_most(self, seconds: float) -> int | None:
        """Wait for its end, at most that long; returns its exit code, None where it still runs."""
        _until_over((self,), seconds)
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to be over."""
        if self._process.returncode is None:  # not reaped, so that the number is its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> int:
        """SIGKILL; returns its exit code when it is gone with what it has started."""
        if self._code is not None:
            return self._code
        self.send_signal(signal.SIGKILL)
        return self._reap()

    def end(self, grace_seconds: float, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, SIGKILL; returns its exit code when it is gone with what it has started."""
        end_all((self,), grace_seconds, number)
        return self.kill()

    def _reap(self) -> int:
        if not self._is_command:
            kill_group(self.pid)  # before its number is free again
        code = self._code = self._process.wait()
        if not self._is_command:
            kill_started_by(self._mark)  # what went into a session of its own
        return code


def end_all(processes: Sequence[ChildProcess], grace_seconds: float, number: int = signal.SIGTERM) -> None:
    """End them as `ChildProcess.end` does, all within one grace."""
    for process in processes:
        process.send_signal(number)
    _until_over(processes, grace_seconds)
    for process in processes:
        if not process.is_over():
            process.send_signal(signal.SIGKILL)  # to all first: what one has left may take a second to end
    for process in processes:
        process.kill()


def wait_all(processes: Sequence[ChildProcess], seconds: float) -> None:
    """Wait until all have ended by themselves, at most that long."""
    _until_over(processes, seconds)
    for process in processes:
        process.poll()


def _until_over(processes: Sequence[ChildProcess], seconds: float) -> None:
    """Wait until all are over, at most that long; reaps none: each must be reaped with its group."""
    deadline, pause = time.monotonic() + seconds, FIRST_LOOK_SECONDS
    for process in processes:
        while not process.is_over():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(2 * pause, LOOK_SECONDS)
