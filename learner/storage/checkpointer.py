"""Contents of a run's checkpoints, when one is due, and how a run goes on from the newest one. Keeps no clock."""

import logging
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dppo.learner.config import LearnerConfig, NetworkConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.ppo.packed_rollouts import pack_groups
from dppo.learner.storage.books import Books
from dppo.learner.storage.checkpoint_format import read_document
from dppo.learner.storage.journal import Behind, Journal, Position, entries_behind
from dppo.learner.storage.journal_replay import replay
from dppo.learner.storage.kept_batches import KeptBatches, unpack_batches
from dppo.learner.storage.network_record import record
from dppo.learner.storage.progress import Progress, is_solved
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.learner.telemetry.log_backoff import LogBackoff
from dppo.protocol.errors import CheckpointError, UsageError
from dppo.protocol.ledger import Ledger
from dppo.protocol.process.quick_imports import quick_imports
from dppo.protocol.specs import Spec

if TYPE_CHECKING:
    import torch

    from dppo.learner.ppo.trainer import Trainer
    from dppo.learner.storage.checkpoint import Checkpoint

log = logging.getLogger("dppo.learner")

RECENT_COUNT = 8
MOST_FILES = 256  # of the journal, kept for the best checkpoint: 220 MB; what is beyond would be missed, and logged


@dataclass(frozen=True)
class Resumed:
    """A run as its newest readable checkpoint and the journal behind it know it; a new run where there is neither."""

    progress: Progress
    episodes: EpisodeWindow
    ledger: Ledger
    spec: Spec | None
    checkpoint: "Checkpoint | None"
    behind: Behind  # of the journal
    state: dict[str, Any] | None  # of the checkpoint that was found, whatever is used of it
    in_hand: KeptBatches = KeptBatches()

    @property
    def saved_update(self) -> int | None:
        """Update of the checkpoint; None where there is none."""
        return None if self.checkpoint is None else self.checkpoint.update


def resume(directory: RunDirectory, config: LearnerConfig, ranks: int = 1) -> tuple[RunDirectory, Resumed]:
    """Return the directory, and the state that this start goes on from. ranks: how many learners train the run.

    Raises UsageError where the checkpoint is of another environment or seed, CheckpointError where none of several can
    be read.
    """
    checkpoint = newest_checkpoint(directory)
    state = None if checkpoint is None else checkpoint.state
    if state is not None and (before := 1 + len(state.get("ranks", []))) != ranks:
        raise UsageError(
            f"{directory.path} was trained by {before} learner{'s' if before > 1 else ''}, and now {ranks} would: a "
            "run keeps its number of learners"
        )
    return directory, resumed_from(directory, config, state, checkpoint)


def resumed_from(
    directory: RunDirectory, config: LearnerConfig, state: dict[str, Any] | None, checkpoint: "Checkpoint | None"
) -> Resumed:
    """Return what a checkpoint's state and the journal in the directory make. Raises as `resume`."""
    progress, episodes, ledger = Progress(), EpisodeWindow(config.run.return_window), Ledger()
    spec, position, in_hand = None, Position(0, 0), KeptBatches()
    if state is not None:
        if state["env"] != config.env.id:
            raise UsageError(
                f"{directory.path} holds a run of {state['env']}, not of {config.env.id}: choose another run.directory"
            )
        if state["seed"] != config.run.seed:
            raise UsageError(
                f"{directory.path} holds a run with seed {state['seed']}, not {config.run.seed}: choose another "
                "run.directory"
            )
        progress = Progress(**state["progress"])
        target = config.run.target_return
        if target is not None and not is_solved(progress, target):  # perhaps a lower target was reached
            progress.solved_steps = progress.solved_seconds = progress.solved_return = None
        episodes = EpisodeWindow.from_dict(config.run.return_window, state["episodes"])
        ledger = Ledger.from_state(state["ledger"])
        if progress.updates:
            spec = msgspec.convert(state["spec"], Spec)
        else:
            checkpoint = None  # nothing was trained on: the next actors say which spaces the run has
        if spec is not None and checkpoint is not None:
            in_hand = _in_hand(checkpoint, progress.version)
        ledger.keep_pending(in_hand.waiting)  # the others were accepted after the last update that it knows
        position = Position.of(state.get("journal", (0,)))
        log.info("resuming %s after update %d (%s steps)", directory.path, progress.updates, f"{progress.steps:,}")
    try:
        behind = entries_behind(directory.path, position)
    except OSError as error:
        raise CheckpointError(
            f"the journal in {directory.path / 'journal'} cannot be read: {error.strerror or error}. Make it readable."
        ) from error
    replayed = replay(ledger, behind.entries, behind.holes)
    _report(directory.path, behind, replayed.found)
    progress.version = max(progress.version, replayed.version)  # what a dead learner published is not published again
    if replayed.rollouts:
        log.info("%d steps of %d rollouts had gone to a learner that died; booked", replayed.steps, replayed.rollouts)
    return Resumed(progress, episodes, ledger, spec, checkpoint, behind, state, in_hand)


