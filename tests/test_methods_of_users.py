"""Methods of a user's hooks and trackers that a call would not run are refused at the start, not after an update."""

import asyncio
import functools
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from dppo.learner.hooks import HookCalls, HookError, find
from dppo.learner.own_code import shown
from dppo.learner.telemetry.trackers import TrackedRun, find_tracker
from dppo.learner.telemetry.tracking import Tracking
from dppo.protocol.errors import UsageError
from tests.test_hooks import STATUS


class Async:
    async def on_end(self, summary: dict[str, Any]) -> None: ...


class AsyncYields:
    async def on_episode(self, episode: object) -> AsyncIterator[None]:
        yield


class Yields:
    def on_update(self, status: object) -> Iterator[str]:
        yield "stop"


class NoArgument:
    def on_end(self) -> None: ...


NoSelf = type("NoSelf", (), {"on_update": lambda status: None, "__module__": __name__})


class TwoArguments:
    def on_episode(self, episode: object, number: int) -> None: ...


class OnlyByName:
    def on_update(self, *, status: object) -> None: ...


class StaticWithSelf:
    @staticmethod
    def on_update(self: object, status: object) -> None: ...


REFUSED: dict[type, str] = {
    Async: r"on_end is async, and nothing would await it: write def on_end\(self, summary\)",
    AsyncYields: "on_episode is async",
    Yields: r"on_update has a yield, so a call would run nothing of it",
    NoArgument: r"on_end cannot be called \(too many positional arguments\): write def on_end\(self, summary\)",
    NoSelf: "on_update cannot be called",
    TwoArguments: r"on_episode cannot be called \(missing a required argument: 'number'\)",
    OnlyByName: "on_update cannot be called",
    StaticWithSelf: "on_update cannot be called",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_method_that_no_call_would_run_is_refused_before_the_run(kind: type) -> None:
    with pytest.raises(UsageError, match=REFUSED[kind]):  # before anything is started
        find(f"{__name__}:{kind.__name__}")
    with pytest.raises(UsageError, match=REFUSED[kind]):  # an object, given to dppo.train
        HookCalls(kind())


class Static:
    """Every way in which a method can be called with one argument."""

    @staticmethod
    def on_episode(episode: object) -> None: ...

    @classmethod
    def on_update(cls, status: object, more: int = 1) -> None: ...

    def on_end(self, *anything: object, **named: object) -> None: ...


class Inherits(Static): ...


class Assigned:
    on_update = staticmethod(functools.partial(print, "update"))
    on_end = None


class MadeLater:
    def __init__(self) -> None:
        self.on_end = print

    def on_update(self, status: object) -> None: ...


@pytest.mark.parametrize("kind", [Static, Inherits, Assigned, MadeLater])
def test_whatever_can_be_called_is_taken(kind: type) -> None:
    find(f"{__name__}:{kind.__name__}")
    calls = HookCalls(kind())
    calls.after_update([], STATUS)
    calls.end({})


def test_a_keyboard_interrupt_is_the_hooks_own_unless_ctrl_c_has_come() -> None:
    def interrupt(argument: object) -> NoReturn:
        raise KeyboardInterrupt

    hooks = SimpleNamespace(on_update=interrupt, on_end=interrupt)
    calls = HookCalls(hooks, "mine:Hooks")
    with pytest.raises(HookError, match="on_update of mine:Hooks raised KeyboardInterrupt"):
        calls.after_update([], STATUS)
    calls.end({})  # nothing more is called
    with pytest.raises(KeyboardInterrupt):
        HookCalls(hooks, interrupted=lambda: True).after_update([], STATUS)


def test_an_async_method_that_only_its_call_shows_fails_the_run() -> None:
    async def late(status: object) -> None: ...

    with pytest.raises(HookError, match=r"on_update of .* is async, and nothing awaits it"):
        HookCalls(SimpleNamespace(on_update=lambda status: late(status))).after_update([], STATUS)


class Answer:
    """A value that can neither be compared nor shown."""

    def __eq__(self, other: object) -> NoReturn:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> NoReturn:
        raise ZeroDivisionError


@pytest.mark.parametrize("answer", [True, False, 0, "", "Stop", ["stop"], b"stop", Answer(), "x\n" * 10_000])
def test_any_other_answer_is_one_line(answer: object) -> None:
    with pytest.raises(HookError, match=r"on_update of \S+ returned .*: return 'stop' or None") as caught:
        HookCalls(SimpleNamespace(on_update=lambda status: answer)).after_update([], STATUS)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_an_answer_of_numpy_is_one_line() -> None:
    import numpy as np

    for answer in (np.zeros(3), np.array(["stop", "go"]), np.bool_(True)):
        with pytest.raises(HookError, match="returned"):
            HookCalls(SimpleNamespace(on_update=lambda status, answer=answer: answer)).after_update([], STATUS)
    assert shown(np.zeros(3)) == "array([0., 0., 0.])"


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, SystemExit, pytest.skip.Exception])
def test_whatever_a_hook_raises_fails_the_run_in_order(error: type[BaseException]) -> None:
    def fail(status: object) -> NoReturn:
        raise error("enough")

    with pytest.raises(HookError, match=f"raised {error.__name__}"):
        HookCalls(SimpleNamespace(on_update=fail)).after_update([], STATUS)


