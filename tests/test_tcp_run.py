"""A learner and actors started by hand, as on several hosts: over tcp, in any order, some of them not welcome."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from processes import SMALL, Dppo, Place, RunFiles, assert_closes, drops, kill
from simulators import INSTALLED, NUMBERS_VARIABLE
from snapshots import snapshot

from scripts.ports import free_port

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS

TOTAL_STEPS = 12_000
RUN = "run"


@dataclass(frozen=True)
class Cluster:
    """Commands on one port."""

    place: Place
    endpoint: str

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.place.path / RUN)

    def learner(self, *arguments: str) -> Dppo:
        """Writes a checkpoint after every update."""
        return self.place.start(
            "learner",
            *SMALL,
            *("--bind", self.endpoint, "--run.directory", RUN, "--run.total-steps", str(TOTAL_STEPS)),
            *("--run.checkpoint-seconds", "0", "--evaluation-episodes", "0", *arguments),
        )

    def gated_learner(self, *arguments: str) -> Dppo:
        return self.learner(*self.place.gated, *arguments)

    def actor(self, name: str, **variables: str) -> Dppo:
        join_file = str(self.files.path / "access" / "join")  # waited for, as on a host that shares the directory
        return self.place.start("actor", "--join-file", join_file, "--name", name, variables=variables)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Place() as place:
        yield Cluster(place, f"tcp://127.0.0.1:{free_port()}")


@pytest.mark.slow
def test_actors_join_before_and_during_a_run_and_end_with_it(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    health = place.path / "health"
    early = cluster.actor("early", DPPO_HEALTH_FILE=str(health))
    place.until(health.exists, "the actor's loop turns without a learner", during=early)
    learner = cluster.gated_learner()
    second = cluster.actor("second")
    place.until(lambda: {"early", "second"} <= files.trained_by_actor().keys(), "both are at work", during=learner)
    late = cluster.actor("late")
    place.until(lambda: files.trained_by_actor().get("late", 0) > 0, "the third contributes", during=learner)
    place.gate.touch()
    for command in (learner, early, second, late):
        place.ends(command, code=0)
    place.leaves_nothing()
    metrics, ledger = files.metrics(), files.ledger()
    assert_closes(ledger)
    assert drops(ledger) == {}
    assert ledger["closed_incarnations"] == 3
    assert ledger["total"]["sealed"] == place.counted_steps()
    assert ledger["total"]["trained"] == metrics[-1]["steps"] >= TOTAL_STEPS
    assert max(line["first_pass_ratio_error"] for line in metrics) < 1e-4
    for actor in (early, second, late):
        assert f"of {TOTAL_STEPS:,} steps are done" in actor.complained().splitlines()[-1]


@pytest.mark.slow
def test_an_actor_whose_environment_has_other_spaces_is_refused(cluster: Cluster) -> None:
    place = cluster.place
    learner = cluster.learner("--env", INSTALLED)
    first = cluster.actor("first", **{NUMBERS_VARIABLE: "3"})
    place.until(lambda: cluster.files.updates() >= 1, "the first update", during=learner)
    other = cluster.actor("other", **{NUMBERS_VARIABLE: "4"})
    place.ends(other, code=3)
    (error,) = [line for line in other.complained().splitlines() if line.startswith("dppo: error: ")]
    assert "spaces differ" in error
    assert "Traceback" not in other.complained()
    assert "other was refused" in learner.said()
    updates = cluster.files.updates()
    place.until(lambda: cluster.files.updates() > updates, "the run goes on", during=learner)
    learner.signal(signal.SIGTERM)
    place.ends(learner, code=0)
    first.signal(signal.SIGTERM)  # it would wait for the next learner
    place.ends(first, code=0)
    place.leaves_nothing()
    assert_closes(cluster.files.ledger())


@pytest.mark.slow
def test_actors_outlive_a_killed_learner_and_work_for_the_next_one(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    learner, actors = cluster.gated_learner(), [cluster.actor("a"), cluster.actor("b")]
    place.until(lambda: files.updates() >= 2, "the second update", during=learner)
    kill(learner.pid)
    place.ends(learner, code=-signal.SIGKILL)
    done = int(files.checkpoints()[-1])
    again = cluster.gated_learner()
    place.until(lambda: files.term() == 2 and files.updates() >= done + 2, "it trains again", during=again)
    place.gate.touch()
    for command in (again, *actors):
        place.ends(command, code=0)
    place.leaves_nothing()
    assert_closes(files.ledger())
    assert drops(files.ledger()).keys() <= {"learner_crash", "stale"}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert [line["update"] for line in files.metrics()] == list(range(1, files.updates() + 1))


@pytest.mark.slow
def test_the_newest_process_of_a_name_wins_and_the_older_one_is_told_why(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    learner, older = cluster.gated_learner(), cluster.actor("twin")
    place.until(lambda: files.updates() >= 1, "the first update", during=learner)
    newer = cluster.actor("twin")
    place.ends(older, code=3)
    assert "--name" in older.complained().splitlines()[-1]
    place.gate.touch()
    place.ends(learner, code=0)
    place.ends(newer, code=0)
    place.leaves_nothing()
    assert_closes(files.ledger())
    assert drops(files.ledger()).keys() <= {"actor_lost"}


@pytest.mark.slow
def test_an_actor_that_hangs_does_not_hold_the_others_up(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    learner = cluster.gated_learner("--collect.stop-grace-seconds", "1")
    actors = {name: cluster.actor(name) for name in ("works", "hangs")}
    place.until(lambda: actors.keys() <= files.trained_by_actor().keys(), "both are at work", during=learner)
    actors["hangs"].signal(signal.SIGSTOP)
    updates = files.updates()
    place.until(lambda: files.updates() >= updates + 3, "the run goes on", during=learner)
    actors["hangs"].signal(signal.SIGCONT)
    trained = files.trained_by_actor()["hangs"]
    place.until(lambda: files.trained_by_actor().get("hangs", 0) > trained, "it contributes again", during=learner)
    place.gate.touch()
    for command in (learner, *actors.values()):
        place.ends(command, code=0)
    place.leaves_nothing()
    assert_closes(files.ledger())
    assert drops(files.ledger()).keys() <= {"stale"}
    assert files.ledger()["total"]["sealed"] == place.counted_steps()


@pytest.mark.slow
def test_two_learners_on_one_port_are_one_too_many(cluster: Cluster) -> None:
    first = cluster.gated_learner()
    cluster.place.until(lambda: "listening" in first.said(), "the learner listens", during=first)
    second = cluster.place.start(
        "learner", *SMALL, *cluster.place.gated, "--bind", cluster.endpoint, "--run.directory", "another"
    )
    cluster.place.ends(second, code=2)
    (line,) = second.complained().splitlines()
    assert cluster.endpoint in line
    first.signal(signal.SIGINT)
    cluster.place.ends(first, code=0)
    cluster.place.leaves_nothing()


@pytest.mark.slow
def test_an_actor_without_a_learner_ends_when_it_is_told_to(cluster: Cluster) -> None:
    health = cluster.place.path / "health"
    actor = cluster.actor("lonely", DPPO_HEALTH_FILE=str(health))
    cluster.place.until(health.exists, "its loop turns", during=actor)
    actor.signal(signal.SIGTERM)
    cluster.place.ends(actor, code=0)
    cluster.place.leaves_nothing()


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_actors_that_wait_for_it_are_told(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    place.gate.touch()
    first, actor = cluster.gated_learner(), cluster.actor("first")
    place.ends(first, code=0)
    place.ends(actor, code=0)
    before = snapshot(files.path)
    waiting = cluster.actor("waiting")
    again = cluster.gated_learner()
    place.ends(waiting, code=0)
    place.ends(again, code=0)
    place.leaves_nothing()
    assert "run is finished; nothing was started and nothing changed" in again.said()
    assert "the run is over" in waiting.complained()
    assert snapshot(files.path) == before


@pytest.mark.slow
def test_a_learner_goes_on_with_what_may_change_and_with_nothing_else(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    place.gate.touch()
    first, actor = cluster.gated_learner(), cluster.actor("first")
    place.ends(first, code=0)
    place.ends(actor, code=0)
    before = snapshot(files.path)
    other = cluster.gated_learner("--ppo.learning-rate", "1e-5")
    place.ends(other, code=2)
    assert "ppo.learning_rate: 0.0003 -> 1e-05" in other.complained()
    assert snapshot(files.path) == before
    longer = cluster.gated_learner("--run.total-steps", "14000", "--collect.lease-seconds", "20")
    actor = cluster.actor("second")
    place.ends(longer, code=0)
    place.ends(actor, code=0)
    assert files.summary()["steps"] >= 14_000
    lines = [json.loads(line) for line in (files.path / "history.jsonl").read_text().splitlines()]
    assert [(line["field"], line["new"]) for line in lines] == [
        ("collect.lease_seconds", 20.0),
        ("run.total_steps", 14_000),
    ]


@pytest.mark.slow
def test_under_quota_versions_are_those_of_a_run_in_one_process(cluster: Cluster) -> None:
    place, quota = cluster.place, ("--collect.rule", "quota", "--collect.slots", "8")
    commands = [
        cluster.learner(*quota, "--collect.envs-per-actor", "4"),
        cluster.actor("one"),
        cluster.actor("two"),
    ]
    for command in commands:
        place.ends(command, code=0)
    alone = place.start(
        *("train", *SMALL, "--actors", "0", *quota, "--collect.envs-per-actor", "8", "--run.directory", "alone"),
        *("--run.total-steps", str(TOTAL_STEPS), "--evaluation-episodes", "0"),
    )
    place.ends(alone, code=0)
    over_tcp, here = ((place.path / run / "versions.jsonl").read_text() for run in (RUN, "alone"))
    assert over_tcp == here
    assert len(here.splitlines()) > 5