def _in_hand(checkpoint: "Checkpoint", version: int) -> KeptBatches:
    """Return the batches that the checkpoint keeps."""
    kept = unpack_batches(checkpoint.in_hand, version)
    steps = sum(counter.total() for counter in kept.waiting.values())
    if steps:
        log.info("%s steps that were in hand go into the next updates", f"{steps:,}")
    return kept


def _report(path: Path, behind: Behind, found: int) -> None:
    """Log which parts of the journal are gone, a line each."""
    if behind.holes:
        missing = sum(hole.steps for hole in behind.holes)
        log.warning(
            "the journal in %s is damaged: %s; later records tell of %s of %s steps, the others are in no account",
            path / "journal",
            "; ".join(map(str, behind.holes[:3])) + (" ..." if len(behind.holes) > 3 else ""),
            f"{min(found, missing):,}",
            f"{missing:,}",
        )
    for problem in behind.problems:
        log.warning("the journal in %s: %s", path / "journal", problem)


def newest_checkpoint(directory: RunDirectory) -> "Checkpoint | None":
    """Return the newest readable checkpoint; None where there is none. Raises CheckpointError."""
    if not any(directory.checkpoints.iterdir()):
        return None
    with quick_imports():  # torch
        from dppo.learner.storage.checkpoint import newest

    return newest(directory.checkpoints, log.warning)


@dataclass(frozen=True)
class Content:
    """Contents of a checkpoint."""

    trainer: "Trainer"
    progress: Progress
    episodes: EpisodeWindow
    spec: Spec | None
    books: Books


def _tensors(content: Content, network: NetworkConfig) -> "dict[str, torch.Tensor]":
    from dppo.learner.storage.checkpoint import with_rollouts

    in_hand = b"" if content.spec is None else pack_groups(rollout_spec(content.spec, network), content.books.in_hand)
    return with_rollouts(content.trainer.tensors(), in_hand=in_hand, past=content.trainer.past())


