"""Evaluations of a run at intervals: when to start the process that evaluates, and what to do where it fails.

Knows Status records and processes; the evaluation itself is `dppo.watch.evaluate_newest`, in a process of its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dppo.learner.config import RunConfig
from dppo.learner.telemetry.status import Status
from dppo.local.processes import Child, end, wait
from dppo.number_text import mean_and_spread
from dppo.protocol.errors import DppoError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline
from dppo.watch.episode_results import RETURN
from dppo.watch.evaluation_lines import lines

OVERTIME_SECONDS = 60.0  # to start at the lowest priority, and to close environments
LAST_OVERTIME_SECONDS = 15.0  # likewise when the run is over and nothing else wants the time
END_SECONDS = 2.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class EvaluationPlan:
    """Size of each evaluation."""

    episodes: int
    envs: int
    max_seconds: float


class Evaluator:
    """Give it every Status, then `stop`, `evaluate_the_end`; `close` ends what still evaluates.

    An evaluation is started at most every `run.evaluate_seconds`, never before a policy is there, and never while the
    one before is not finished; and once when the run is over, so that also the last policy can become the best one.
    Where one fails, the reason is noted once and no more are tried.
    """

    def __init__(self, run: RunConfig, plan: EvaluationPlan, directory: Path, note: Callable[[str], None]) -> None:
        self._seconds = run.evaluate_seconds
        self._events = "events" if run.tensorboard else "none"
        self._plan = plan
        self._directory = directory
        self._note = note
        self._lifeline = Lifeline()
        self._is_closed = False
        self._child: Child | None = None
        self._working_directory = Path.cwd()  # an environment may change that of this process meanwhile
        self._due_seconds = self._seconds  # since the launch of the run
        self._started_seconds = 0.0
        self._has_policy = False

    def stop(self) -> None:
        """End the process that evaluates, if there is one: what it plays is no longer the newest policy."""
        if self._child is not None:
            end([self._child], END_SECONDS)
            self._child = None

    @property
    def may_evaluate(self) -> bool:
        """Whether `evaluate_the_end` would evaluate: the run wants it, it has not failed, and there is a policy."""
        return self._has_policy and self._seconds > 0

    @property
    def max_seconds(self) -> float:
        """Return the seconds that one evaluation may play."""
        return self._plan.max_seconds

    def evaluate_the_end(self, is_interrupted: Callable[[], bool]) -> None:
        """One more evaluation, of the policy that is there when the run is over; returns when its result is shown."""
        self.stop()
        if not self.may_evaluate:
            return
        self._start("now")
        deadline = time.monotonic() + self._plan.max_seconds + LAST_OVERTIME_SECONDS
        while (child := self._child) is not None and not is_interrupted():
            wait([child], POLL_SECONDS)
            code = child.died()
            if code is None and time.monotonic() > deadline:
                self.stop()
                self._note(f"the last policy was not evaluated: it takes more than {self._plan.max_seconds:g} s")
            elif code is not None:
                self._child = None
                error = child.last_error() or f"its process {how_it_ended(code)}"
                self._show() if code == 0 else self._note(f"the last policy was not evaluated: {error}")
        self.stop()

    def close(self) -> None:
        """End the process that evaluates, if there is one; no more are started. May be called again."""
        self._seconds = 0.0
        self.stop()
        if not self._is_closed:
            self._is_closed = True
            self._lifeline.close()

    @property
    def pids(self) -> set[int]:
        """Return the pid of the process that evaluates, if there is one."""
        process = None if self._child is None else self._child.process
        return set() if process is None else {process.pid}

    def look(self, status: Status) -> None:
        """Show the result of an evaluation that is over, and start one if it is due."""
        if not self._seconds or status.version < 1:
            return
        self._has_policy = True
        self._look_after_child(status.elapsed_seconds)
        if self._seconds and self._child is None and status.elapsed_seconds >= self._due_seconds:
            self._due_seconds = status.elapsed_seconds + self._seconds
            self._started_seconds = status.elapsed_seconds
            self._start("gently")

    def _start(self, pace: Literal["gently", "now"]) -> None:
        logs, plan = self._directory / "logs", self._plan
        figures = (str(plan.episodes), str(plan.envs), str(plan.max_seconds))
        try:
            logs.mkdir(parents=True, exist_ok=True)
            arguments = ("-m", "dppo.watch.evaluate_newest", str(self._directory), self._events, *figures, pace)
            log = logs / "evaluations.log"
            self._child = Child("evaluations", arguments, log, self._lifeline, {"OMP_NUM_THREADS": "1"})
            self._child.working_directory = self._working_directory
            self._child.start()
        except (OSError, DppoError) as error:
            self._child = None
            self._give_up(getattr(error, "strerror", None) or str(error))

    def _look_after_child(self, now: float) -> None:
        child = self._child
        if child is None:
            return
        code = child.died()
        if code is None:
            if now - self._started_seconds > self._plan.max_seconds + OVERTIME_SECONDS:
                end([child], END_SECONDS)
                self._child = None
                self._give_up(f"one takes longer than {self._plan.max_seconds + OVERTIME_SECONDS:g} s")
            return
        self._child = None
        if code:
            self._give_up(child.last_error() or f"it {how_it_ended(code)}")
        else:
            self._show()

    def _show(self) -> None:
        *_, line = lines(self._directory)
        figures = mean_and_spread(
            mean=line["return_mean"], std=line["return_std"], low=line["return_min"], high=line["return_max"]
        )
        stopped = f" ({line['stopped']})" if line["stopped"] else ""
        best = ", the best so far" if line["is_best"] else ""
        self._note(
            f"evaluation after {line['steps']:,} steps, {line['episodes']} episodes{stopped}: "
            f"{line.get('measure', RETURN)} {figures}{best}"
        )

    def _give_up(self, reason: str) -> None:
        self._seconds = 0.0
        self._note(f"no more evaluations while this run trains: {reason}")
