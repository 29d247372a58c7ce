"""`dppo ledger`: closes where the books close, and names the account where they do not."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dppo.cli import main
from dppo.learner.storage import checkpoint
from dppo.learner.storage.audit import audit
from dppo.learner.storage.journal import Journal
from dppo.learner.storage.journal_records import RECORD_BYTES, Entry
from dppo.protocol.ledger import Ledger

ALICE, BOB = b"alice---", b"bob-----"


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def books() -> Ledger:
    """40 steps trained, 10 of an actor that ended."""
    ledger = Ledger()
    ledger.open(ALICE, "alice").accept(1, 30, batch=1)
    ledger.open(BOB, "bob").accept(1, 10, batch=1)
    ledger.train(1)
    ledger.open(BOB, "bob").refuse(2, 5, "stale")
    ledger.close(BOB, "shutdown")
    return ledger


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A learner was killed after update 3, with one rollout accepted and one refused behind its checkpoint."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text('{"run_id": "1234", "term": 1}')
    ledger = books().to_state()
    journal = Journal(run, silent)
    journal.append(Entry("accepted", 1, 30, ALICE, "alice", 30))
    state = {"ledger": ledger, "progress": {"steps": 40}, "journal": list(journal.position)}
    checkpoint.save(run / "checkpoints", 2, {"w": torch.zeros(3)}, state)
    checkpoint.save_recent(run / "checkpoints", 3, {"w": torch.zeros(3)}, state)
    journal.append(Entry("accepted", 2, 7, ALICE, "alice", 37))
    journal.append(Entry("stale", 3, 6, ALICE, "alice", 43))
    journal.close()
    (run / "ledger.json").write_text(json.dumps(ledger))
    lines = [{"update": update, "steps": steps} for update, steps in ((1, 10), (2, 40), (3, 40), (4, 55))]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["ledger", *arguments])
    return int(ended.value.code or 0)


def test_books_that_close_are_shown_with_what_the_journal_adds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(run)) == 0
    said = capsys.readouterr()
    assert "58 steps sealed = 40 trained + 18 dropped (learner_crash 7, stale 11) + 0 in flight: closed" in said.out
    assert "checkpoints/recent (update 3, 40 steps) and 2 rollouts (13 steps)" in said.out
    assert "alice" in said.out
    assert said.err == ""


def test_table_breaks_neither_names_nor_numbers(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dppo.ops.ledger.PIPE_WIDTH", 80)
    assert command(str(run)) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "actor sealed trained in flight dropped dropped as"  # nothing is pending
    assert any(" ".join(row.split()) == "1 that ended 15 10 0 5 stale 5" for row in rows)
    assert any(row.split()[:2] == ["alice", "43"] for row in rows)
    assert "…" not in "".join(rows)
    monkeypatch.setattr("dppo.ops.ledger.PIPE_WIDTH", 60)
    assert command(str(run)) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["actor", "sealed", "trained", "in", "flight", "dropped"]
    assert "stale 11" in "".join(rows)  # in the line below
    assert "…" not in "".join(rows)


def test_lives_of_one_name_are_told_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = books()
    ledger.open(BOB, "alice").accept(1, 3, batch=1)
    ledger.train(1)
    checkpoint.save_recent(run / "checkpoints", 4, {}, {"ledger": ledger.to_state(), "progress": {"steps": 43}})
    command(str(run))
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["actor", "life"]
    assert {row.split()[1] for row in rows if row.split()[0] == "alice"} == {ALICE.hex()[:8], BOB.hex()[:8]}


def test_a_journal_that_adds_nothing_is_said_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"ledger": books().to_state(), "progress": {"steps": 40}, "journal": [1, 3, 43]}
    checkpoint.save_recent(run / "checkpoints", 3, {"w": torch.zeros(3)}, state)
    assert command(str(run)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(update 3, 40 steps); the journal behind it has nothing to add" in said
    assert "learner_crash" not in said


def test_as_json_it_is_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(run), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["closes"] is True
    assert shown["total"]["sealed"] == 58
    assert shown["accounts"][ALICE.hex()]["dropped"] == {"learner_crash": 7, "stale": 6}
    assert shown["journal"] == {"rollouts": 2, "steps": 13}


def change_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def lose_a_step(ledger: dict[str, Any]) -> None:
    ledger["accounts"][ALICE.hex()]["trained"] -= 1


def forget_the_closed(ledger: dict[str, Any]) -> None:
    ledger["total"]["sealed"] -= 15
    ledger["total"]["trained"] -= 10
    ledger["total"]["dropped"] = {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lose_a_step, f"ledger.json: alice ({ALICE.hex()}): sealed 30 is not 29"),
        (forget_the_closed, "ledger.json: total: sealed 30 is not the sum of its accounts, 45"),
    ],
)
def test_an_account_of_ledger_json_that_does_not_close_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    change_json(run / "ledger.json", change)
    assert command(str(run)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dppo: error: ")
    assert words in line


def test_a_rollout_that_is_in_no_entry_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(run, silent, number=3, steps=43)
    journal.append(Entry("accepted", 5, 7, ALICE, "alice", 50))
    journal.close()
    assert command(str(run)) == 1
    assert f"journal: alice ({ALICE.hex()}): rollout 4 is in no entry" in capsys.readouterr().err


def test_steps_that_the_trainer_has_not_counted_are_named(run: Path) -> None:
    state = {"ledger": books().to_state(), "progress": {"steps": 41}, "journal": [9, 3, 43]}
    checkpoint.save(run / "checkpoints", 5, {"w": torch.zeros(3)}, state)
    assert audit(run).problems == (
        "checkpoints/00000005: total: trained 40 is not the 41 steps that the trainer has counted",
    )


def test_a_curve_that_says_otherwise_is_named(run: Path) -> None:
    file = run / "metrics.jsonl"
    file.write_text(file.read_text().replace('"steps": 40', '"steps": 39'))
    (problem,) = audit(run).problems
    assert problem.startswith("metrics.jsonl: update 3: 39 steps")


def test_an_unreadable_newest_checkpoint_is_passed_over_as_the_learner_would(run: Path) -> None:
    recent = run / "checkpoints" / "recent"
    recent.write_bytes(recent.read_bytes()[:50])
    found = audit(run)
    assert (found.checkpoint, found.problems) == ("checkpoints/00000002", ())


def test_a_run_that_has_not_learned_yet_closes(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert command(str(tmp_path)) == 0


def test_without_a_run_it_is_an_error_of_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(tmp_path)) == 2
    assert "no run directory" in capsys.readouterr().err


def test_several_checkpoints_of_which_none_is_readable_are_an_error(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("recent", "00000002/state.json"):
        (run / "checkpoints" / path).write_bytes(b"?")
    assert command(str(run)) == 1
    assert "none of the 2 checkpoints" in capsys.readouterr().err


# Parts of the journal that are gone


def newest(run: Path) -> Path:
    return max((run / "journal").glob("[0-9]*"))


def test_a_damaged_record_is_said_with_its_steps_and_nothing_closes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(newest(run).read_bytes())
    content[RECORD_BYTES + 60] ^= 1
    newest(run).write_bytes(content)
    assert command(str(run)) == 1
    said = capsys.readouterr()
    assert "journal: record 1 is damaged or missing (7 steps)" in said.err
    assert "DOES NOT CLOSE" in said.out
    assert "closed" not in said.out


def test_a_whole_record_that_is_missing_at_the_end_is_noticed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest(run).write_bytes(newest(run).read_bytes()[:-RECORD_BYTES])
    assert command(str(run), "--json") == 1
    said = capsys.readouterr()
    assert "journal: record 2 is damaged or missing (6 steps)" in said.err
    shown = json.loads(said.out)
    assert shown["closes"] is False
    assert shown["unaccounted"] == {"least": 6, "most": 6}


def test_a_journal_without_its_end_is_not_vouched_for(run: Path) -> None:
    (run / "journal" / ".end").unlink()
    (problem,) = audit(run).problems
    assert problem.startswith("journal: its file .end is gone or damaged")


def test_steps_that_have_vanished_are_said_also_when_a_later_checkpoint_has_gone_beyond_them(run: Path) -> None:
    ledger = books()
    ledger.unaccounted.add(least=5, most=9)
    state = {"ledger": ledger.to_state(), "progress": {"steps": 40}, "journal": [1, 3, 43]}
    checkpoint.save_recent(run / "checkpoints", 3, {"w": torch.zeros(3)}, state)
    assert audit(run).problems == (
        "5 to 9 steps were acknowledged and are in no account: a part of the journal is gone",
    )


def test_a_journal_of_an_older_release_is_one_line(run: Path) -> None:
    body = bytes(170)
    newest(run).write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
    assert any("is of an older release and is not read" in problem for problem in audit(run).problems)


def test_a_journal_of_a_newer_release_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = newest(run).read_bytes()
    at = 2 * RECORD_BYTES
    body = bytearray(content[at : at + RECORD_BYTES - 4])
    body[19] = 200
    newest(run).write_bytes(content[:at] + body + zlib.crc32(body).to_bytes(4, "little"))
    assert command(str(run)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a kind that this release does not know (200): use the release that wrote it" in line


def test_what_a_learner_has_reported_and_the_actor_has_told_of_closes(run: Path) -> None:
    """The actor is alive, and told the next learner what the missing records said."""
    newest(run).write_bytes(newest(run).read_bytes()[:-RECORD_BYTES])
    journal = Journal(run, silent, number=3, steps=43)
    journal.append(Entry("noticed", 3))
    assert audit(run).problems == ("6 steps were acknowledged and are in no account: a part of the journal is gone",)
    journal.append(Entry("learner_crash", 3, 6, ALICE, "alice", 43, disposed=43))
    journal.close()
    assert audit(run).problems == ()


# What actors may have had when they ended


def test_what_an_actor_may_have_sealed_before_it_was_killed_is_said_with_a_bound(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed with its learner: it may have sealed 9 rollouts of 102 steps beyond those that anybody knows of."""
    journal = Journal(run, silent, number=3, steps=43)
    journal.append(Entry("accepted", 4, 7, ALICE, "alice", 50, may_hold=918))
    journal.close()
    assert command(str(run)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "closed, but for unknown: at most 918 steps that actors may have sealed and not delivered" in said
    assert command(str(run), "--json") == 0
    assert json.loads(capsys.readouterr().out)["total"]["unknown"] == 918
