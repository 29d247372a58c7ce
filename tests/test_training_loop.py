"""The one training loop, with a run and a collecting side that only write down what is asked of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from dppo.learner.config import LearnerConfig
from dppo.learner.session.records import Latencies
from dppo.learner.signals import Interrupted
from dppo.learner.training_loop import train

BATCH = [SimpleNamespace(name="a batch")]


class Both:
    """A run of so many updates and what collects for it; `calls` is what the loop did, in order."""

    def __init__(self, updates: int, due: tuple[bool, ...] = (True,)) -> None:
        self.config = LearnerConfig()
        self.calls: list[str] = []
        self.timings: list[dict[str, float]] = []
        self.took: list[float] = []
        self.now = 0.0
        self.collecting_since = 0.0
        self.left = updates
        self.due = due

    @property
    def over(self) -> str:
        return "" if self.left else "done"

    def clock(self) -> float:
        return self.now

    def spend(self, seconds: float, call: str) -> None:
        self.now += seconds
        self.calls.append(call)

    def next_batch(self) -> list[Any]:
        self.spend(5.0, "batch")
        return BATCH

    @contextmanager
    def cutting(self) -> Iterator[None]:
        self.calls.append("cutting")
        yield
        self.calls.append("not cutting")

    def update(self, batch: list[Any]) -> str:
        assert batch is BATCH
        self.spend(3.0, "update")
        return "report"

    def commit(self, batch: list[Any], report: str, now: float) -> None:
        assert (batch, report, now) == (BATCH, "report", self.now - 3.0)
        self.left -= 1
        self.calls.append("commit")

    def latencies(self) -> tuple[Latencies, int]:
        self.calls.append("figures")
        return Latencies(0.25, 0.5), 7

    def next_graph(self) -> tuple[int, bytes]:
        self.spend(1.0, "graph")
        return 2, b"graph"

    def publish_next(self, version: int, graph: bytes) -> None:
        assert (version, graph) == (2, b"graph")
        self.calls.append("publish")
        self.collecting_since = self.now

    def mark_trained(self) -> None:
        self.calls.append("mark trained")

    def record(self, report: str, timing: dict[str, float], env_restarts: int, now: float) -> None:
        assert (report, env_restarts, now) == ("report", 7, self.now - 1.0)
        self.timings.append(timing)
        self.calls.append("record")

    def checkpoint_due(self, now: float) -> bool:
        return self.due[self.left % len(self.due)]

    def books(self) -> str:
        self.calls.append("books")
        return "books"

    def save(self, books: str, now: float) -> None:
        assert books == "books"
        self.spend(2.0, "save")

    def call_hooks(self, batch: list[Any]) -> None:
        assert batch is BATCH
        self.calls.append("hooks")

    def saving_took(self, seconds: float) -> None:
        self.took.append(seconds)


def trained(both: Any) -> Any:
    train(both, both, both.clock)
    return both


UPDATE = ["batch", "cutting", "update", "not cutting", "commit", "figures", "graph"]


def test_an_update_is_committed_outside_of_what_may_be_cut_and_published_before_it_is_recorded_and_saved() -> None:
    both = trained(Both(2))
    saving = ["record", "books", "save", "hooks"]
    assert both.calls == [*UPDATE, "publish", *saving, *UPDATE, "mark trained", *saving]
    assert both.took == [2.0, 2.0]


def test_without_a_checkpoint_due_nothing_is_saved() -> None:
    assert "save" not in trained(Both(2, due=(False,))).calls


def test_times_of_collecting_and_updating_are_between_the_clocks_readings() -> None:
    both = trained(Both(2))
    # of the second batch: 2 s of saving, during which the actors went on, and 5 s
    assert both.timings == [
        {"collect": 5.0, "update": 3.0, "stop": 0.25, "policy": 0.5},
        {"collect": 7.0, "update": 3.0, "stop": 0.25, "policy": 0.5},
    ]


def test_a_run_that_is_over_collects_nothing() -> None:
    assert trained(Both(0)).calls == []


def test_an_interrupt_while_collecting_ends_the_loop_before_anything_is_trained() -> None:
    both: Any = Both(2)

    def interrupted() -> list[Any]:
        raise Interrupted

    both.next_batch = interrupted
    with pytest.raises(Interrupted):
        trained(both)
    assert both.calls == []
