"""What a run keeps and what it goes on from: cadence, disks that are full or damaged, journals, versions."""

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dppo.learner.config import CollectConfig, LearnerConfig, NetworkConfig, RunConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.run import Run
from dppo.learner.storage import checkpoint, journal, run_directory
from dppo.learner.storage import checkpointer as saving
from dppo.learner.storage.journal_records import Entry
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.telemetry.log_backoff import LogBackoff
from dppo.protocol.errors import CheckpointError
from dppo.protocol.specs import Leaf, Spec

ALICE = b"alice---"
SPEC = Spec((Leaf("observation", "<f4", (3,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=2),))
CONFIG = LearnerConfig(
    collect=CollectConfig(batch_steps=256),
    network=NetworkConfig(policy_hidden=(4,), critic_hidden=(4,)),
    run=RunConfig(checkpoint_seconds=100.0, tensorboard=False),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


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
        account.accept(seq, steps)
        self.run.journal.append(Entry.of(account, ALICE, "accepted", steps))

    def die(self) -> None:
        self.directory.close()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Every way in which a run writes files fails while the list says so."""
    full = [False]

    def refusing(call: Any) -> Any:
        def checked(*arguments: Any, **keywords: Any) -> Any:
            if full[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments, **keywords)

        return checked

    monkeypatch.setattr(checkpoint, "write_own", refusing(checkpoint.write_own))
    monkeypatch.setattr(checkpoint, "write_durably", refusing(checkpoint.write_durably))
    monkeypatch.setattr(run_directory, "replace_file", refusing(run_directory.replace_file))
    monkeypatch.setattr(os, "write", refusing(os.write))
    return full


def test_every_update_is_in_a_checkpoint_and_a_lasting_one_is_written_from_time_to_time(path: Path) -> None:
    life = Life(path)
    life.begin()
    for now in (50.0, 90.0, 101.0, 150.0):
        life.update()
        assert life.save(now)
        life.run.saving_took(0.01)
    assert sorted(file.name for file in (path / "checkpoints").iterdir()) == ["00000003", "recent"]
    life.die()
    resumed = Life(path)
    assert resumed.run.progress.updates == 4
    resumed.die()


def test_recent_checkpoints_take_no_more_than_their_share_of_the_time(path: Path) -> None:
    life = Life(path)
    life.begin()
    saved = []
    for tick in range(1, 201):
        life.update()
        saved.append(life.save(tick * 0.1))
        if saved[-1]:
            life.run.saving_took(0.05)  # half of the time that an update takes; a tenth is allowed
    assert all(saved[:8])
    assert sum(saved[20:]) == 36
    life.die()


def test_a_checkpoint_that_had_to_wait_for_a_core_does_not_keep_the_next_updates_without_one(path: Path) -> None:
    life = Life(path)
    life.begin()
    for tick in range(1, 21):
        life.update()
        assert life.save(tick * 0.1)
        life.run.saving_took(5.0 if tick % 4 else 0.005)
    life.die()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 5)])
def test_how_much_of_the_time_is_a_setting(path: Path, share: float, expected: int) -> None:
    life = Life(path, replace(CONFIG, run=replace(CONFIG.run, checkpoint_share=share)))
    life.begin()
    for tick in range(5):
        life.update()
        if life.save(float(tick)):
            life.run.saving_took(0.9)
    assert (path / "checkpoints" / "recent").exists() == bool(expected)
    life.die()


def test_of_one_update_the_lasting_checkpoint_is_taken_up_because_it_is_the_later_one(path: Path) -> None:
    life = Life(path)
    life.begin()
    life.update()
    life.save(1.0)
    life.accept(1, 10)
    life.session.ledger.drop_pending("shutdown")
    life.run.close("interrupted", life.run.books(life.session), 2.0)
    life.die()
    resumed = Life(path)
    assert resumed.run.ledger.total().dropped["shutdown"] == 10
    resumed.die()


def test_an_update_that_was_cut_off_is_taken_back_bit_for_bit(path: Path) -> None:
    life = Life(path)
    life.begin()
    assert not life.run.can_go_back, "there is no checkpoint yet"
    life.update()
    assert not life.run.can_go_back
    assert life.save(now=1.0)
    assert life.run.can_go_back
    before = life.trainer.tensors()
    for tensor in life.trainer._live_tensors().values():
        tensor.detach().add_(1)  # as an update does in between
    life.run.go_back()
    after = life.trainer.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    life.update()
    assert not life.run.can_go_back, "one update is in no checkpoint"


def test_after_a_resume_the_checkpoint_that_it_came_from_can_be_gone_back_to(path: Path) -> None:
    life = Life(path)
    life.begin()
    life.update()
    life.save(now=1.0)
    life.die()
    again = Life(path)
    again.begin()
    assert again.run.can_go_back


def test_what_a_killed_learner_had_accepted_is_booked_and_its_versions_are_not_given_out_again(path: Path) -> None:
    life = Life(path)
    life.begin()
    life.update()
    life.save(1.0)
    newest = life.update()
    life.accept(1, 10)
    life.accept(2, 20)
    life.die()
    resumed = Life(path)
    assert resumed.run.ledger.accounts[ALICE].dropped["learner_crash"] == 30
    assert resumed.begin() == newest + 1
    resumed.die()


def test_a_learner_killed_before_its_first_checkpoint_leaves_books_and_versions_too(path: Path) -> None:
    life = Life(path)
    assert life.begin() == 1
    life.accept(1, 10)
    life.die()
    resumed = Life(path)
    assert resumed.run.ledger.total().dropped["learner_crash"] == 10
    assert resumed.begin() == 2
    resumed.die()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_recent_checkpoint_falls_back_to_the_lasting_one_with_the_whole_journal_behind_it(
    path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    life = Life(path)
    life.begin()
    life.update()
    life.save(101.0)
    life.accept(1, 10)
    life.update()
    life.save(102.0)
    life.accept(2, 20)
    life.die()
    recent = path / "checkpoints" / "recent"
    content = bytearray(recent.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        recent.unlink()
    else:
        recent.write_bytes(content[:-1] if damage == "truncated" else content)
    with caplog.at_level(logging.WARNING):
        resumed = Life(path)
    assert resumed.run.progress.updates == 1
    assert resumed.run.ledger.accounts[ALICE].dropped["learner_crash"] == 30
    assert ("Falling back" in caplog.text) == (damage != "gone")
    resumed.die()


def test_a_run_whose_only_checkpoint_is_damaged_stops_instead_of_beginning_again(path: Path) -> None:
    life = Life(path)
    life.begin()
    life.update()
    life.save(1.0)
    life.die()
    (path / "checkpoints" / "recent").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        Life(path)


def test_the_journal_is_kept_as_long_as_a_checkpoint_may_need_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LONG_RECORDS", 1)
    life = Life(path, replace(CONFIG, run=replace(CONFIG.run, checkpoint_seconds=0.0, keep_checkpoints=2)))
    life.begin()
    for number in range(1, 7):
        life.accept(number, 10)
        life.session.ledger.train()
        life.run.progress.steps += 10
        life.update()
        life.save(float(number))
    assert 1 <= len(list((path / "journal").glob("[0-9]*"))) <= 2
    life.die()
    newest = path / "checkpoints" / "00000006" / "state.json"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed = Life(path)
    account = resumed.run.ledger.accounts[ALICE]
    assert (account.trained, account.dropped["learner_crash"], account.watermark) == (50, 10, 6)
    resumed.die()


@pytest.mark.parametrize("restart", [False, True])
def test_the_best_checkpoint_keeps_what_it_needs_of_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    monkeypatch.setattr(journal, "LONG_RECORDS", 1)
    config = replace(CONFIG, run=replace(CONFIG.run, checkpoint_seconds=0.0, keep_checkpoints=2, return_window=1))
    life = Life(path, config)
    life.begin()
    for number in range(1, 12):
        if restart and number == 5:
            life.die()
            life = Life(path, config)
            life.begin()
        life.run.episodes.add([100.0 - abs(number - 3)], [10], [float("nan")])  # the third is the best
        life.accept(number, 10)
        life.session.ledger.train()
        life.run.progress.steps += 10
        life.update()
        life.save(float(number))
    assert sorted(p.name for p in (path / "checkpoints").glob("[0-9]*")) == ["00000003", "00000010", "00000011"]
    life.die()
    for name in ("00000010", "00000011"):
        (path / "checkpoints" / name / "state.json").write_bytes(b"damaged")
    resumed = Life(path, config)
    account = resumed.run.ledger.accounts[ALICE]
    assert (account.trained, account.dropped["learner_crash"], account.watermark) == (30, 80, 11)
    assert resumed.run.ledger.unaccounted.most == 0
    resumed.die()


def test_the_best_checkpoint_does_not_fill_the_disk_with_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LONG_RECORDS", 1)
    monkeypatch.setattr(saving, "MOST_FILES", 4)
    config = replace(CONFIG, run=replace(CONFIG.run, checkpoint_seconds=0.0, keep_checkpoints=2, return_window=1))
    life = Life(path, config)
    life.begin()
    for number in range(1, 20):
        life.run.episodes.add([-float(number)], [10], [float("nan")])
        life.accept(number, 10)
        life.session.ledger.train()
        life.run.progress.steps += 10
        life.update()
        life.save(float(number))
    assert len(list((path / "journal").glob("[0-9]*"))) <= 6
    life.die()


def test_on_a_full_disk_training_goes_on_loudly_and_all_is_written_once_there_is_space(
    path: Path, full_disk: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    life = Life(path)
    life.begin()
    full_disk[0] = True
    with caplog.at_level(logging.WARNING):
        for number in range(1, 10):
            life.accept(number, 10)
            life.update()
            life.save(float(number))
    for what in ("policy.onnx", "recent checkpoint", "journal"):
        assert 1 <= sum(what in record.getMessage() for record in caplog.records) <= 5, what
    full_disk[0] = False
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        life.accept(10, 10)
        life.update()
        life.save(11.0)
    assert caplog.text.count("written again") == 3
    life.accept(11, 10)
    life.die()
    resumed = Life(path)
    assert resumed.run.progress.updates == 10
    assert resumed.run.ledger.accounts[ALICE].dropped["learner_crash"] == 110
    resumed.die()


def test_what_goes_wrong_again_and_again_is_said_ever_more_rarely() -> None:
    said: list[str] = []
    complaints = LogBackoff(said.append)
    for _ in range(100):
        complaints.failed("the file", "no space")
    assert len(said) == 7
    complaints.worked("the file")
    complaints.worked("the file")
    assert said[-1] == "the file can be written again"
    assert len(said) == 8
