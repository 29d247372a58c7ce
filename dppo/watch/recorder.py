"""Videos of a run at intervals: when to start the process that films, and what to do where it fails.

Knows Status records and processes; the filming itself is `dppo.watch.record_episode`, in a process of its own.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from dppo.learner.config import RunConfig
from dppo.learner.telemetry.status import Status
from dppo.local.processes import Child, end, wait
from dppo.protocol.errors import DppoError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline

LAST_VIDEO_SECONDS = 60.0  # to film the end of a run; its process stops playing after FILMING_SECONDS
END_SECONDS = 2.0


class Recorder:
    """Give it every Status. Use as a context manager: leaving it ends what still films.

    A video is started at most every `run.video_seconds`, never before a policy is there, and never while the one before
    is not finished. Where a video fails, the reason is noted once and no more are tried: the run does not need them.
    """

    def __init__(self, run: RunConfig, directory: Path, note: Callable[[str], None]) -> None:
        self._seconds = run.video_seconds
        self._events = "events" if run.tensorboard else "none"
        self._directory = directory
        self._note = note
        self._lifeline = Lifeline()
        self._filming: Child | None = None
        self._working_directory = Path.cwd()  # an environment may change that of this process meanwhile
        self._due_seconds = self._seconds  # since the launch of the run
        self._has_policy = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._filming is not None:
            end([self._filming], END_SECONDS)
        self._lifeline.close()

    @property
    def pids(self) -> set[int]:
        """Return the pid of the process that films, if there is one."""
        process = None if self._filming is None else self._filming.process
        return set() if process is None else {process.pid}

    def look(self, status: Status) -> None:
        """Start a video if one is due."""
        if not self._seconds or status.version < 1:
            return
        self._has_policy = True
        self._look_after_child()
        if self._seconds and self._filming is None and status.elapsed_seconds >= self._due_seconds:
            self._due_seconds = status.elapsed_seconds + self._seconds
            self._film("gently")

    @property
    def may_film(self) -> bool:
        """Whether `film_the_end` would film: videos are wanted, and there is a policy."""
        self._look_after_child()
        return self._has_policy and self._seconds > 0

    def film_the_end(self) -> None:
        """One more video, of the policy that is there when the run is over; returns when it is written."""
        if not self.may_film:
            return
        if self._filming is not None:  # at the lowest priority, and of an older policy
            end([self._filming], END_SECONDS)
            self._filming = None
        self._film("now")
        if self._filming is None:
            return
        wait([self._filming], LAST_VIDEO_SECONDS)
        self._look_after_child()
        if self._filming is not None:
            end([self._filming], END_SECONDS)
            self._filming = None
            self._note(f"no video of the end: it takes more than {LAST_VIDEO_SECONDS:.0f} s")

    def _film(self, pace: Literal["gently", "now"]) -> None:
        logs = self._directory / "logs"
        try:
            logs.mkdir(parents=True, exist_ok=True)
            arguments = ("-m", "dppo.watch.record_episode", str(self._directory), self._events, pace)
            self._filming = Child("video", arguments, logs / "video.log", self._lifeline, {"OMP_NUM_THREADS": "1"})
            self._filming.working_directory = self._working_directory
            self._filming.start()
        except (OSError, DppoError) as error:
            self._filming = None
            self._give_up(getattr(error, "strerror", None) or str(error))

    def _look_after_child(self) -> None:
        child = self._filming
        code = None if child is None else child.died()
        if child is None or code is None:
            return
        self._filming = None
        if code:
            self._give_up(child.last_error() or f"filming {how_it_ended(code)}")

    def _give_up(self, reason: str) -> None:
        self._seconds = 0.0
        self._note(f"no videos: {reason}")
