"""A learner that resumes: what it takes up from checkpoints and journals, whole and damaged."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from learner_lives import ALICE, CONFIG, Life

from dppo.learner.storage import checkpointer as saving
from dppo.learner.storage import journal
from dppo.protocol.errors import CheckpointError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


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
        life.session.ledger.train(1)
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
        life.session.ledger.train(1)
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
        life.session.ledger.train(1)
        life.run.progress.steps += 10
        life.update()
        life.save(float(number))
    assert len(list((path / "journal").glob("[0-9]*"))) <= 6
    life.die()