class Saver:
    """Writes a run's checkpoints: a lasting one from time to time, a recent one after every update between them."""

    def __init__(
        self,
        directory: RunDirectory,
        config: LearnerConfig,
        journal: Journal,
        launched_at: float,
        saved_update: int | None = None,
    ) -> None:
        """launched_at: on the clock that the other methods' `now` is on. saved_update: of the checkpoint there is."""
        self.saved_update = saved_update  # of the newest checkpoint
        self._directory = directory
        self._env = config.env.id
        self._config, self._network = config.run, config.network
        self._journal = journal
        self._launched_at = launched_at
        self._failures = LogBackoff(log.error)
        self._lasting_at = launched_at
        self._recent_at = -math.inf
        # the shortest of them is what one costs: the others had to wait for a core
        self._recent_seconds: deque[float] = deque([0.0], maxlen=RECENT_COUNT)  # that the newest recent ones took
        self._best = (-1, 0)  # the best checkpoint's update and its file of the journal
        self._files: deque[int] = deque(maxlen=config.run.keep_checkpoints)  # of the journal, by lasting checkpoint

    def due(self, now: float) -> bool:
        """Whether it is time for a checkpoint of either kind."""
        share = self._config.checkpoint_share
        return self._lasting_due(now) or (share > 0 and min(self._recent_seconds) <= share * (now - self._recent_at))

    def save(self, content: Content, now: float) -> None:
        """The checkpoint that is due. A full or read-only disk is reported and does not stop the run."""
        if self._lasting_due(now):
            self.save_lastingly(content, now)
            return
        from dppo.learner.storage.checkpoint import save_recent

        self._recent_at = now
        try:
            tensors = _tensors(content, self._network)
            save_recent(self._directory.checkpoints, content.progress.updates, tensors, self._state(content, now))
        except CheckpointError as error:
            self._failures.failed("the recent checkpoint", error)
        else:
            self.saved_update = content.progress.updates
            self._failures.worked("the recent checkpoint")

    def took(self, seconds: float) -> None:
        """Note how long the newest call of `save` took."""
        if self._recent_at > self._lasting_at:
            self._recent_seconds.append(seconds)

    def save_lastingly(self, content: Content, now: float) -> None:
        """A checkpoint that survives a power failure, and ledger.json. Reports what cannot be written."""
        from dppo.learner.storage.checkpoint import offer_best, prune, save

        self._lasting_at = now
        checkpoints, update = self._directory.checkpoints, content.progress.updates
        try:
            save(checkpoints, update, _tensors(content, self._network), self._state(content, now))
            self._files.append(content.books.journal.file)
            mean = content.episodes.mean_return if content.episodes.is_full else None
            best = offer_best(checkpoints, update, mean)
            prune(checkpoints, self._config.keep_checkpoints, best)
            if best == update:
                self._best = (update, content.books.journal.file)
            if len(self._files) == self._files.maxlen:
                self._journal.forget_before(self._first_file_needed(best))
            self._directory.write_json("ledger.json", content.books.of_all().ledger)
        except CheckpointError as error:
            self._failures.failed("the checkpoint", error)
        except OSError as error:  # of the ledger, or of an old journal
            self._failures.failed("the checkpoint", f"{error.filename} could not be written: {error.strerror}")
        else:
            self.saved_update = update
            self._failures.worked("the checkpoint")

    def _first_file_needed(self, best: int | None) -> int:
        """Return the first journal file that lasting checkpoints need, or the best one (at most MOST_FILES back)."""
        if best is None:
            return self._files[0]
        if best != self._best[0]:  # of an earlier start
            try:
                document, _ = read_document(self._directory.checkpoints / f"{best:08d}")
                self._best = (best, Position.of(document["state"].get("journal", (0,))).file)
            except (OSError, ValueError):  # it is of no use
                return self._files[0]
        return min(self._files[0], max(self._best[1], self._files[-1] - MOST_FILES))

    def _lasting_due(self, now: float) -> bool:
        return now - self._lasting_at >= self._config.checkpoint_seconds

    def _state(self, content: Content, now: float) -> dict[str, Any]:
        progress, books = content.progress, content.books
        return {
            "progress": {
                **msgspec.to_builtins(progress),
                "trained_seconds": progress.trained_seconds + now - self._launched_at,
            },
            "trainer": content.trainer.counters(),
            **record(content.trainer, self._network),
            "episodes": content.episodes.to_dict(),
            "ledger": books.ledger,
            "journal": list(books.journal),
            **({"ranks": msgspec.to_builtins(books.others)} if books.others else {}),
            "spec": msgspec.to_builtins(content.spec),
            "env": self._env,
            "seed": self._config.seed,
        }
