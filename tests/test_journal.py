"""The journal of acknowledged rollouts: whole after SIGKILL, readable up to a torn end, retried on a full disk."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.learner import appended_file
from dppo.learner.storage.journal import Journal, Position, entries_behind
from dppo.learner.storage.journal_records import RECORD_BYTES, Entry, unpack
from dppo.learner.storage.journal_replay import replay
from dppo.protocol.ledger import Ledger, imbalance

INCARNATION = b"12345678"
START = Position(0)


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def entries_after(path: Path, position: Position) -> list[Entry]:
    return list(entries_behind(path, position).entries)


def accepted(seq: int, steps: int = 10) -> Entry:
    return Entry("accepted", seq, steps, INCARNATION, "host/7", sealed=seq * steps)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path, silent)
    yield journal
    journal.close()


@given(
    st.builds(
        Entry,
        kind=st.sampled_from(["accepted", "told", "published", "stale", "invalid", "learner_crash", "shutdown"]),
        seq=st.integers(0, 2**53),
        steps=st.integers(0, 2**53),
        incarnation=st.binary(min_size=8, max_size=8),
        actor=st.text("abcXYZ019_.:@-", max_size=128),
        sealed=st.integers(0, 2**53),
        dropped=st.integers(0, 2**53),
        disposed=st.integers(0, 2**53),
        may_hold=st.integers(0, 2**53),
    ),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
)
def test_an_entry_is_read_as_it_was_written(entry: Entry, number: int, steps: int) -> None:
    assert len(entry.pack(number, steps)) == RECORD_BYTES
    assert list(unpack(entry.pack(number, steps))) == [(number, steps, entry)]


def test_no_count_is_too_large_for_a_record() -> None:
    """Sums of what peers say may be anything; the learner must not end over one."""
    ((_, upto, entry),) = unpack(accepted(2**70, 2**70).pack(1, 2**71))
    assert (upto, entry.seq, entry.steps) == (2**64 - 1,) * 3


@given(st.integers(0, 3 * RECORD_BYTES - 1), st.integers(1, 255))
def test_a_damaged_byte_costs_its_entry_and_no_other(place: int, change: int) -> None:
    content = bytearray(b"".join(accepted(seq).pack(seq, 10 * seq) for seq in (1, 2, 3)))
    content[place] ^= change
    assert [number for number, _, _ in unpack(bytes(content))] == [
        n for n in (1, 2, 3) if n != 1 + place // RECORD_BYTES
    ]


@given(st.integers(0, 3 * RECORD_BYTES - 1), st.integers(1, 2 * RECORD_BYTES))
def test_behind_bytes_that_are_gone_reading_goes_on_with_the_next_whole_record(start: int, gone: int) -> None:
    content = b"".join(accepted(seq).pack(seq, 10 * seq) for seq in (1, 2, 3))
    content = content[:start] + content[start + gone :]
    hit = range(start // RECORD_BYTES, (start + gone - 1) // RECORD_BYTES + 1)
    assert [number for number, _, _ in unpack(content)] == [n for n in (1, 2, 3) if n - 1 not in hit]


def test_a_torn_end_costs_only_the_torn_entry() -> None:
    content = b"".join(accepted(seq).pack() for seq in (1, 2, 3))
    for length in range(len(content)):
        assert [record.entry.seq for record in unpack(content[:length])] == [1, 2, 3][: length // RECORD_BYTES]


def test_every_start_writes_a_file_of_its_own_so_that_a_torn_end_stays_an_end(tmp_path: Path, journal: Journal) -> None:
    journal.append(accepted(1))
    journal.append(accepted(2))
    first = tmp_path / "journal" / "00000001"
    first.write_bytes(first.read_bytes()[:-1])
    second = Journal(tmp_path, silent, number=2, steps=20)
    second.append(accepted(3))
    second.close()
    behind = entries_behind(tmp_path, START)
    assert [entry.seq for entry in behind.entries] == [1, 3]
    assert [str(hole) for hole in behind.holes] == ["record 1 is damaged or missing (10 steps)"]
    assert (behind.number, behind.steps, behind.problems) == (3, 30, ())


def test_only_what_is_behind_a_checkpoints_position_is_read(tmp_path: Path, journal: Journal) -> None:
    positions = []
    for seq in range(1, 7):
        positions.append(journal.position)
        journal.append(accepted(seq))
        if seq == 3:
            journal.begin_file()
    for seq, position in enumerate(positions, start=1):
        assert [entry.seq for entry in entries_after(tmp_path, position)] == list(range(seq, 7))
    assert list(entries_after(tmp_path, journal.position)) == []


def test_files_that_no_checkpoint_needs_are_deleted(tmp_path: Path, journal: Journal) -> None:
    journal.append(accepted(1))
    journal.begin_file()
    journal.append(accepted(2))
    journal.forget_before(journal.position.file)
    behind = entries_behind(tmp_path, START)
    assert [entry.seq for entry in behind.entries] == [2]
    assert [(hole.records, hole.steps) for hole in behind.holes] == [(1, 10)]  # known, and said


def test_entries_are_there_after_sigkill(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from dppo.learner.storage.journal_records import Entry
from dppo.learner.storage.journal import Journal
journal = Journal(Path({str(tmp_path)!r}), print)
for seq in range(1, 101):
    journal.append(Entry("accepted", seq, 10, {INCARNATION!r}, "host/7", seq * 10))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent.parent, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(entries_after(tmp_path, START)) == [accepted(seq) for seq in range(1, 101)]


def test_a_full_disk_is_said_once_and_the_entries_are_written_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    journal = Journal(tmp_path, said.append)
    journal.append(accepted(1))
    real, room = os.write, [RECORD_BYTES // 2]

    def full(descriptor: int, content: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, room[0] = room[0], 0  # half a record, then nothing
        return real(descriptor, bytes(content)[:taken])

    monkeypatch.setattr(appended_file.os, "write", full)
    for seq in (2, 3, 4):
        journal.append(accepted(seq))
    assert [entry.seq for entry in entries_after(tmp_path, START)] == [1]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    monkeypatch.undo()
    journal.append(accepted(5))
    journal.close()
    assert [entry.seq for entry in entries_after(tmp_path, START)] == [1, 2, 3, 4, 5]
    assert len(said) == 2
    assert "written again" in said[1]


def test_a_directory_that_is_gone_is_made_again(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "journal").write_text("in the way")
    journal = Journal(tmp_path, said.append)
    journal.append(accepted(1))
    (tmp_path / "journal").unlink()
    journal.append(accepted(2))
    journal.close()
    assert [entry.seq for entry in entries_after(tmp_path, START)] == [1, 2]


def test_replaying_twice_books_once_and_what_was_accepted_is_lost_with_its_learner() -> None:
    entries = [
        accepted(1),
        Entry("stale", 2, 7, INCARNATION, "host/7", 17),
        Entry("told", 2, 0, INCARNATION, "host/7", sealed=30, dropped=4),
        Entry("published", 9),
    ]
    ledger = Ledger()
    first, second = replay(ledger, entries), replay(ledger, entries)
    assert (first.rollouts, first.steps, first.version) == (2, 17, 9)
    assert (second.rollouts, second.steps) == (0, 0)
    account = ledger.accounts[INCARNATION]
    assert +account.dropped == {"learner_crash": 10, "stale": 7, "stop_partial": 4}
    assert (account.actor, account.watermark, account.sealed, account.in_flight) == ("host/7", 2, 30, 9)
    assert imbalance([account]) == ""


def test_an_incarnation_that_the_checkpoint_has_closed_is_not_booked_again() -> None:
    ledger = Ledger()
    ledger.open(INCARNATION, "host/7").accept(1, 10, batch=1)
    ledger.close(INCARNATION, "actor_lost")
    ledger.train(1)
    replay(ledger, [accepted(1)])
    assert ledger.total().sealed == ledger.total().trained == 10


def test_steps_written_off_and_delivered_after_all_are_counted_once() -> None:
    ledger = Ledger()
    account = ledger.open(INCARNATION, "host/7")
    account.sealed = 10
    ledger.write_off(INCARNATION)
    assert account.dropped["actor_lost"] == 10
    replay(ledger, [accepted(1)])
    assert account.sealed == account.dropped["learner_crash"] == account.dropped.total() == 10
