"""A process of the chaos bench: started, started again when it dies, as an engine would. Knows no training."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dppo.local.child_process import ChildProcess
from dppo.protocol.process.lifeline import Lifeline


@dataclass
class Worker:
    """`dppo <arguments>` under supervision."""

    name: str
    arguments: tuple[str, ...]
    log: Path  # standard output and error of all its lives
    lifeline: Lifeline
    environment: Mapping[str, str] = field(default_factory=dict)
    host: tuple[str, ...] = ()  # what to put before the command, to run it on another host
    program: tuple[str, ...] = ("-m", "dppo.cli")
    restart_seconds: float | None = 0.2  # after a death; None: it stays dead
    process: ChildProcess | None = None
    starts: int = 0
    started_at: float = 0.0  # monotonic
    exits: list[int] = field(default_factory=list)  # negative: the signal
    killed: int = 0  # times that the bench killed it itself
    violent_deaths: int = 0  # lives that did not end by exit code 0, whatever ended them
    _start_at: float | None = None

    def start(self) -> None:
        """Begin a life."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
        self.starts += 1
        self.started_at = time.monotonic()
        self._start_at = None
        with self.log.open("ab") as log, _uninterrupted():
            self.process = ChildProcess(
                [*self.program, *self.arguments],
                self.lifeline,
                variables=self.environment,
                inherited=own,
                stdout=log,
                stderr=log,
                host=self.host,
                is_command=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the life that runs. Raises RuntimeError between lives."""
        if self.process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as we have looked."""
        return self.process is not None

    def look(self, now: float) -> None:
        """Take note of a death; start it again once its pause is over."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.exits.append(code)
            self.violent_deaths += code != 0
            self.process = None
            self._start_at = None if self.restart_seconds is None else now + self.restart_seconds
        if self.process is None and self._start_at is not None and now >= self._start_at:
            self.start()

    def signal(self, number: int) -> None:
        """Send a signal to the life that runs, if one does."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, as an end that was expected."""
        if self.process is not None and not self.process.is_over():
            self.killed += 1
            self.process.send_signal(signal.SIGKILL)

    def stay_dead(self) -> None:
        """Do not start it again after its next death."""
        self.restart_seconds = None
        self._start_at = None

    def end(self) -> None:
        """Kill it in any state; the process is gone when this returns."""
        self.stay_dead()
        if self.process is not None:
            self.exits.append(self.process.kill())
            self.process = None

    def excuse(self, code: int) -> bool:
        """Ignore one exit with this code, which the fault caused. Return False where there is none."""
        with contextlib.suppress(ValueError):
            self.exits.remove(code)
            return True
        return False

    def said(self) -> str:
        """All that it wrote, in all its lives."""
        try:
            return self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    @property
    def unexpected_exits(self) -> list[int]:
        """Exit codes other than 0 that the bench did not cause by killing it."""
        bad = [code for code in self.exits if code != 0]
        for _ in range(self.killed):
            with contextlib.suppress(ValueError):
                bad.remove(-signal.SIGKILL)
        return bad


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off SIGINT and SIGTERM: an interrupted start would leave a process that the bench does not know of."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda got, _: came.append(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
