"""One run without the wire: trainer, checkpoints, curves, episode statistics, the decision when it is over.

The service and the inline run give it batches and publish what it returns. It keeps no clock: times are handed in.
"""

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dppo.learner.config import LearnerConfig
from dppo.learner.failpoints import reach
from dppo.learner.gained import Gained
from dppo.learner.hooks import HookCalls
from dppo.learner.new_session import new_session
from dppo.learner.ppo.batch import Received
from dppo.learner.run_status import RunStatus, status_of
from dppo.learner.session.asynchronous import in_hand
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.settings import check_spaces, session_settings
from dppo.learner.session.slots import SlotTable
from dppo.learner.session.space_remarks import config_remarks, remarks
from dppo.learner.storage.best_policy import BestPolicy
from dppo.learner.storage.books import Books
from dppo.learner.storage.checkpointer import MOST_FILES, Content, Saver, resume
from dppo.learner.storage.initial_weights import begin_from, find_source
from dppo.learner.storage.journal import Journal
from dppo.learner.storage.journal_records import Entry
from dppo.learner.storage.network_record import load_same
from dppo.learner.storage.progress import over_because
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.storage.settings_history import Change, Moment, note_changes
from dppo.learner.storage.summary import durations, summary
from dppo.learner.telemetry.log_backoff import LogBackoff
from dppo.learner.telemetry.metrics import key_of, writer_of
from dppo.learner.telemetry.status import SUMMARY
from dppo.learner.telemetry.timings import Timings
from dppo.learner.telemetry.update_metrics import metrics_of_update, unreported, warnings_of
from dppo.protocol.specs import Spec
from dppo.protocol.trace import Trace

if TYPE_CHECKING:
    from dppo.learner.group.group import Group
    from dppo.learner.ppo.epochs import UpdateReport
    from dppo.learner.ppo.trainer import Trainer
    from dppo.learner.storage.checkpoint import Checkpoint

log = logging.getLogger("dppo.learner")


