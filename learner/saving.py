"""What a checkpoint of a run holds, when one is due, and how a run goes on from the newest one. Keeps no clock."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from learner.config import LearnerConfig
from learner.episodes import EpisodeWindow
from learner.run_directory import RunDirectory
from protocol.errors import CheckpointError, UsageError
from protocol.ledger import Ledger
from protocol.specs import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from learner.trainer import Trainer

log = logging.getLogger("dppo.learner")


@dataclass
class Progress:
    """Counters of a run, as they go into checkpoints."""

    updates: int = 0
    version: int = 0
    steps: int = 0  # trained
    trained_seconds: float = 0.0  # of all starts together, up to this one
    solved_steps: int | None = None
    solved_seconds: float | None = None  # since the launch of this start
    best_mean_return: float | None = None


@dataclass(frozen=True)
class Resumed:
    """A run as its newest readable checkpoint knows it."""

    progress: Progress
    episodes: EpisodeWindow
    ledger: Ledger
    spec: Spec
    tensors: "Mapping[str, Tensor]"
    trainer: dict[str, Any]  # its counters


def resume(directory: RunDirectory, config: LearnerConfig) -> Resumed | None:
    """The newest readable checkpoint; None where the run has none.

    Raises UsageError where it is of another environment, CheckpointError where none of several can be read.
    """
    if not any(directory.checkpoints.iterdir()):
        return None
    from learner.checkpoint import newest

    checkpoint = newest(directory.checkpoints, log.warning)
    if checkpoint is None:
        return None
    state = checkpoint.state
    if state["env"] != config.env.id:
        raise UsageError(
            f"{directory.path} holds a run of {state['env']}, not of {config.env.id}: choose another run.directory"
        )
    progress = Progress(**state["progress"])
    ledger = Ledger.from_state(state["ledger"])
    ledger.drop_pending("learner_crash")  # accepted after the last update that the checkpoint knows
    log.info("resuming %s after update %d (%d steps)", directory.path, progress.updates, progress.steps)
    return Resumed(
        progress=progress,
        episodes=EpisodeWindow.from_dict(config.run.return_window, state["episodes"]),
        ledger=ledger,
        spec=msgspec.convert(state["spec"], Spec),
        tensors=checkpoint.tensors,
        trainer=state["trainer"],
    )


class Saver:
    """Writes a run's checkpoints."""

    def __init__(self, directory: RunDirectory, config: LearnerConfig, launched_at: float) -> None:
        """launched_at: on the clock that the other methods' `now` is on."""
        self._directory = directory
        self._config = config
        self._launched_at = launched_at
        self._saved_at = launched_at

    def due(self, now: float) -> bool:
        """Whether it is time to save."""
        return now - self._saved_at >= self._config.run.checkpoint_seconds

    def save(
        self,
        trainer: "Trainer",
        *,
        progress: Progress,
        episodes: EpisodeWindow,
        spec: Spec | None,
        ledger: dict[str, Any],
        slots: dict[str, Any],
        now: float,
    ) -> None:
        """Write a checkpoint and what of the run depends on it. A full or read-only disk is reported, no more."""
        from learner.checkpoint import offer_best, prune, save

        self._saved_at = now
        state = {
            "progress": {
                **msgspec.to_builtins(progress),
                "trained_seconds": progress.trained_seconds + now - self._launched_at,
            },
            "trainer": trainer.counters(),
            "episodes": episodes.to_dict(),
            "ledger": ledger,
            "slots": slots,
            "spec": msgspec.to_builtins(spec),
            "env": self._config.env.id,
            "seed": self._config.run.seed,
        }
        checkpoints = self._directory.checkpoints
        try:
            save(checkpoints, progress.updates, trainer.tensors(), state)
            mean = episodes.mean_return if episodes.is_full else None
            prune(checkpoints, self._config.run.keep_checkpoints, offer_best(checkpoints, progress.updates, mean))
            self._directory.write_json("ledger.json", ledger)
        except (CheckpointError, OSError) as error:
            log.error("%s", error)