class AsyncTracker:
    def begin(self, run: TrackedRun) -> str:
        return ""

    async def log(self, steps: int, values: dict[str, float]) -> None: ...

    def end(self) -> None: ...


def leave(tracker: object, steps: int, values: dict[str, float]) -> NoReturn:
    raise SystemExit(3)


NarrowTracker = type("NarrowTracker", (AsyncTracker,), {"log": lambda self, values: None})
LeavingTracker = type("LeavingTracker", (AsyncTracker,), {"log": leave})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"{__name__}:AsyncTracker", "log is async"),
        (f"{__name__}:NarrowTracker", "log cannot be called"),
        (f"{__name__}:REFUSED", "is a dict: name a class"),
        (f"{__name__}:LeavingTrackr", "did you mean LeavingTracker"),
        ("broken_tracker:Own", "cannot import 'broken_tracker': ZeroDivisionError"),
        ("leaving_tracker:Own", "cannot import 'leaving_tracker': SystemExit"),
    ],
)
def test_a_tracker_that_cannot_be_told_is_one_line(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tracker.py").write_text("1 / 0")
    (tmp_path / "leaving_tracker.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=why) as caught:
        find_tracker(name)
    assert "\n" not in str(caught.value)


def test_a_tracker_that_leaves_its_thread_is_named(tmp_path: Path) -> None:
    warnings: list[str] = []
    tracking = Tracking(
        [f"{__name__}:LeavingTracker"], lambda known: TrackedRun("p", "n", tmp_path, {}, known), warnings.append
    )
    tracking.log(1, {})
    tracking.close()
    assert [warning.partition(";")[0] for warning in warnings] == [
        f"{__name__}:LeavingTracker is told nothing more: SystemExit: 3"
    ]
    assert json.loads((tmp_path / "trackers.json").read_text()) == {f"{__name__}:LeavingTracker": ""}


@pytest.mark.parametrize("method", ["on_update", "on_end"])
def test_a_hook_that_does_not_come_back_is_named_while_it_runs(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    named = threading.Event()
    monkeypatch.setattr("dppo.learner.hooks.LONG_SECONDS", 0.01)
    monkeypatch.setattr("dppo.learner.hooks.log.warning", lambda *_: named.set())

    def hang(argument: object) -> None:
        assert named.wait(20.0)  # it hangs until it is named

    calls = HookCalls(SimpleNamespace(**{method: hang}), "mine:Slow")
    calls.after_update([], STATUS)
    calls.end({})
    assert named.is_set()


def test_a_hook_that_hangs_is_named_with_its_method(caplog: pytest.LogCaptureFixture) -> None:
    calls = HookCalls(SimpleNamespace(on_episode=print, on_update=lambda status: calls._name_long()), "mine:Slow")
    calls.after_update([], STATUS)
    assert [record.getMessage() for record in caplog.records] == [
        "on_update of the hook mine:Slow has not come back for 10 s: the run waits for it"
    ]
