"""Processes that a run starts beside its training: the one that films, and the one that evaluates."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from dppo.learner.telemetry.status import Status
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.watch.evaluator import EvaluationPlan, Evaluator
from dppo.watch.recorder import Recorder

EPISODES = 20  # where there is no evaluation at the end that says how many


class SideProcesses:
    """Give it every Status. Use as a context manager: leaving it ends all of them."""

    def __init__(
        self, config: TrainConfig | LearnerProcessConfig, directory: Path, note: Callable[[str], None]
    ) -> None:
        run, envs = config.learner.run, config.learner.collect.envs_per_actor
        plan = EvaluationPlan(config.evaluation_episodes or EPISODES, envs, config.evaluation_seconds)
        self.recorder = Recorder(run, directory, note)
        self.evaluator = Evaluator(run, plan, directory, note)

    def __enter__(self) -> Self:
        self.recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.evaluator.close()
        finally:
            self.recorder.__exit__(kind, error, trace)

    @property
    def pids(self) -> set[int]:
        """Return the pids of those that run."""
        return self.recorder.pids | self.evaluator.pids

    def look(self, status: Status) -> None:
        """Start what is due."""
        self.recorder.look(status)
        self.evaluator.look(status)
