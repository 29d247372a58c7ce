"""Whatever happens to the files of a journal: nothing crashes, and acknowledged steps do not vanish without a word."""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.learner.storage.journal import Journal, Position, entries_behind
from dppo.learner.storage.journal_records import RECORD_BYTES, Entry, Kind
from dppo.learner.storage.journal_replay import replay
from dppo.protocol.ledger import Ledger, imbalance

WRITTEN: tuple[Kind, ...] = ("accepted", "accepted", "stale", "invalid", "published")
ACTORS = [bytes([65 + number]) * 8 for number in range(3)]


@dataclass
class Written:
    """A run whose learner was killed."""

    checkpoint: dict[str, Any]  # the ledger's state
    position: Position
    acknowledged: int  # steps, in all


def write(path: Path, chance: random.Random) -> Written:
    """A run of some starts, with a checkpoint somewhere in the middle; steps are acknowledged behind it."""
    ledger = Ledger()
    journal = Journal(path, print)
    events = chance.randrange(10, 60)
    checkpoint_at = chance.randrange(1, events)
    written = Written(ledger.to_state(), journal.position, 0)
    for event in range(events):
        key = chance.choice(ACTORS)
        account = ledger.open(key, f"actor-{key[0]}")
        steps, kind = chance.randrange(1, 100), chance.choice(WRITTEN)
        if kind == "published":
            journal.append(Entry("published", event))
        else:
            account.watermark += 1
            account.sealed += steps
            account.dropped["learner_crash" if kind == "accepted" else kind] += steps
            journal.append(Entry.of(account, key, kind, steps))
        if event == checkpoint_at:
            written = Written(ledger.to_state(), journal.position, 0)
        if chance.random() < 0.1:
            journal.begin_file()
        if chance.random() < 0.05:  # a restart
            number, at = journal.position.number, journal.position.steps
            journal.close()
            journal = Journal(path, print, number=number, steps=at)
    journal.close()
    written.acknowledged = ledger.total().disposed
    return written


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*"))


def flip_a_bit(path: Path, chance: random.Random) -> None:
    file = chance.choice(files(path))
    content = bytearray(file.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)


def cut_the_end_off(path: Path, chance: random.Random) -> None:
    file = chance.choice(files(path))
    content = file.read_bytes()
    cut = chance.randrange(len(content) + 1)
    file.write_bytes(content[: cut - cut % RECORD_BYTES if chance.random() < 0.5 else cut])


def cut_the_middle_out(path: Path, chance: random.Random) -> None:
    file = chance.choice(files(path))
    content = file.read_bytes()
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    file.write_bytes(content[:start] + content[end:])


def zero_a_block(path: Path, chance: random.Random) -> None:
    file = chance.choice(files(path))
    content = bytearray(file.read_bytes())
    start = chance.randrange(len(content) + 1)
    length = min(chance.randrange(1, 512), len(content) - start)
    content[start : start + length] = bytes(length)
    file.write_bytes(content)


def remove(path: Path, chance: random.Random) -> None:
    chance.choice(files(path)).unlink()


def duplicate(path: Path, chance: random.Random) -> None:
    content = chance.choice(files(path)).read_bytes()
    (path / f"{chance.randrange(1, 40):08d}").write_bytes(content)


def exchange(path: Path, chance: random.Random) -> None:
    one, other = (chance.choice(files(path)) for _ in range(2))
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])


def append_garbage(path: Path, chance: random.Random) -> None:
    with chance.choice(files(path)).open("ab") as file:
        file.write(chance.randbytes(chance.randrange(1, 400)))


def repeat_a_part(path: Path, chance: random.Random) -> None:
    file = chance.choice(files(path))
    content = file.read_bytes()
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    file.write_bytes(content + content[start:end])


HARMS: list[Callable[[Path, random.Random], None]] = [
    flip_a_bit,
    cut_the_end_off,
    cut_the_middle_out,
    zero_a_block,
    remove,
    duplicate,
    exchange,
    append_garbage,
    repeat_a_part,
]


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), harms=st.lists(st.sampled_from(HARMS), max_size=4))
def test_acknowledged_steps_never_vanish_without_a_word(
    seed: int, harms: list[Callable[[Path, random.Random], None]]
) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        written = write(path, chance)
        for harm in harms:
            if files(path / "journal"):
                harm(path / "journal", chance)
        behind = entries_behind(path, written.position)
        ledger = Ledger.from_state(written.checkpoint)
        replay(ledger, behind.entries, behind.holes)
    total = ledger.total()
    assert imbalance([ledger.closed, *ledger.accounts.values()]) == ""
    vanished = written.acknowledged - total.disposed
    assert vanished >= 0  # nothing is made up
    if not harms:
        assert (vanished, behind.holes, behind.problems) == (0, (), ())
    if not (behind.holes or behind.problems):
        assert vanished == 0
    if behind.holes and not behind.problems:
        assert ledger.unaccounted.least <= vanished <= ledger.unaccounted.most


@pytest.mark.slow
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), harm=st.sampled_from(HARMS))
def test_the_next_learner_goes_on_behind_what_is_left_and_the_hole_stays_known(
    seed: int, harm: Callable[[Path, random.Random], None]
) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        written = write(path, chance)
        harm(path / "journal", chance)
        first = entries_behind(path, written.position)
        journal = Journal(path, print, number=first.number, steps=first.steps)
        journal.append(Entry("published", 1000))
        journal.close()
        second = entries_behind(path, written.position)
    assert second.entries == (*first.entries, Entry("published", 1000))
    assert second.holes == first.holes
    assert second.number == first.number + 1
