"""What a run keeps and what it goes on from: cadence, disks that are full or damaged, journals, versions."""

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_lives import ALICE, CONFIG, Life

from dppo.learner.storage import checkpoint, run_directory
from dppo.learner.telemetry.log_backoff import LogBackoff


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


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
