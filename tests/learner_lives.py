"""Lives of a learner on one run directory, from start to death, without a network."""

from pathlib import Path

from dppo.learner.config import CollectConfig, LearnerConfig, NetworkConfig, RunConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.run import Run
from dppo.learner.storage.journal_records import Entry
from dppo.learner.storage.run_directory import RunDirectory
from dppo.protocol.specs import Leaf, Spec

ALICE = b"alice---"
SPEC = Spec((Leaf("observation", "<f4", (3,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=2),))
CONFIG = LearnerConfig(
    collect=CollectConfig(batch_steps=256),
    network=NetworkConfig(policy_hidden=(4,), critic_hidden=(4,)),
    run=RunConfig(checkpoint_seconds=100.0, tensorboard=False),
)


class Life:
    """One learner on a run directory, from its start to its death."""

    def __init__(self, path: Path, config: LearnerConfig = CONFIG) -> None:
        self.directory = RunDirectory.open(path)
        self.run = Run(config, self.directory, launched_at=0.0)
        self.session = self.run.session()

    def begin(self) -> int:
        version, _ = self.run.prepare(SPEC)
        self.run.journal.append(Entry("published", version))
        return version

    def update(self) -> int:
        self.run.progress.updates += 1
        version, _ = self.run.next_graph()
        self.run.journal.append(Entry("published", version))
        return version

    def save(self, now: float) -> bool:
        due = self.run.checkpoint_due(now)
        if due:
            self.run.save(self.run.books(self.session), now)
        return due

    @property
    def trainer(self) -> Trainer:
        assert self.run._trainer is not None
        return self.run._trainer

    def accept(self, seq: int, steps: int) -> None:
        account = self.session.ledger.open(ALICE, "alice")
        account.accept(seq, steps, batch=1)
        self.run.journal.append(Entry.of(account, ALICE, "accepted", steps))

    def die(self) -> None:
        self.directory.close()
