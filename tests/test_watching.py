"""When an environment counts as stuck, when as hung, and in which words."""

import json
import os
import signal
import sys
import threading
import time

import pytest
from processes import SMALL, Place, RunFiles

from dppo.actor.watchdog.activity import Activity
from dppo.actor.watchdog.stall_detector import (
    MOST_BETWEEN_LOOKS_SECONDS,
    STUCK_SECONDS,
    EndWatch,
    StallDetector,
    Stuck,
    held_seconds,
)
from dppo.actor.watchdog.thread import Watchdog
from dppo.actor.watchdog.traceback_location import place_of_error, place_of_frame


class Bench:
    """Environments as far as a watch looks at them."""

    column: int | None = 0


def watched(limit: float = 60.0) -> tuple[StallDetector, Activity]:
    activity = Activity(limit_seconds=limit)
    activity.begin("env.step")
    watch = StallDetector()
    assert watch.look(activity, 100.0) is None
    return watch, activity


def test_a_step_is_stuck_after_seconds_and_hung_after_its_limit() -> None:
    watch, activity = watched(limit=5.0)
    seen = [watch.look(activity, 100.0 + second) for second in range(1, 8)]
    assert [stuck and (stuck.seconds, stuck.hung) for stuck in seen] == [
        None,
        None,
        (3.0, False),
        (4.0, False),
        (5.0, True),
        (6.0, True),
        (7.0, True),
    ]


def test_a_limit_below_the_usual_patience_counts() -> None:
    watch, activity = watched(limit=1.0)
    assert watch.look(activity, 101.0) == Stuck("env.step", None, 1.0, hung=True)


def test_without_a_limit_nothing_is_ever_hung() -> None:
    watch, activity = watched(limit=0.0)
    stuck = [watch.look(activity, 100.0 + second) for second in range(1, 1000)][-1]
    assert stuck is not None
    assert not stuck.hung


@pytest.mark.parametrize("progress", ["turn", "column", "idle"])
def test_whoever_gets_on_is_not_stuck(progress: str) -> None:
    watch, activity = watched()
    activity.environments = Bench()
    for second in range(1, 100):
        if progress == "turn":
            activity.begin("env.step")
        elif progress == "column":
            Bench.column = second % 8  # of a loop over environments that are slow one by one
        elif second % 2:
            activity.end()
        else:
            activity.begin("env.step")
        assert watch.look(activity, 100.0 + second) is None


def test_an_actor_that_waits_for_its_learner_is_not_stuck() -> None:
    watch, activity = watched()
    activity.end()
    assert all(watch.look(activity, 100.0 + second) is None for second in range(1, 1000))


def test_time_in_which_the_whole_process_was_stopped_does_not_count() -> None:
    watch, activity = watched(limit=30.0)
    stuck = watch.look(activity, 100.0 + 3600.0)
    assert stuck is None
    assert MOST_BETWEEN_LOOKS_SECONDS < STUCK_SECONDS


@pytest.mark.parametrize(
    ("stuck", "waiting", "words"),
    [
        (Stuck("env.step", 2, 4.2, False), [], "for 4 s in env.step of environment 2 (sim.py:7 in step)"),
        (Stuck("env.reset", None, 4.2, False), [], "for 4 s in env.reset (sim.py:7 in step)"),
        (Stuck("env.step", None, 4.2, False), [1], "for 4 s in env.step, waiting for the process of environment 1"),
        (
            Stuck("env.step", None, 61, True),
            list(range(20)),
            "for 61 s in env.step, waiting for the processes of environment 0, 1, 2, 3, 4, 5, 6, 7, ...",
        ),
    ],
)
def test_words(stuck: Stuck, waiting: list[int], words: str) -> None:
    assert stuck.words("sim.py:7 in step", waiting) == words


def test_a_place_is_the_innermost_function_outside_the_library() -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps(object())  # raised in json's own functions
    assert place_of_error(caught.value).startswith("test_watching.py:")
    asleep = threading.Event()
    released = threading.Event()

    def wait_for_release() -> None:
        asleep.set()
        released.wait()  # its innermost frames are in threading.py

    thread = threading.Thread(target=wait_for_release)
    thread.start()
    asleep.wait()
    time.sleep(0.05)
    place = place_of_frame(sys._current_frames()[thread.ident or 0])
    released.set()
    thread.join()
    assert place.startswith("test_watching.py:")
    assert place.endswith(" in wait_for_release")
    assert place_of_frame(None) == ""


@pytest.mark.slow
def test_a_watchdog_that_cannot_tell_goes_on_watching(caplog: pytest.LogCaptureFixture) -> None:
    activity = Activity(limit_seconds=0.1)
    tried = threading.Semaphore(0)

    def fail(where: str) -> None:
        tried.release()
        raise OSError("no more sockets")

    watchdog = Watchdog(activity, tell=fail, must_end=None)
    watchdog.start()
    activity.begin("env.step")
    tried.acquire()
    tried.acquire()
    watchdog.close()
    assert "no more sockets" in caplog.text


def test_a_watchdog_that_may_only_tell_tells_and_lets_live() -> None:
    activity = Activity(limit_seconds=0.1)
    told = threading.Event()
    words: list[str] = []

    def tell(where: str) -> None:
        words.append(where)
        told.set()

    watchdog = Watchdog(activity, tell=tell, must_end=None)
    watchdog.start()
    activity.begin("env.step")
    told.wait()
    activity.end()
    watchdog.close()
    assert "in env.step (test_watching.py:" in words[0]


def test_who_was_told_to_end_and_stands_still_is_late_and_who_goes_on_is_not() -> None:
    watch = EndWatch()
    assert not any(watch.is_late(False, 0, 100.0 + second) for second in range(20))  # nobody told it
    assert not any(watch.is_late(True, second, 120.0 + second) for second in range(20))  # it goes on
    late = [watch.is_late(True, 19, 140.0 + second) for second in range(5)]
    assert late == [False, False, True, True, True]


def test_a_process_that_was_stopped_meanwhile_is_not_late() -> None:
    watch = EndWatch()
    watch.is_late(True, 7, 100.0)
    assert not watch.is_late(True, 7, 1000.0)


def test_a_stop_as_long_as_the_limit_and_longer_is_borne_by_the_watchdog_of_c_code_too() -> None:
    for limit, stop in ((60.0, 119.0), (6.0, 11.0), (1.0, 5.5)):
        assert held_seconds(limit) > stop


@pytest.mark.slow
def test_an_actor_that_was_stopped_for_longer_than_the_limit_goes_on() -> None:
    with Place() as place:
        run = place.start(
            "train", *SMALL, *place.gated, "--actors", "1", "--run.total-steps", "1000000", "--run.directory", "run",
            "--env.step-timeout-seconds", "5", "--evaluation-episodes", "0",
        )  # fmt: skip
        files = RunFiles(place.path / "run")
        place.until(lambda: files.updates() >= 2, "an update", during=run)
        actor = run.actors()["actor-0"]
        os.kill(actor, signal.SIGSTOP)
        time.sleep(8.0)
        os.kill(actor, signal.SIGCONT)
        updates = files.updates()
        place.until(lambda: files.updates() >= updates + 3, "it goes on", during=run)
        assert run.actors()["actor-0"] == actor
        assert "hung" not in run.said()
        run.signal(signal.SIGINT)
        place.ends(run, code=130)
