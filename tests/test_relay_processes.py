"""Actors behind `dppo relay`, as real processes: a run to its end, and each of the three killed in the middle."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from processes import SMALL, Dppo, Place, RunFiles, assert_closes, drops, kill

from scripts.ports import free_port

pytestmark = pytest.mark.timeout(300)  # a busy machine; no wait is longer than processes.DEADLINE_SECONDS

RUN = "run"
STEPS = 6_000


@dataclass(frozen=True)
class Cluster:
    """A learner on tcp with keys, relays, and actors behind them."""

    place: Place
    port: int

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.place.path / RUN)

    def learner(self, *arguments: str, steps: int = STEPS) -> Dppo:
        return self.place.start(
            *("learner", *SMALL, *self.place.gated, "--bind", f"tcp://127.0.0.1:{self.port}"),
            *("--run.directory", RUN, "--run.total-steps", str(steps), "--evaluation-episodes", "0", *arguments),
        )

    def endpoint(self, name: str) -> str:
        return f"ipc://{self.place.path}/{name}"

    def relay(self, name: str, *arguments: str) -> Dppo:
        join_file = str(self.files.path / "access" / "join")  # waited for
        return self.place.start(
            *("relay", "--join-file", join_file, "--bind", self.endpoint(name), "--name", name, *arguments)
        )

    def actor(self, name: str, relay: str) -> Dppo:
        return self.place.start("actor", "--learner", self.endpoint(relay), "--name", name)

    def at_work(self, during: Dppo, *names: str) -> None:
        self.place.until(
            lambda: all(self.files.trained_by_actor().get(name, 0) > 0 for name in names),
            f"{names} are at work",
            during=during,
        )

    def more_updates(self, updates: int, during: Dppo) -> None:
        goal = self.files.updates() + updates
        self.place.until(lambda: self.files.updates() >= goal, f"{updates} more updates", during=during)

    def finish(self, *commands: Dppo) -> None:
        """To the end of the run: every command ends by itself, and the books close."""
        self.place.gate.touch()
        for command in commands:
            self.place.ends(command, code=0)
        self.place.leaves_nothing()
        assert_closes(self.files.ledger())


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Place() as place:
        yield Cluster(place, free_port())


@pytest.mark.slow
def test_actors_behind_two_relays_and_one_beside_them_train_to_the_end(cluster: Cluster) -> None:
    relays = [cluster.relay("one"), cluster.relay("two")]
    actors = [cluster.actor("a", "one"), cluster.actor("b", "one"), cluster.actor("c", "two")]
    learner = cluster.learner("--collect.stop-grace-seconds", "30")  # whatever else the machine does, they say goodbye
    join_file = str(cluster.files.path / "access" / "join")
    own = cluster.place.start("actor", "--join-file", join_file, "--name", "own")
    cluster.at_work(learner, "a", "b", "c", "own")
    cluster.finish(learner, *relays, *actors, own)
    ledger = cluster.files.ledger()
    assert ledger["closed_incarnations"] == 4, (ledger["accounts"], learner.said()[-2000:])
    assert ledger["total"]["sealed"] == cluster.place.counted_steps()
    assert drops(ledger).keys() <= {"shutdown"}
    metrics = cluster.files.metrics()
    assert max(line["first_pass_ratio_error"] for line in metrics) < 1e-4
    assert "relay one joined" in learner.said()


@pytest.mark.slow
def test_a_relay_that_is_killed_and_started_again_loses_nothing(cluster: Cluster) -> None:
    learner, relay = cluster.learner(), cluster.relay("one")
    actors = [cluster.actor("a", "one"), cluster.actor("b", "one")]
    cluster.at_work(learner, "a", "b")
    for _ in range(2):
        relay.signal(signal.SIGKILL)
        cluster.place.ends(relay, code=-signal.SIGKILL)
        relay = cluster.relay("one")
        cluster.more_updates(3, learner)
    assert all(actor.process.poll() is None for actor in actors)
    cluster.finish(learner, relay, *actors)
    ledger = cluster.files.ledger()
    assert ledger["closed_incarnations"] == 2  # the same two processes from the beginning to the end
    assert ledger["total"]["sealed"] == cluster.place.counted_steps()
    assert drops(ledger).keys() <= {"stale", "shutdown"}


@pytest.mark.slow
def test_a_learner_that_is_killed_behind_a_relay_is_found_again(cluster: Cluster) -> None:
    learner, relay = cluster.learner(), cluster.relay("one")
    actors = [cluster.actor("a", "one"), cluster.actor("b", "one")]
    cluster.at_work(learner, "a", "b")
    learner.signal(signal.SIGKILL)
    cluster.place.ends(learner, code=-signal.SIGKILL)
    again = cluster.learner()
    cluster.more_updates(3, again)
    assert relay.process.poll() is None
    cluster.finish(again, relay, *actors)
    assert cluster.files.ledger()["total"]["sealed"] == cluster.place.counted_steps()


@pytest.mark.slow
def test_an_actor_that_is_killed_behind_a_relay_is_gone_alone(cluster: Cluster) -> None:
    learner, relay = cluster.learner(), cluster.relay("one")
    dies, stays = cluster.actor("dies", "one"), cluster.actor("stays", "one")
    cluster.at_work(learner, "dies", "stays")
    kill(dies.pid)
    cluster.place.until(lambda: "dies is gone" in learner.said(), "the learner notices", during=learner)
    again = cluster.actor("dies", "one")
    cluster.more_updates(3, learner)
    cluster.finish(learner, relay, stays, again)
    assert cluster.files.ledger()["closed_incarnations"] == 3


@pytest.mark.slow
def test_actors_on_other_hosts_join_a_relay_by_its_own_line(cluster: Cluster) -> None:
    learner = cluster.learner()
    port = free_port()
    line = cluster.place.path / "relay-line"
    relay = cluster.place.start(
        *("relay", "--join-file", str(cluster.files.path / "access" / "join"), "--name", "one"),
        *("--bind", f"tcp://127.0.0.1:{port}", "--write-join-file", str(line)),
    )
    actor = cluster.place.start("actor", "--join-file", str(line), "--name", "a")
    cluster.at_work(learner, "a")
    chained = cluster.place.start("relay", "--join-file", str(line), "--bind", cluster.endpoint("two"))
    cluster.place.ends(chained, code=3)
    assert "this is another relay" in chained.complained().splitlines()[-1]
    cluster.place.ends(cluster.place.start("token", "revoke", "relay", "default"), code=0)
    cluster.place.ends(actor, code=3)
    assert "token" in actor.complained().splitlines()[-1]
    for command in (relay, learner):
        assert command.process.poll() is None
        command.signal(signal.SIGTERM)
        cluster.place.ends(command, code=0)


@pytest.mark.slow
def test_a_second_relay_on_one_socket_is_refused_in_one_line(cluster: Cluster) -> None:
    first = cluster.relay("one")
    cluster.place.until(lambda: "listening" in first.complained(), "the first listens", during=first)
    second = cluster.relay("one")
    cluster.place.ends(second, code=2)
    (line,) = second.complained().splitlines()
    assert "another relay listens on" in line
    first.signal(signal.SIGTERM)
    cluster.place.ends(first, code=0)
