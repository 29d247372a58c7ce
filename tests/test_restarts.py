"""A learner killed at the worst places, or told to go, and started again by the same command; its actors stay."""

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from processes import SMALL, Dppo, Place, RunFiles, assert_closes, drops

from dppo.learner.failpoints import POINTS, VARIABLE
from dppo.learner.signals import UPDATE_SECONDS
from dppo.learner.storage.audit import audit
from dppo.learner.storage.checkpoint import newest

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS

RUN = "run"
TOTAL_STEPS = 6_000  # a quarter of a minute while the gate is shut, seconds once it is open
RESUMED = re.compile(r"resuming .* after update (\d+)")


@dataclass(frozen=True)
class Cluster:
    """Commands on one socket, with the usual checkpoints."""

    place: Place

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.place.path / RUN)

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.place.path}/learner"

    def learner(self, *arguments: str, **variables: str) -> Dppo:
        return self.place.start(
            *("learner", *SMALL, *self.place.gated, "--bind", self.endpoint, "--run.directory", RUN),
            *("--run.total-steps", str(TOTAL_STEPS), "--evaluation-episodes", "0", *arguments),
            variables=variables,
        )

    def actor(self, name: str) -> Dppo:
        return self.place.start("actor", "--learner", self.endpoint, "--name", name)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Place() as place:
        yield Cluster(place)


def resumed_after(learner: Dppo) -> int:
    found = RESUMED.findall(learner.said())
    return int(found[-1]) if found else 0


def finish(cluster: Cluster, *commands: Dppo) -> None:
    """To the end of the run; every step that the environments took is in the ledger."""
    place, files = cluster.place, cluster.files
    place.gate.touch()
    for command in commands:
        place.ends(command, code=0)
    place.leaves_nothing()
    assert_closes(files.ledger())
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert [line["update"] for line in files.metrics()] == list(range(1, files.updates() + 1))
    assert audit(files.path).problems == ()


def kill_at(cluster: Cluster, point: str, *arguments: str) -> None:
    """Once killed there, the same command goes on and the books are whole."""
    place, files = cluster.place, cluster.files
    first = cluster.learner(*arguments, **{VARIABLE: f"{point}:4"})
    actors = [cluster.actor("a"), cluster.actor("b")]
    place.ends(first, code=-signal.SIGKILL)
    done = files.updates()
    assert audit(files.path).problems == ()
    again = cluster.learner(*arguments)
    place.until(lambda: files.term() == 2 and files.updates() > done, "it trains again", during=again)
    assert done - resumed_after(again) <= 1
    finish(cluster, again, *actors)
    assert drops(files.ledger()).keys() <= {"learner_crash", "stale"}
    for actor in actors:
        assert "refused" not in actor.complained()


@pytest.mark.slow
def test_a_learner_killed_before_its_newest_version_is_in_a_checkpoint_loses_one_update_and_no_step(
    cluster: Cluster,
) -> None:
    kill_at(cluster, "after-publish")


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in POINTS if point != "after-publish"])
def test_a_learner_killed_at_a_named_place_loses_one_update_at_most_and_no_step(cluster: Cluster, point: str) -> None:
    kill_at(cluster, point)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["gru", "none"])
def test_what_a_checkpoint_has_in_hand_is_trained_on_after_a_kill(cluster: Cluster, memory: str) -> None:
    arguments = ("--collect.max-staleness", "1", "--run.checkpoint-seconds", "0", "--network.memory", memory)
    first = cluster.learner(*arguments, **{VARIABLE: "after-checkpoint-rename:4"})
    actors = [cluster.actor("a"), cluster.actor("b")]
    cluster.place.ends(first, code=-signal.SIGKILL)
    saved = newest(cluster.files.path / "checkpoints", print)
    assert saved is not None
    again = cluster.learner(*arguments)
    cluster.place.until(lambda: resumed_after(again), "it resumes", during=again)
    assert ("steps that were in hand go into the next updates" in again.said()) == bool(saved.in_hand)
    finish(cluster, again, *actors)
    assert drops(cluster.files.ledger()).keys() <= {"learner_crash", "stale", "shutdown"}


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("point", ["before-checkpoint-rename", "after-checkpoint-rename"])
def test_the_same_holds_for_lasting_checkpoints(cluster: Cluster, point: str) -> None:
    kill_at(cluster, point, "--run.checkpoint-seconds", "0")


