"""`dppo train` as people run it: real processes over ipc, killed and interrupted at any time."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_runs import RUN, TOTAL_STEPS, assert_finished, start
from processes import REPOSITORY, Place, RunFiles, assert_closes, drops, kill
from snapshots import snapshot

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture
def files(place: Place) -> RunFiles:
    return RunFiles(place.path / RUN)


@dataclass(frozen=True)
class Finished:
    """A run to its end, one of whose actors was killed."""

    files: RunFiles
    said: str
    actor_libraries: str  # mapped files of a live actor
    killed: int
    replaced_by: int


@pytest.fixture(scope="module")
def finished() -> Iterator[Finished]:
    with Place() as place:
        files = RunFiles(place.path / RUN)
        command = start(place, "--evaluation-episodes", "2")
        place.until(lambda: files.updates() >= 2, "the second update", during=command)
        actors = command.actors()
        maps = Path(f"/proc/{actors['actor-1']}/maps")
        libraries = maps.read_text() if maps.exists() else ""
        kill(actors["actor-0"])
        place.until(
            lambda: command.actors().get("actor-0", actors["actor-0"]) != actors["actor-0"],
            "the killed actor is replaced",
            during=command,
        )
        replaced_by = command.actors()["actor-0"]
        place.until(lambda: command.said().count("actor-0 joined") == 2, "it has joined", during=command)
        place.until(
            lambda: files.trained_by_actor().get("actor-0", 0) > 0 and files.ledger()["closed_incarnations"] == 1,
            "it has contributed",
            during=command,
        )
        place.gate.touch()
        place.ends(command, code=0)
        place.leaves_nothing()
        yield Finished(files, command.said(), libraries, actors["actor-0"], replaced_by)


def test_a_run_leaves_policy_curve_ledger_metrics_settings_checkpoints_and_events(finished: Finished) -> None:
    path = finished.files.path
    for name in ("policy.onnx", "curve.png", "ledger.json", "metrics.jsonl", "summary.json", "config.yaml"):
        assert (path / name).stat().st_size > 0, name
    assert finished.files.checkpoints()
    assert any((path / "tb").glob("events.out.tfevents.*"))
    assert_finished(finished.files)


def test_rollouts_that_went_over_the_wire_fit_the_weights_in_every_update(finished: Finished) -> None:
    errors = [line["first_pass_ratio_error"] for line in finished.files.metrics()]
    assert max(errors) < 1e-4


def test_a_killed_actor_is_replaced_and_costs_only_what_it_had_not_delivered(finished: Finished) -> None:
    assert finished.replaced_by != finished.killed
    assert "actor-0 was killed by SIGKILL; starting it again" in finished.said
    assert drops(finished.files.ledger()).keys() <= {"actor_lost"}
    assert finished.files.ledger()["closed_incarnations"] == 3
    assert finished.files.term() == 1


def test_a_run_says_how_it_went(finished: Finished) -> None:
    assert "closed" in finished.said
    assert "DOES NOT CLOSE" not in finished.said
    assert "2 episodes" in finished.said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_live_actor_has_no_torch_in_its_memory(finished: Finished) -> None:
    assert "onnxruntime" in finished.actor_libraries  # so that the map is of a process that is at work
    assert "libtorch" not in finished.actor_libraries


def test_an_actor_imports_no_torch() -> None:
    unwanted = ("torch", "onnx", "tensorboard", "matplotlib", "learner")
    program = f"import sys, dppo.actor.service, dppo.actor.driver; print([m for m in {unwanted} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_second_run_on_the_same_directory_is_refused_and_told_who_has_it(place: Place, files: RunFiles) -> None:
    first = start(place)
    place.until(lambda: files.updates() >= 1, "the first update", during=first)
    second = start(place)
    place.ends(second, code=3)
    (line,) = second.complained().splitlines()
    assert f"pid {files.learner_pid()}" in line
    assert files.learner_pid() in [process.pid for process in place.processes()]
    place.gate.touch()
    place.ends(first, code=0)
    place.leaves_nothing()
    assert files.term() == 1
    assert_finished(files)


@pytest.mark.slow
def test_a_run_without_actors_trains_resumes_and_finishes_in_one_process(place: Place, files: RunFiles) -> None:
    first = start(place, "--actors", "0")
    place.until(lambda: files.updates() >= 2, "the second update", during=first)
    sweeper, *others = sorted(place.processes(), key=lambda process: process.pid == first.pid)
    assert "sweeper.py" in " ".join(sweeper.cmdline())
    assert [process.pid for process in others] == [first.pid]
    first.signal(signal.SIGINT)
    place.ends(first, code=130)
    assert_closes(files.ledger())
    done = files.updates()

    place.gate.touch()
    second = start(place, "--actors", "0")
    place.ends(second, code=0)
    place.leaves_nothing()
    assert files.updates() > done
    assert files.term() == 2
    assert_finished(files)
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert max(line["first_pass_ratio_error"] for line in files.metrics()) < 1e-4


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_changes_nothing(place: Place, files: RunFiles) -> None:
    place.gate.touch()
    place.ends(start(place), code=0)
    before, steps = snapshot(files.path), place.counted_steps()
    for arguments, total_steps in (((), TOTAL_STEPS), (("--actors", "0"), TOTAL_STEPS), ((), 1000)):
        again = start(place, *arguments, total_steps=total_steps)
        place.ends(again, code=0)
        assert "run is finished; nothing was started and nothing changed" in again.said()
        assert "go on with it: a larger --run.total-steps" in again.said()
    place.leaves_nothing()
    assert snapshot(files.path) == before
    assert place.counted_steps() == steps
