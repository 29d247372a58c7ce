"""The timeline of a real run: one slow actor, one that was killed, and a learner that was killed."""

import json
from collections.abc import Iterator

import pytest
from processes import SMALL, Place, RunFiles, kill

from dppo.watch.timeline.command import read_timeline, section_of_report
from dppo.watch.timeline.lanes import Doing, Happening
from dppo.watch.timeline.rows import slowest_of
from dppo.watch.timeline.summary import summary

pytestmark = pytest.mark.timeout(300)
RUN = "run"


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.mark.slow
def test_a_run_with_a_slow_actor_a_killed_one_and_a_killed_learner(place: Place) -> None:
    kwargs = {"actor": "{actor}", "seconds": 0.002, "slow_actor": "actor-2", "slow_seconds": 0.02}
    files = RunFiles(place.path / RUN)
    command = place.start(
        *("train", *SMALL, "--env", "scripts.site.paced_cartpole:make", "--env.kwargs", json.dumps(kwargs)),
        *("--run.directory", RUN, "--run.total-steps", "6000", "--actors", "3", "--trace"),
        *("--evaluation-episodes", "0", "--run.tensorboard", "false"),
    )
    place.until(lambda: files.updates() >= 3, "the third update", during=command)
    actor = command.actors()["actor-0"]
    kill(actor)
    place.until(lambda: command.said().count("actor-0 joined") == 2, "it has joined again", during=command)
    learner = files.learner_pid()
    kill(learner)
    place.until(lambda: files.term() == 2 and files.learner_pid() not in (0, learner), "the next", during=command)
    place.ends(command, code=0)
    timeline = read_timeline(str(place.path / RUN), updates=0)
    board = timeline.board
    assert sorted(lane.name for lane in board.actors) == ["actor-0", "actor-1", "actor-2"]
    slowest = slowest_of(board.actors)
    assert slowest is not None
    assert slowest[0].name == "actor-2"
    assert slowest[1] > 3.0
    found = {(mark.lane, mark.happening) for mark in board.marks}
    assert {("actor-0", Happening.LOST), ("actor-0", Happening.RESTARTED)} <= found
    assert not [mark for mark in found if mark[0] == "actor-1" and mark[1] is not Happening.JOINED]
    assert [start.name for start in board.starts] == ["learner"]
    updates = [line["update"] for line in files.metrics()]
    assert abs(board.updates - len(updates)) <= 1  # the one that the learner was killed in
    assert all(lane.task_seconds["env"] > 0 for lane in board.actors)
    assert board.lane("actor-2").task_seconds["env"] > board.lane("actor-2").task_seconds["policy"]
    assert board.learners[0].seconds[Doing.AWAY] > 0
    lines = summary(board)
    assert any(line.startswith("slowest: actor-2, ") for line in lines)
    assert any(line.startswith("learner was started again at ") for line in lines)
    assert timeline.picture("png").startswith(b"\x89PNG")
    assert "slowest: actor-2, " in section_of_report(place.path / RUN)
