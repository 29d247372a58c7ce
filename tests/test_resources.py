"""How many actors fit on a machine, and what is said where they do not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.local import actor_memory as memory
from dppo.local.preflight import check_before_start
from dppo.local.processes import Child
from dppo.protocol.errors import UsageError
from dppo.protocol.process import resources
from dppo.protocol.process.lifeline import Lifeline
from dppo.protocol.process.resources import MB, Room, available_bytes, lack, room
from dppo.settings.commands import TrainConfig


@pytest.mark.parametrize(
    ("actors", "workers", "left", "text"),
    [
        (2, 0, Room(), ""),
        (
            1000,
            0,
            Room(memory_bytes=24_000 * MB),
            "1,000 actors need about 60,500 MB of memory, ",
        ),
        (1000, 0, Room(memory_bytes=24_000 * MB), "and 24,000 MB are available: at most 391 fit"),
        (391, 0, Room(memory_bytes=24_000 * MB), ""),
        (1, 200, Room(memory_bytes=4_000 * MB), "1 actor with 200 environment processes each needs about 9,560 MB"),
        (100, 0, Room(threads=500), "about 864 processes and threads, and 500 more may be started here"),
        (100, 0, Room(files=200), "more connections than the 200 files that a process may open here"),
        (1, 0, Room(memory_bytes=0), "at most 0 fit"),
    ],
)
def test_what_is_lacking_is_said_with_its_numbers(actors: int, workers: int, left: Room, text: str) -> None:
    said = lack(actors, workers, left)
    assert text in said
    assert bool(said) == bool(text)


@given(st.integers(1, 10_000), st.integers(0, 64), st.integers(0, 10**12), st.integers(0, 10**5))
def test_as_many_as_are_said_to_fit_do(actors: int, workers: int, memory: int, threads: int) -> None:
    left = Room(memory, threads)
    said = lack(actors, workers, left)
    if said:
        fit = int(said.rpartition("at most ")[2].removesuffix(" fit").replace(",", ""))
        assert fit < actors
        assert not fit or not lack(fit, workers, left)
        assert lack(fit + 1, workers, left)


def test_this_machine_has_room_and_says_how_much() -> None:
    left = room()
    assert 0 < available_bytes() < 2**50
    assert min(left.threads, left.files) > 0
    assert lack(1, 0, left) == ""


def test_a_thousand_actors_are_refused_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available_bytes", lambda: 10_000 * MB)
    notes: list[str] = []
    with pytest.raises(UsageError, match=r"1,000 actors need about 60,500 MB .* choose fewer --actors, or --force"):
        check_before_start(TrainConfig(actors=1000), notes.append)
    check_before_start(TrainConfig(actors=1000, force=True), notes.append)
    assert "1000 actors on" in notes[0]


@pytest.mark.parametrize(("actors", "starting", "available", "enough"), [
    (7, 7, 0, True),  # so few are started without a look
    (8, 0, 561, True),
    (8, 0, 560, False),
    (8, 3, 741, True),  # three more will take theirs yet
    (8, 3, 740, False),
])  # fmt: skip
def test_another_actor_is_started_only_while_there_is_memory_for_it(
    monkeypatch: pytest.MonkeyPatch, actors: int, starting: int, available: int, enough: bool
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: available * MB)
    with Lifeline() as lifeline:
        children = [Child(f"actor-{i}", (), Path("log"), lifeline) for i in range(actors)]
    assert memory.memory_for_another(children, starting) == (enough, 60 * MB, available * MB)
