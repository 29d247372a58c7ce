"""Spaces of whole runs: actors and learners with other releases of the environment, as real processes."""

import signal
import time

import pytest
from processes import SMALL, Dppo, Place, RunFiles
from simulators import INSTALLED, NUMBERS_VARIABLE

from scripts.ports import free_port


class Runs:
    """A learner and actors of one run, each with a release of the environment of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.files = RunFiles(place.path / "run")

    def learner(self, numbers: str = "", env_id: str = INSTALLED) -> Dppo:
        return self._place.start(
            *("learner", "--env", env_id, *SMALL, "--bind", self._endpoint, "--run.directory", "run"),
            *("--run.checkpoint-seconds", "0", "--evaluation-episodes", "0"),
            variables={NUMBERS_VARIABLE: numbers} if numbers else {},
        )

    def actor(self, name: str, numbers: str) -> Dppo:
        join_file = str(self.files.path / "access" / "join")
        return self._place.start(
            *("actor", "--join-file", join_file, "--name", name), variables={NUMBERS_VARIABLE: numbers}
        )

    def end(self, *commands: Dppo) -> None:
        for command in commands:
            command.signal(signal.SIGTERM)
            self._place.ends(command, code=0)
        self._place.leaves_nothing()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_actor_that_comes_first_with_other_spaces_is_refused_and_an_honest_one_trains() -> None:
    with Place() as place:
        runs = Runs(place)
        liar = runs.actor("liar", "5")  # before there is a learner
        learner = runs.learner("3")
        place.ends(liar, code=3)
        (error,) = [line for line in liar.complained().splitlines() if line.startswith("dppo: error: ")]
        assert "observation is float32 (5,) here, float32 (3,) in the run" in error
        honest = runs.actor("honest", "3")
        place.until(lambda: runs.files.updates() >= 1, "the first update", during=learner)
        runs.end(learner, honest)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_host_that_cannot_make_the_environment_goes_by_its_actors() -> None:
    with Place() as place:
        runs = Runs(place)
        learner = runs.learner()  # the variable is missing
        actor = runs.actor("a", "3")
        place.until(lambda: runs.files.updates() >= 1, "the first update", during=learner)
        said = learner.said() + learner.complained()
        assert said.count("the spaces are those that most actors have: ") == 1
        assert "Traceback" not in said
        runs.end(learner, actor)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_was_trained_on_other_spaces_is_left_as_it_is() -> None:
    with Place() as place:
        runs = Runs(place)
        learner, actor = runs.learner("3"), runs.actor("a", "3")
        place.until(lambda: runs.files.updates() >= 1, "the first update", during=learner)
        runs.end(learner, actor)
        before = {path: path.stat().st_mtime_ns for path in runs.files.path.rglob("*")}
        again = runs.learner("4")
        place.ends(again, code=2)
        (error,) = [line for line in again.complained().splitlines() if line.startswith("dppo: error: ")]
        assert "observation is float32 (4,) here, float32 (3,) in the run" in error
        assert {path: path.stat().st_mtime_ns for path in runs.files.path.rglob("*")} == before
        place.leaves_nothing()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_learner_that_nobody_joins_leaves_no_checkpoint() -> None:
    with Place() as place:
        runs = Runs(place)
        learner = runs.learner("3")
        place.until(lambda: (runs.files.path / "access" / "join").exists(), "it listens", during=learner)
        time.sleep(6.0)  # torch is imported, and the environment was made
        runs.end(learner)
        assert not runs.files.checkpoints()
        assert not (runs.files.path / "policy.onnx").exists()
