"""A run that films itself: when, by which process, and what becomes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fake_child import FakeChild
from graphs import categorical_graph
from pictures import PIXEL, read_gif
from processes import REPOSITORY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_progress import STATUS

from dppo.learner.config import RunConfig
from dppo.watch import recorder as recording
from dppo.watch.record_episode import film_policy, steps_trained, write_event
from dppo.watch.recorder import Recorder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of an environment whose picture tells the step, after two updates."""
    (tmp_path / "policy.onnx").write_bytes(categorical_graph(np.zeros((4, 2))))
    (tmp_path / "config.yaml").write_text(f"env: {{id: '{PIXEL}'}}")
    lines = [json.dumps({"update": update, "steps": 100 * update}) for update in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"upd']))
    return tmp_path


def images(directory: Path) -> list[tuple[int, bytes]]:
    accumulator = EventAccumulator(str(directory / "tb" / "videos"))
    accumulator.Reload()
    return [(event.step, event.encoded_image_string) for event in accumulator.Images("policy/episode")]


def test_a_video_carries_the_steps_of_its_policy_and_one_episode(run: Path) -> None:
    steps, path = film_policy(run)
    assert (steps, path) == (200, run / "videos" / "step-000000200.gif")
    assert len(read_gif(path)[0]) == 4


def test_before_the_first_update_the_steps_are_0(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    assert steps_trained(run) == 0


def test_tensorboard_reads_back_the_moving_picture_over_steps(run: Path) -> None:
    gif = film_policy(run)[1].read_bytes()
    write_event(run, 200, gif)
    write_event(run, 300, gif)
    assert images(run) == [(200, gif), (300, gif)]
    write_event(run, 250, gif)  # a run resumed from an earlier checkpoint
    assert [step for step, _ in images(run)] == [200, 250]


@pytest.mark.slow
def test_a_process_films_the_end_of_a_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{REPOSITORY / 'tests'}")
    notes: list[str] = []
    with Recorder(RunConfig(video_seconds=1000.0), run, notes.append) as recorder:
        recorder.look(STATUS)
        recorder.film_the_end()
    assert notes == []
    assert [path.name for path in (run / "videos").iterdir()] == ["step-000000200.gif"]
    assert [step for step, _ in images(run)] == [200]


@pytest.mark.parametrize("own_session", [True, False])
def test_a_process_that_films_gives_way_to_everybody_and_slows_down_no_session_but_its_own(own_session: bool) -> None:
    code = (
        "import os, pathlib; from dppo.watch.record_episode import yield_to_everybody as y; y();"
        "group = pathlib.Path('/proc/self/autogroup');"
        "print(os.getpriority(os.PRIO_PROCESS, 0), group.read_text() if group.exists() else '')"
    )
    group = Path("/proc/self/autogroup")
    before = group.read_text() if group.exists() else ""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
        start_new_session=own_session,
    )
    priority, _, of_group = done.stdout.strip().partition(" ")
    assert int(priority) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 19)
    assert before == (group.read_text() if group.exists() else "")
    if "autogroup-" in before:
        assert of_group.endswith(" nice 19") if own_session else of_group == before.strip()


def test_what_cannot_be_filmed_is_noted_once_and_not_tried_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # where the environment's module is not
    notes: list[str] = []
    with Recorder(RunConfig(video_seconds=1000.0), run, notes.append) as recorder:
        recorder.look(STATUS)
        recorder.film_the_end()
        recorder.film_the_end()
    assert len(notes) == 1
    assert notes[0].startswith("no videos: cannot import 'pictures'")
    assert not (run / "tb").exists()


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    FakeChild.started = []
    monkeypatch.setattr(FakeChild, "error", "no GL context")
    monkeypatch.setattr(recording, "Child", FakeChild)
    return FakeChild.started


def test_videos_are_started_at_intervals_and_never_two_at_a_time(tmp_path: Path, children: list[FakeChild]) -> None:
    with Recorder(RunConfig(video_seconds=10.0), tmp_path, pytest.fail) as recorder:

        def look(seconds: float) -> int:
            recorder.look(msgspec.structs.replace(STATUS, elapsed_seconds=seconds))
            return len(children)

        assert [look(seconds) for seconds in (0.0, 9.9, 10.1, 19.0, 25.0)] == [0, 0, 1, 1, 1]  # the first goes on
        children[0].code = 0
        assert [look(seconds) for seconds in (26.0, 30.0)] == [2, 2]
        children[1].code = 0
        assert [look(seconds) for seconds in (35.9, 36.1)] == [2, 3]
        assert children[0].arguments == ("-m", "dppo.watch.record_episode", str(tmp_path), "events", "gently")


def test_there_are_no_videos_unless_asked_for_and_none_before_a_policy(
    tmp_path: Path, children: list[FakeChild]
) -> None:
    for seconds, version in ((0.0, 3), (1.0, 0)):
        with Recorder(RunConfig(video_seconds=seconds), tmp_path, pytest.fail) as recorder:
            recorder.look(msgspec.structs.replace(STATUS, version=version, elapsed_seconds=1000.0))
            recorder.film_the_end()
    assert children == []


def test_after_a_failure_there_are_no_more_videos(tmp_path: Path, children: list[FakeChild]) -> None:
    notes: list[str] = []
    with Recorder(RunConfig(video_seconds=10.0, tensorboard=False), tmp_path, notes.append) as recorder:
        recorder.look(msgspec.structs.replace(STATUS, elapsed_seconds=11.0))
        children[0].code = 2
        for seconds in (22.0, 33.0):
            recorder.look(msgspec.structs.replace(STATUS, elapsed_seconds=seconds))
        recorder.film_the_end()
    assert (len(children), notes) == (1, ["no videos: no GL context"])
    assert children[0].arguments[-2] == "none"
