"""Several learners of a local run as one: started and ended together, started again where one of them is killed."""

import signal
from pathlib import Path
from typing import cast

import msgspec
import pytest

from dppo.learner.telemetry.joint_status import joint_status
from dppo.learner.telemetry.status import ActorStatus, LedgerStatus, Status
from dppo.local import learner_group
from dppo.local.child_process import ChildProcess
from dppo.local.learner_group import LearnerGroup, rank_variables
from dppo.local.processes import Child
from dppo.protocol.process.lifeline import Lifeline


class FakeProcess:
    """A process that runs until it has a code."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class FakeLearner(Child):
    """A child without a process; what it prints before it ends is `words`."""

    def start(self) -> None:
        self.process = cast(ChildProcess, FakeProcess())

    def died(self) -> int | None:
        code = None if self.process is None else self.process.exit_code
        if code is not None:
            self.process = None
        return code


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the learners that the group has ended."""
    names: list[str] = []

    def end(children: list[FakeLearner], grace_seconds: float) -> None:
        for child in children:
            cast(FakeProcess, child.process).exit_code = -signal.SIGKILL
            names.append(child.name)

    monkeypatch.setattr(learner_group, "end", end)
    return names


def group_of(ranks: int) -> LearnerGroup:
    names = ["learner", *(f"learner-{rank}" for rank in range(1, ranks))]
    with Lifeline() as lifeline:
        made = [
            FakeLearner(name, (), Path(f"{name}.log"), lifeline, rank_variables(rank, ranks, 8 * rank))
            for rank, name in enumerate(names)
        ]
    group = LearnerGroup(made)
    group.start()
    return group


def ends(group: LearnerGroup, rank: int, code: int, words: str = "") -> None:
    cast(FakeProcess, group.children[rank].process).exit_code = code
    group.children[rank].words = words


def test_all_learners_of_a_start_meet_at_one_port_and_have_slots_of_their_own() -> None:
    group = group_of(3)
    variables = [child.environment for child in group.children]
    assert len({of["MASTER_PORT"] for of in variables}) == 1
    assert [(of["RANK"], of["WORLD_SIZE"], of["DPPO_FIRST_SLOT"]) for of in variables] == [
        ("0", "3", "0"),
        ("1", "3", "8"),
        ("2", "3", "16"),
    ]


def test_one_learner_takes_no_place_from_the_variables_around_it() -> None:
    assert rank_variables(0, 1, 0) == {"RANK": "", "WORLD_SIZE": ""}


def test_where_one_is_killed_the_others_are_ended_and_all_start_again(ended: list[str]) -> None:
    group = group_of(3)
    assert group.died() is None
    ends(group, 1, -signal.SIGKILL)
    ends(group, 2, 75, "dppo: error: rank 1 did not take part in a mean")
    assert group.died() == -signal.SIGKILL
    assert group.how == "learner-1 was killed by SIGKILL"
    assert ended == ["learner"]
    assert group.processes == []
    assert group.restart_if_due()
    assert len(group.processes) == 3


def test_a_learner_that_only_lost_another_one_is_started_again_and_named(ended: list[str]) -> None:
    group = group_of(2)
    ends(group, 1, 75, "dppo: error: batch: rank 0 did not come within 300 s")
    assert group.died() == -signal.SIGTERM
    assert group.how == "learner-1: batch: rank 0 did not come within 300 s"
    assert ended == ["learner"]


def test_an_error_of_one_is_that_of_the_run_whatever_the_others_lost(ended: list[str]) -> None:
    group = group_of(2)
    ends(group, 0, 75, "dppo: error: rank 1 did not take part in a mean")
    ends(group, 1, 1, "dppo: error: training diverged")
    assert group.died() == 1
    assert (group.last_error(), group.log) == ("training diverged", Path("learner-1.log"))
    assert ended == []


def test_the_run_is_over_once_all_have_ended_in_order() -> None:
    group = group_of(2)
    ends(group, 1, 0)
    assert group.died() is None
    ends(group, 0, 0)
    assert group.died() == 0


def status_of(actor: str, steps: int, waiting_for: str = "") -> Status:
    row = ActorStatus(actor, "running", 8, steps, 0.5, 0.2, 0.1, 0.2, 0.0)
    ledger = LedgerStatus(steps, steps - 3, 2, 0, {"stale": 1}, 0)
    return Status(
        "COLLECTING", "", "X-v0", 1, 1, 50, 99, 10.0, 1, 1.0, None, 1.0, waiting_for, (row,), ledger, {}, None
    )


def test_the_status_of_a_group_has_the_actors_and_the_ledger_of_all() -> None:
    joint = joint_status([status_of("actor-0", 30), status_of("actor-1", 20, "actor-1 to stop")])
    assert [row.name for row in joint.actors] == ["actor-0", "actor-1"]
    assert (joint.ledger.sealed, joint.ledger.trained, joint.ledger.dropped) == (50, 44, {"stale": 2})
    assert (joint.steps, joint.steps_per_second, joint.waiting_for) == (50, 20.0, "learner 1: actor-1 to stop")


def test_a_run_has_stopped_once_all_of_its_learners_have() -> None:
    statuses = [status_of("actor-0", 30), status_of("actor-1", 20)]
    for phases, joint in (
        (("STOPPED", "DRAINING"), "DRAINING"),
        (("DRAINING", "STOPPED"), "DRAINING"),
        (("STOPPED", "STOPPED"), "STOPPED"),
        (("COLLECTING", "UPDATING"), "COLLECTING"),
    ):
        each = [msgspec.structs.replace(one, phase=phase) for one, phase in zip(statuses, phases, strict=True)]
        assert joint_status(each).phase == joint