@pytest.mark.slow
def test_a_failpoint_that_does_not_exist_is_an_error_of_usage(cluster: Cluster) -> None:
    learner = cluster.learner(**{VARIABLE: "between-the-lines"})
    cluster.place.ends(learner, code=2)
    assert "after-accept" in learner.complained()


def interrupted(cluster: Cluster) -> tuple[list[Dppo], int]:
    """Two actors whose learner was told to go, and how many updates it had done."""
    place, files = cluster.place, cluster.files
    learner, actors = cluster.learner(), [cluster.actor("a"), cluster.actor("b")]
    place.until(lambda: files.updates() >= 2, "the second update", during=learner)
    learner.signal(signal.SIGTERM)
    place.ends(learner, code=0)
    return actors, files.updates()


@pytest.mark.slow
def test_a_learner_that_is_told_to_go_loses_nothing_and_its_actors_wait_for_the_next_one(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    actors, done = interrupted(cluster)
    assert files.checkpoints()[-1] == f"{done:08}"
    assert_closes(files.ledger())
    assert files.summary()["reason"] == "interrupted"
    place.until(lambda: "is gone; waiting for it" in actors[0].complained(), "the actor says so", during=actors[0])
    again = cluster.learner()
    place.until(lambda: files.updates() > done, "it trains again", during=again)
    assert resumed_after(again) == done
    for actor in actors:
        assert actor.complained().count("is gone; waiting for it") <= 1
        assert "is back" in actor.complained() or "is gone" not in actor.complained()
    finish(cluster, again, *actors)
    assert drops(files.ledger()).keys() <= {"shutdown", "stale"}  # a busy machine: the grace may pass


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_learner_that_is_told_to_go_during_a_long_update_gives_it_up_and_loses_nothing(
    cluster: Cluster, signals: int
) -> None:
    place, files = cluster.place, cluster.files
    actors, done = interrupted(cluster)
    config = place.path / "run" / "config.yaml"  # edited, as no one should: only so is the next update a long one
    as_it_was = config.read_text()
    config.write_text(re.sub(r"(?m)^  epochs: \d+$", "  epochs: 1000000", as_it_was))
    endless = cluster.learner("--ppo.epochs", "1000000")
    place.until(lambda: "updating" in endless.said(), "its first update", during=endless)
    told_at = time.monotonic()
    for _ in range(signals):
        endless.signal(signal.SIGTERM)
        time.sleep(0.5)
    place.ends(endless, code=0)
    if signals == 1:  # that a second one ends it at once is for test_end_signals.py: here other processes take time
        assert time.monotonic() - told_at > UPDATE_SECONDS
    assert f"update {done + 1} took too long to wait for" in endless.said()
    assert files.updates() == done
    assert files.checkpoints()[-1] == f"{done:08}"
    assert_closes(files.ledger())
    config.write_text(as_it_was)
    again = cluster.learner()
    place.until(lambda: files.updates() > done, "it trains again", during=again)
    assert resumed_after(again) == done
    finish(cluster, again, *actors)
    assert drops(files.ledger()).keys() <= {"shutdown", "stale"}


@pytest.mark.slow
def test_an_actor_whose_learner_is_gone_ends_when_told_to_and_says_what_it_could_not_deliver(cluster: Cluster) -> None:
    place, files = cluster.place, cluster.files
    learner, actor = cluster.learner(), cluster.actor("a")
    place.until(lambda: files.updates() >= 1, "the first update", during=learner)
    learner.signal(signal.SIGKILL)
    place.ends(learner, code=-signal.SIGKILL)
    actor.signal(signal.SIGTERM)
    place.ends(actor, code=0)
    last = actor.complained().splitlines()[-1]
    late = r"the time to deliver ended; \d+ steps in \d+ rollouts were not delivered"
    assert re.search(rf"a ends: (stopped, everything delivered|{late})$", last), last
    place.leaves_nothing()
