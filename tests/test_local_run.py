"""`dppo train` as people run it: real processes over ipc, killed and interrupted at any time."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from processes import REPOSITORY, SMALL, Dppo, Place, RunFiles, assert_closes, drops, kill
from simulators import BLOWN_UP, BREAKING
from snapshots import snapshot

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS

TOTAL_STEPS = 12_000  # half a minute while the gate is shut, seconds once it is open
RUN = "run"


def start(place: Place, *arguments: str) -> Dppo:
    """A gated local run of two actors that writes a checkpoint after every update."""
    return place.start(
        "train",
        *SMALL,
        *place.gated,
        *("--run.directory", RUN, "--run.total-steps", str(TOTAL_STEPS), "--run.checkpoint-seconds", "0"),
        *("--evaluation-episodes", "0", *arguments),
    )


def assert_curve_has_every_update_once(files: RunFiles) -> None:
    updates = [line["update"] for line in files.metrics()]
    assert updates == list(range(1, len(updates) + 1))


def assert_finished(files: RunFiles) -> None:
    """The run came to its end, and every step of it is accounted for."""
    assert_curve_has_every_update_once(files)
    ledger, summary, last = files.ledger(), files.summary(), files.metrics()[-1]
    assert_closes(ledger)
    assert ledger["total"]["trained"] == summary["steps"] == last["steps"] >= TOTAL_STEPS
    assert summary["updates"] == last["update"]


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
def test_ctrl_c_ends_a_run_cleanly_and_the_same_command_resumes_it(place: Place, files: RunFiles) -> None:
    first = start(place)
    place.until(lambda: files.updates() >= 2, "the second update", during=first)
    first.signal(signal.SIGINT)
    place.ends(first, code=130)
    place.leaves_nothing()
    assert "Traceback" not in first.complained()
    done = files.updates()
    assert files.checkpoints()[-1] == f"{done:08}"
    assert files.summary()["reason"] == "interrupted"
    assert_closes(files.ledger())
    assert_curve_has_every_update_once(files)

    place.gate.touch()
    second = start(place)
    place.ends(second, code=0)
    place.leaves_nothing()
    assert files.term() == 2
    assert files.updates() > done
    assert_finished(files)
    assert drops(files.ledger()).keys() <= {"shutdown"}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert max(line["first_pass_ratio_error"] for line in files.metrics()) < 1e-4


@pytest.mark.slow
def test_ctrl_c_before_the_learner_is_up_ends_everything_without_a_traceback(place: Place) -> None:
    command = start(place)
    place.until(lambda: psutil.Process(command.pid).children(), "the first child", during=command)
    command.signal(signal.SIGINT)
    place.ends(command, code=130)
    place.leaves_nothing()
    assert "Traceback" not in command.complained()


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(place: Place, files: RunFiles) -> None:
    command = start(place)
    place.until(lambda: files.updates() >= 1, "the first update", during=command)
    learner = psutil.Process(files.learner_pid())
    learner.suspend()  # it will not answer the first one
    command.signal(signal.SIGINT)
    place.until(lambda: "again to end at once" in command.said(), "the first is answered", during=command)
    command.signal(signal.SIGINT)
    place.ends(command, code=130)
    place.leaves_nothing()
    assert "Traceback" not in command.complained()


@pytest.mark.slow
def test_a_run_killed_with_sigkill_leaves_no_orphans_and_a_checkpoint(place: Place, files: RunFiles) -> None:
    command = start(place)
    place.until(lambda: files.updates() >= 2, "the second update", during=command)
    assert len(place.processes()) == 5  # the command, learner, two actors, and the sweeper
    kill(command.pid)
    place.ends(command, code=-signal.SIGKILL)
    place.leaves_nothing()
    assert files.checkpoints()[-1] == f"{files.updates():08}"
    assert_closes(files.ledger())
    assert drops(files.ledger()).keys() <= {"shutdown"}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()


@pytest.mark.slow
def test_a_killed_learner_is_started_again_and_keeps_its_actors(place: Place, files: RunFiles) -> None:
    command = start(place)
    place.until(lambda: files.updates() >= 2, "the second update", during=command)
    learner, actors = files.learner_pid(), command.actors()
    kill(learner)
    place.until(lambda: files.learner_pid() != learner, "the learner is started again", during=command)
    place.until(lambda: files.term() == 2, "it has the run directory", during=command)
    resumed_after = int(files.checkpoints()[-1])
    place.until(lambda: files.updates() >= resumed_after + 2, "it trains", during=command)
    assert command.actors() == actors
    place.gate.touch()
    place.ends(command, code=0)
    place.leaves_nothing()
    assert files.term() == 2
    assert_finished(files)
    assert drops(files.ledger()).keys() <= {"learner_crash", "stale"}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert max(line["first_pass_ratio_error"] for line in files.metrics()) < 1e-4


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


def test_an_unknown_environment_is_one_line_and_the_end(place: Place) -> None:
    command = place.start("train", *SMALL, "--env", "CartPole-v9", "--run.directory", RUN)
    place.ends(command, code=2)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "CartPole-v9" in line
    assert "CartPole-v1" in line  # what could be meant


@pytest.mark.slow
def test_an_environment_that_fails_in_every_life_ends_the_run_and_says_why(place: Place) -> None:
    command = place.start(
        "train",
        *SMALL,
        *("--env", BREAKING, "--env.kwargs", json.dumps({"steps": 0}), "--run.directory", RUN),
    )
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "the simulator lost its licence" in line
    assert "actor-" in line


@pytest.mark.slow
def test_an_actor_that_is_told_to_end_loses_nothing_and_is_started_again(place: Place, files: RunFiles) -> None:
    command = start(place)
    place.until(lambda: files.updates() >= 2, "the second update", during=command)
    actor = command.actors()["actor-0"]
    psutil.Process(actor).terminate()
    place.until(lambda: command.actors().get("actor-0", actor) != actor, "it is started again", during=command)
    assert "actor-0 left: drained" in command.said()
    place.gate.touch()
    place.ends(command, code=0)
    place.leaves_nothing()
    assert_finished(files)
    assert drops(files.ledger()) == {}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert "actor-0 ended with" not in command.said()
    assert "was killed" not in command.said()


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
def test_environments_in_processes_of_their_own_end_with_their_actor_however_it_ends(
    place: Place, files: RunFiles
) -> None:
    command = start(place, "--env.vectorization", "async", "--actors", "1", "--collect.envs-per-actor", "2")
    place.until(lambda: files.updates() >= 1, "the first update", during=command)
    actor = command.actors()["actor-0"]
    workers = psutil.Process(actor).children(recursive=True)
    assert len(workers) >= 2
    kill(actor)
    place.until(lambda: not any(worker.is_running() for worker in workers), "its environments end", during=command)
    place.until(lambda: command.actors().get("actor-0", actor) != actor, "it is started again", during=command)
    updates = files.updates()
    place.until(lambda: files.updates() > updates, "it is at work", during=command)
    kill(command.pid)
    place.leaves_nothing()
    assert_closes(files.ledger())


@pytest.mark.slow
@pytest.mark.parametrize("actors", [2, 0])
@pytest.mark.parametrize(
    ("env", "said"),
    [
        (BREAKING, "failed in step: RuntimeError: the simulator lost its licence (simulators.py"),
        (BLOWN_UP, "failed in step: observation is NaN or infinite"),
    ],
)
def test_an_environment_that_fails_now_and_then_is_made_again_and_counted(
    place: Place, files: RunFiles, env: str, said: str, actors: int
) -> None:
    command = place.start(
        "train",
        *(*SMALL, "--actors", str(actors), "--evaluation-episodes", "0", "--run.total-steps", "5000"),
        *("--env", env, "--env.kwargs", json.dumps({"steps": 300}), "--run.directory", RUN),
    )
    place.ends(command, code=0)
    place.leaves_nothing()
    assert command.complained() == ""
    assert said in command.said()
    assert "keeps" not in command.said()
    assert_closes(files.ledger())
    assert drops(files.ledger()) == {}
    restarts = files.summary()["env_restarts"]
    assert restarts == files.ledger()["total"]["env_restarts"]
    assert 8 <= restarts < 5000 / 300 + 20
    assert files.metrics()[-1]["env_restarts"] > 0
    if actors:
        log = (files.path / "logs" / "actor-0.log").read_text()
        expected = (1, 2) if env == BREAKING else (0,)  # of the first, and of the tenth if there was one
        assert log.count("Traceback") in expected


@pytest.mark.slow
def test_an_environment_that_yields_nothing_but_nan_ends_the_run_and_says_so(place: Place) -> None:
    command = place.start(
        "train",
        *SMALL,
        *("--env", BLOWN_UP, "--env.kwargs", json.dumps({"steps": 0}), "--run.directory", RUN),
    )
    place.ends(command, code=1)
    place.leaves_nothing()
    (line,) = command.complained().splitlines()
    assert "actor-" in line
    assert "observation is NaN" in line


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_changes_nothing(place: Place, files: RunFiles) -> None:
    place.gate.touch()
    place.ends(start(place), code=0)
    before, steps = snapshot(files.path), place.counted_steps()
    for arguments in ((), ("--actors", "0"), ("--run.total-steps", "1000")):
        again = start(place, *arguments)
        place.ends(again, code=0)
        assert "run is finished; nothing was started and nothing changed" in again.said()
        assert "go on with it: a larger --run.total-steps" in again.said()
    place.leaves_nothing()
    assert snapshot(files.path) == before
    assert place.counted_steps() == steps


@pytest.mark.slow
def test_a_run_survives_one_kill_after_the_other(place: Place, files: RunFiles) -> None:
    launched = time.monotonic()
    command = start(place)
    for victim in ("actor-0", "learner", "actor-1", "learner", "actor-0"):
        updates, pid = files.updates(), files.learner_pid()
        # it has gone on after the previous kill: a new line in the curve, or fewer after a resume
        place.until(lambda updates=updates: files.updates() != updates, "the next update", during=command)
        victims = command.actors() | {"learner": pid}
        place.until(lambda name=victim: name in command.actors() | {"learner": 0}, f"{victim} is up", during=command)
        kill((victims | command.actors())[victim])
    updates = files.updates()
    place.until(lambda: files.updates() != updates, "the next update", during=command)
    place.gate.touch()
    place.ends(command, code=0)
    # a learner that is started again does not count once more what its checkpoint has
    assert files.metrics()[-1]["elapsed_seconds"] <= time.monotonic() - launched + 1.0  # of psutil
    place.leaves_nothing()
    assert files.term() == 3
    assert_finished(files)
    assert drops(files.ledger()).keys() <= {"learner_crash", "stale", "actor_lost"}
    assert max(line["first_pass_ratio_error"] for line in files.metrics()) < 1e-4
