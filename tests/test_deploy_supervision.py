"""Supervision without processes: which actors there are, and when a deployment is over."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dppo.deploy import supervised_actors
from dppo.deploy.engine import Deployment, Process
from dppo.deploy.records import write_deployment
from dppo.deploy.supervised import read_status
from dppo.deploy.supervised_actors import LEAVING_SECONDS, SupervisedActors
from dppo.deploy.supervisor import Supervisor, actor_arguments, join_files, learners_of
from dppo.protocol.process.lifeline import Lifeline


class StandInProcess:
    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def poll(self) -> int | None:
        return self.exit_code

    def kill(self) -> int:
        self.exit_code = -signal.SIGKILL
        return self.exit_code


class StandInChild:
    def __init__(self, name: str, *rest: Any) -> None:
        self.name, self.process, self.deaths = name, StandInProcess(), 0

    def start(self) -> None:
        """Run at once."""

    def died(self) -> int | None:
        return None

    def restart_if_due(self) -> bool:
        return False


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> tuple[SupervisedActors, list[float]]:
    monkeypatch.setattr(supervised_actors, "Child", StandInChild)
    now = [0.0]
    with Lifeline() as lifeline:
        return SupervisedActors(lambda name: [name], Path(), lifeline, clock=lambda: now[0]), now


def names(group: SupervisedActors) -> list[str]:
    return [process.name for process in group.processes()]


def test_the_last_actors_leave_first_and_their_names_are_free_when_they_have_left(
    actors: tuple[SupervisedActors, list[float]],
) -> None:
    group, _ = actors
    group.want(3)
    last: Any = group._children[2].process
    group.want(2)
    assert last.signals == [signal.SIGTERM]
    group.want(3)
    assert names(group) == ["actor-0", "actor-1"], "the learner knows actor-2 by the process that leaves"
    last.exit_code = 0
    group.look()
    group.want(3)
    assert names(group) == ["actor-0", "actor-1", "actor-2"]


def test_an_actor_that_does_not_leave_is_killed(actors: tuple[SupervisedActors, list[float]]) -> None:
    group, now = actors
    group.want(1)
    process: Any = group._children[0].process
    group.want(0)
    group.look()
    assert process.exit_code is None
    now[0] = LEAVING_SECONDS + 1
    group.look()
    assert process.exit_code == -signal.SIGKILL


class StandInLearners:
    """A group of learners that ends as it is told."""

    def __init__(self) -> None:
        self.children: list[Any] = []
        self.codes: list[int | None] = []
        self.hopeless, self.how, self.log, self.restarts = False, "the learner ended with code 2", Path("log"), 0

    def start(self) -> None:
        """Run at once."""

    def died(self) -> int | None:
        return self.codes.pop(0)

    def restart_if_due(self) -> bool:
        self.restarts += 1
        return True

    def last_error(self) -> str:
        return "the port is taken"


class StandInActors:
    def __init__(self) -> None:
        self.wanted: list[int] = []
        self.has_ended = False

    def want(self, count: int) -> None:
        self.wanted.append(count)

    def look(self) -> None:
        """Do nothing."""

    def all_ended(self) -> bool:
        return True

    def processes(self) -> Sequence[Process]:
        return [Process("actor-0", "running")]

    def end(self) -> None:
        self.has_ended = True


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    for name in ("access", "deploy"):
        (tmp_path / name).mkdir()
    made = Deployment("local", "x", str(tmp_path), 2, 1, 0.0)
    write_deployment(made)
    return made


def supervised(deployment: Deployment, codes: list[int | None]) -> tuple[int, StandInLearners, StandInActors]:
    """Supervise learners that end so at each look. The join line is there from the second look on."""
    learners, actors = StandInLearners(), StandInActors()
    learners.codes = codes
    supervisor = Supervisor(deployment, learners, actors)
    learners.start = lambda: (deployment.path / "access" / "join").write_text("line")
    return supervisor.run([]), learners, actors


def test_a_run_that_is_over_ends_the_actors_too(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.deploy.supervisor.TICK_SECONDS", 0.0)
    code, _, actors = supervised(deployment, [None, None, 0])
    assert code == 0
    assert actors.wanted == [2, 2]
    assert actors.has_ended
    assert read_status(deployment.folder).over == "the run is over"


def test_a_killed_learner_is_started_again_and_a_refused_one_is_not(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dppo.deploy.supervisor.TICK_SECONDS", 0.0)
    code, learners, _ = supervised(deployment, [None, -signal.SIGKILL, None, 2])
    assert code == 2
    assert learners.restarts == 3
    noted = read_status(deployment.folder)
    assert noted.over == "the learner ended with code 2: the port is taken"
    assert noted.code == 2


def test_a_number_of_actors_that_is_recorded_is_taken_over(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = [lambda: write_deployment(msgspec.structs.replace(deployment, actors=5)), lambda: None]
    monkeypatch.setattr("time.sleep", lambda seconds: record.pop(0)() if record else None)
    _, _, actors = supervised(deployment, [None, None, None, 0])
    assert actors.wanted == [2, 5, 5]


def test_several_learners_are_ranks_and_actors_join_them_in_turn(tmp_path: Path) -> None:
    made = Deployment("local", "x", str(tmp_path), 4, 2, 0.0, handle={"bind": "tcp://127.0.0.1:9", "advertise": ""})
    with Lifeline() as lifeline:
        children = learners_of(made, lifeline).children
        assert [child.name for child in children] == ["learner", "learner-1"]
        assert [child.environment["RANK"] for child in children] == ["0", "1"]
        assert {child.environment["WORLD_SIZE"] for child in children} == {"2"}
    joins = [tmp_path / "access" / "join", tmp_path / "ranks" / "1" / "access" / "join"]
    assert join_files(made) == joins
    chosen = [actor_arguments(made, f"actor-{number}") for number in range(4)]
    assert [words[words.index("--join-file") + 1] for words in chosen] == [*map(str, joins), *map(str, joins)]