class Run:
    """The state of a run between updates."""

    def __init__(
        self,
        config: LearnerConfig,
        directory: RunDirectory,
        launched_at: float,
        time_of_day: float = 0.0,
        hooks: HookCalls | None = None,
        group: "Group | None" = None,
    ) -> None:
        """launched_at: on the clock of the other methods' `now`. time_of_day: of this start. group: of learners."""
        self.config = config
        self._hooks = hooks
        self._group = group
        self._is_first = group is None or group.place.rank == 0  # it writes the checkpoints
        self.launched_at = launched_at
        self._time_of_day = time_of_day
        self.metrics: dict[str, float] = {}  # of the newest update
        self.timings = Timings()
        self.env_restarts = 0  # never falls, though accounts are summed up while it is read
        self._trainer: Trainer | None = None
        self._gained = Gained(0, [])  # of several learners, in the newest update
        directory, resumed = (resume if group is None else group.resume)(directory, config)
        self.directory = directory
        first = 0 if group is None else group.place.first_slot
        self.slots = SlotTable(directory.start, limit=config.collect.slots, first=first)
        behind, self.spec, self._in_hand = resumed.behind, resumed.spec, resumed.in_hand
        self.journal = Journal(directory.path, log.warning, number=behind.number, steps=behind.steps)
        if behind.holes:
            self.journal.append(Entry("noticed", behind.number))
        self.progress, self.episodes, self.ledger = resumed.progress, resumed.episodes, resumed.ledger
        self._checkpoint: Checkpoint | None = resumed.checkpoint
        self._remark = log.warning if self._is_first else log.debug  # on what all learners find alike
        self._failures, self._warnings = LogBackoff(log.error), LogBackoff(self._remark)
        self._saver = Saver(directory, config, self.journal, launched_at, resumed.saved_update)
        best = (None, 0) if config.run.evaluate_seconds else (self.progress.best_mean_return, self.progress.best_update)
        self._best = BestPolicy(directory.path, self._failures, *best)  # where evaluations write it: never offered
        self._newest_graph = self._group_metadata = b""
        self._writer = writer_of(config, directory.path, log.warning)
        self._writer.resume_from(self.progress.updates)
        self.published: RunStatus  # the only thing here that other threads may read
        self._publish_status()

    def moment(self) -> Moment:
        """Return this start's time, number, updates and steps, for the run's history."""
        return Moment(self._time_of_day, self.directory.start, self.progress.updates, self.progress.steps)

    def session(self, lease_seconds: float = 0.0, trace: Trace | None = None) -> LearnerSession:
        """Return the learner's side of the protocol for this run. lease_seconds: 0 as set. trace: of its events."""
        learners = 1 if self._group is None else self._group.place.ranks
        settings = session_settings(self.config, self.directory, lease_seconds, learners)
        return new_session(settings, self.ledger, self.slots, self.spec, self._in_hand, trace)

    def prepare(self, spec: Spec) -> tuple[int, bytes]:
        """Build the trainer for these spaces (as resumed, if resumed); returns the first version and its graph."""
        from dppo.learner.models.onnx_export import group_metadata
        from dppo.learner.ppo.trainer import Trainer  # torch takes seconds to import: not before the socket is open

        run = self.config.run
        check_spaces(spec, self.config, self._remark)
        for line in (*remarks(spec, self.config.network), *config_remarks(self.config)):
            self._remark("%s", line)
        self.spec = spec
        self._trainer = Trainer(
            spec,
            ppo=self.config.ppo,
            network=self.config.network,
            seed=run.seed,
            total_steps=run.total_steps,
            device=run.device if self._group is None else self._group.device(run.device),
            torch_threads=run.torch_threads,
            reduce=None if self._group is None else self._group.reduce,
        )
        if self._checkpoint is not None:
            load_same(self._trainer, self._checkpoint, self.config.network, self.directory.path)
            self._checkpoint = None
        elif run.init_from:
            origin = begin_from(self._trainer, find_source(run.init_from, run.init_checkpoint), spec)
            note_changes(self.directory.path, (Change("weights", None, origin),), self.moment())
        if self._group is not None:
            self.progress.version = self._group.share_state(self._trainer, self.progress.version)
        self._trainer.check_graph()
        self._group_metadata = group_metadata() if self.config.collect.rule == "quota" else b""
        return self.next_graph()

    @property
    def over(self) -> str:
        """Return why the run is over, "" if it is not."""
        stopped = self._hooks.stop_reason if self._hooks is not None else ""
        return over_because(self.progress, self.config.run) or stopped

    def elapsed_seconds(self, now: float) -> float:
        """Return the time of all starts together: from each launch to its last checkpoint; of this start, to `now`."""
        return self.progress.trained_seconds + now - self.launched_at

    def note_first_step(self, now: float) -> None:
        """The first rollout of this start has been accepted; of the first start, its time is kept."""
        if self.progress.first_step_seconds is None:
            self.progress.first_step_seconds = now - self.launched_at
            self._publish_status()

    def update(self, batch: Sequence[Received]) -> "UpdateReport":
        """Train on the batch. Raises what a signal's handler raises in it: then `go_back`, else `commit`."""
        assert self._trainer is not None, "prepare comes first"
        if self._group is None:
            report = self._trainer.update(batch, self.progress.version if self.config.collect.max_staleness else None)
        else:
            report, self._gained = self._group.update(self._trainer, batch)
        reach("mid-update")
        return report

    def commit(self, batch: Sequence[Received], report: "UpdateReport", now: float) -> None:
        """Count an update that is done. Nothing in here may be cut off: the weights have moved."""
        before = self.episodes.total
        steps, episodes = Gained.of(batch) if self._group is None else self._gained
        for columns in episodes:
            self.episodes.add(*columns)
        progress = self.progress
        target, mean = self.config.run.target_return, self.episodes.mean_return if self.episodes.is_full else None
        if target is not None and progress.solved_steps is None and mean is not None and mean >= target:
            progress.solved_steps = progress.steps + steps
            progress.solved_seconds = self.elapsed_seconds(now)
            progress.solved_return = target
        progress.updates += 1
        progress.steps += steps
        progress.outliers += report.outliers
        progress.steps_left_out += report.steps_left_out
        for what, text in (*warnings_of(report), *unreported(self.episodes, self.spec, before)):
            self._warnings.failed(what, f"update {progress.updates}: {text}")
        self._publish_status()

    def _publish_status(self) -> None:
        path, parts = str(self.directory.path), self.timings.totals
        self.published = status_of(self.progress, self.episodes, self.metrics, path, parts)

    @property
    def can_go_back(self) -> bool:
        """Whether there is a checkpoint of this very update."""
        return self._saver.saved_update == self.progress.updates

    def go_back(self) -> None:
        """Forget the update that was cut off: the weights are again those that its batch was collected with."""
        from dppo.learner.storage.checkpoint import newest

        assert self._trainer is not None, "prepare comes first"
        cut_off = self.progress.updates + 1
        checkpoint = newest(self.directory.checkpoints, log.warning)
        if checkpoint is None or checkpoint.update != self.progress.updates:
            self._trainer = None  # the disk has failed meanwhile: nothing half done may be saved
            log.error("update %d was cut off, and the checkpoint before it is gone", cut_off)
            return
        self._trainer.load(checkpoint.tensors, checkpoint.state["trainer"], checkpoint.past)
        log.info("update %d took too long to wait for and was given up; the run goes on from before it", cut_off)

    def next_graph(self) -> tuple[int, bytes]:
        """Return the next version and its graph, also written to policy.onnx."""
        assert self._trainer is not None, "prepare comes first"
        self.progress.version += 1
        graph = self._newest_graph = self._trainer.graph_bytes(self.progress.version) + self._group_metadata
        try:
            self.directory.write_atomic("policy.onnx", graph)
        except OSError as error:
            self._failures.failed("policy.onnx", f"policy.onnx could not be written: {error.strerror}")
        else:
            self._failures.worked("policy.onnx")
        return self.progress.version, graph

    def record(self, report: "UpdateReport", timing: dict[str, float], env_restarts: int, now: float) -> None:
        """Write the update's line of the curve. env_restarts: of all actors, as the session knows it."""
        self.timings.add(timing)
        self.env_restarts = max(self.env_restarts, env_restarts)
        assert self.spec is not None, "prepare comes first"
        values = metrics_of_update(report, self.episodes, timing, self.config.run.target_return, self.spec.metrics)
        values["rollout/env_restarts"] = float(self.env_restarts)
        # a categorical policy has no std: JSON, in which reports travel, has no NaN
        self.metrics = {key_of(name): value for name, value in values.items() if math.isfinite(value)}
        self._publish_status()
        self._writer.write(self.progress.updates, self.progress.steps, self.elapsed_seconds(now), values)
        mean = self.episodes.mean_return if self.episodes.is_full and not self.config.run.evaluate_seconds else None
        self._best.offer(self.progress.updates, mean, self._newest_graph)
        if self.progress.updates == 1:  # not before: 30 ms that the start can do without; the actors are at work now
            self._writer.write_graph(self._graph)

    def call_hooks(self, batch: Sequence[Received]) -> None:
        """Call the user's hooks, after an update is recorded; under no lock. Raises HookError."""
        if self._hooks is not None:
            self._hooks.after_update(batch, self.published)

    def _graph(self) -> bytes:
        from dppo.learner.telemetry.tensorboard_graph import network_graph

        assert self._trainer is not None, "prepare comes first"
        return network_graph(self._trainer.policy, self._trainer.critic, self._trainer.policy.spec)

    def checkpoint_due(self, now: float) -> bool:
        """Whether it is time to save."""
        return self._saver.due(now) if self._group is None else self._group.from_first(self._saver.due(now))

    def books(self, session: LearnerSession) -> Books:
        """Return where every step is now; under the session's lock."""
        self.journal.turn_over(keeps=0 if self._is_first else MOST_FILES)
        crash = session.env_faults.newest_crash
        most = session.slots.most
        return Books(session.ledger.to_state(), self.journal.position, crash, most, in_hand(session.cycle))

    def of_all_learners(self, books: Books) -> Books:
        """Return this learner's books with those of the others, where there are some."""
        return books if self._group is None or not self._group.began else self._group.with_others(books)

    def save(self, books: Books, now: float) -> None:
        """Write the checkpoint that is due. A full or read-only disk is reported and does not stop the run."""
        self._best.write(now)
        if self._trainer is not None and self._is_first:
            self._saver.save(self._content(self._trainer, books), now)

    def saving_took(self, seconds: float) -> None:
        """Note how long the newest `save` took: recent checkpoints must not cost more than their share of the time."""
        self._saver.took(seconds)

    def _content(self, trainer: "Trainer", books: Books) -> Content:
        self.progress.best_mean_return, self.progress.best_update = self._best.written
        return Content(trainer, self.progress, self.episodes, self.spec, books)

    def close(self, reason: str, books: Books, now: float) -> None:
        """The end: last checkpoint, ledger, summary, then on_end of the hooks. Raises HookError."""
        self._best.write()
        if self._trainer is not None and self._is_first:  # also where its update is saved: the ledger has gone on since
            self._saver.save_lastingly(self._content(self._trainer, books), now)
        self.journal.close()
        self._writer.close()
        together = books.of_all()
        content_of_summary = {
            "reason": reason,
            **summary(self.config, self.progress, self.episodes, together.ledger["total"], alone=self._group is None),
            "environments": together.environments,
            "newest_crash": together.newest_crash,
            "starts": self.directory.start,
            "elapsed_seconds": self.elapsed_seconds(now),
            **durations(self.timings, self.directory.path),
            "hook_seconds": self._hooks.seconds if self._hooks is not None else 0.0,  # of this start
        }
        for name, content in (("ledger.json", together.ledger), (SUMMARY, content_of_summary)):
            try:
                self.directory.write_json(name, content)
            except OSError as error:
                log.error("%s could not be written: %s", self.directory.path / name, error.strerror)
        if self._hooks is not None:
            self._hooks.end(content_of_summary)
