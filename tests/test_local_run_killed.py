"""`dppo train` interrupted and killed at any time: no orphans, no lost accounts, and it resumes."""

import signal
import time
from collections.abc import Iterator

import psutil
import pytest
from local_runs import RUN, TOTAL_STEPS, assert_curve_has_every_update_once, assert_finished, start
from processes import Place, RunFiles, assert_closes, drops, kill

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture
def files(place: Place) -> RunFiles:
    return RunFiles(place.path / RUN)


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
def test_an_actor_that_is_told_to_end_loses_nothing_and_is_started_again(place: Place, files: RunFiles) -> None:
    command = start(place)
    place.until(lambda: files.updates() >= 2, "the second update", during=command)
    actor = command.actors()["actor-0"]
    psutil.Process(actor).terminate()
    place.until(lambda: command.actors().get("actor-0", actor) != actor, "it is started again", during=command)
    assert "actor-0 left: stopped, everything delivered" in command.said()
    place.gate.touch()
    place.ends(command, code=0)
    place.leaves_nothing()
    assert_finished(files)
    assert drops(files.ledger()) == {}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert "actor-0 ended with" not in command.said()
    assert "was killed" not in command.said()


@pytest.mark.slow
def test_a_run_survives_one_kill_after_the_other(place: Place, files: RunFiles) -> None:
    launched = time.monotonic()
    command = start(place, total_steps=2 * TOTAL_STEPS)
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
