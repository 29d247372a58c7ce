"""Child processes of a local run that have a log, and are started again when they die. Knows no training."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dppo.learner.regular_files import naming, open_own
from dppo.local.child_process import ChildProcess, end_all, wait_all
from dppo.local.exit_diagnosis import ERROR, HUNG, ended_in_order, last_error
from dppo.protocol.errors import DppoError
from dppo.protocol.process.launch_time import LAUNCHED_VARIABLE
from dppo.protocol.process.lifeline import Lifeline
from dppo.protocol.process.machine_trouble import to_do

QUICK_SECONDS = 10.0  # a child that lives shorter than this did not get to work
MAX_QUICK_DEATHS = 5
FIRST_DELAY_SECONDS = 0.1
CLEAN_END_SECONDS = 3.0  # an actor that ended well got BYE, and its learner is about to end too
MAX_DELAY_SECONDS = 5.0
LOG_BYTES = 100_000  # from its end, enough for the stacks of many threads
MOST_LOG_BYTES = 64_000_000  # an environment that prints in every step writes gigabytes an hour
KEPT_LOG_BYTES = 1_000_000  # of a log above that, its newest


@dataclass
class Child:
    """One process that is started again when it dies."""

    name: str
    arguments: Sequence[str]
    log: Path  # its standard output and error
    lifeline: Lifeline
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    working_directory: Path | None = None  # None: that of this process
    process: ChildProcess | None = None
    deaths: int = 0
    worked: bool = False  # in this life, as far as its supervisor has seen
    words: str = ""  # what it wrote in the life that is over
    _quick_deaths: int = 0
    _started: float = 0.0
    _start_at: float = 0.0
    _log_start: int = 0  # of this life

    def start(self) -> None:
        """Start the process. Raises DppoError where its log cannot be written."""
        self._started = time.monotonic()
        self.worked = False
        try:
            descriptor = open_own(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise DppoError(f"the log {self.log} cannot be written: {error.strerror or error}") from None
        with open(descriptor, "ab") as log:
            self._log_start = log.tell()
            self.process = ChildProcess(
                self.arguments,
                self.lifeline,
                variables={LAUNCHED_VARIABLE: str(self._started), **self.environment},
                stdout=log,
                stderr=log,
                pass_fds=self.pass_fds,
                working_directory=self.working_directory,
            )

    def died(self) -> int | None:
        """Return the exit code if it has ended since the last look (negative: the signal), else None."""
        code = None if self.process is None else self.process.poll()
        if code is None:
            self._shorten_log()
            return None
        self.process = None
        self.words = self._read_words() or self._why_no_words()
        if code == 0:
            self._start_at = time.monotonic() + CLEAN_END_SECONDS
        else:
            self.count_death()
        return code

    def count_death(self) -> None:
        """Count an end out of order: the process is started again after a delay, which grows."""
        self.deaths += 1
        lived = time.monotonic() - self._started
        quick = lived < QUICK_SECONDS or (not self.worked and self.last_error().startswith(HUNG))
        self._quick_deaths = self._quick_deaths + 1 if quick else 1
        delay = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (self._quick_deaths - 1))
        self._start_at = time.monotonic() + delay

    @property
    def ended_in_order(self) -> bool:
        """Whether it logged why it ended, after an exit code of 0."""
        return ended_in_order(self.words)

    def log_was_emptied(self) -> None:
        """Look for its last words at the beginning of the log from now on."""
        self._log_start = 0

    @property
    def hopeless(self) -> bool:
        """Whether it died again and again before it got to work."""
        return self._quick_deaths >= MAX_QUICK_DEATHS

    @property
    def is_due(self) -> bool:
        """Whether it has ended, and the delay before its next start is over."""
        return self.process is None and time.monotonic() >= self._start_at

    def restart_if_due(self) -> bool:
        """Start it again once its delay is over."""
        if not self.is_due:
            return False
        self.start()
        return True

    def last_error(self) -> str:
        """Return the process's last error in one line, without the program's name; "" where it printed none."""
        return last_error(self.words)

    def _shorten_log(self) -> None:
        """Keep the newest part of the log alone where it is too long, and note in it how much was left out."""
        with contextlib.suppress(OSError):
            size = self.log.stat().st_size
            if size <= MOST_LOG_BYTES:
                return
            descriptor = open_own(self.log, os.O_RDWR | os.O_APPEND)  # as its writer appends, which goes on
            try:
                kept = os.pread(descriptor, KEPT_LOG_BYTES, size - KEPT_LOG_BYTES)
                kept += os.pread(descriptor, KEPT_LOG_BYTES, size)  # written meanwhile
                os.ftruncate(descriptor, 0)
                left_out = f"({size - KEPT_LOG_BYTES:,} bytes are left out here: a log is cut at {MOST_LOG_BYTES:,})\n"
                os.write(descriptor, left_out.encode() + kept)
            finally:
                os.close(descriptor)
            self.log_was_emptied()

    def _why_no_words(self) -> str:
        """Return as its error that it could log none; "" where it could."""
        try:
            descriptor = open_own(self.log, os.O_WRONLY | os.O_APPEND)
            with naming(self.log), open(descriptor, "wb", buffering=0) as log:
                log.write(b"\n")
        except OSError as error:
            return f"{ERROR}its log cannot be written: {error.strerror or error}; {to_do(error)}\n"
        return ""

    def _read_words(self) -> str:
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(self._log_start, self.log.stat().st_size - LOG_BYTES))
            return log.read().decode(errors="replace")
        return ""


def end(children: Sequence[Child], grace_seconds: float) -> None:
    """SIGTERM, wait, SIGKILL; returns when all are gone, with what they have started."""
    end_all(_processes(children), grace_seconds)


def wait(children: Sequence[Child], seconds: float) -> None:
    """Wait until all have ended by themselves, at most that long."""
    wait_all(_processes(children), seconds)


def _processes(children: Sequence[Child]) -> list[ChildProcess]:
    return [child.process for child in children if child.process is not None]
