"""The limiter against the honest session: pauses of either side, long updates, delays, lost connections, fast steps."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import examples
from simulated_actor import Connection, Process
from simulation import Simulation, learner_of, running

from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Send
from dppo.learner.transport.ingress_guard import ANSWERS
from dppo.protocol.errors import HostileError
from dppo.protocol.messages import Policy, Stop

ROUND_SECONDS = 0.1


class GuardedWorld(Simulation):
    """A world whose learner limits each connection as the ingress guard does."""

    def hand_to_learner(self, connection: Connection, header: bytes, blob: bytes | None) -> None:
        if self.learner is None:
            return
        peer_limits = self.learner.peer_table.peer_limits
        peer_limits.look(self.now)
        if peer_limits.is_dismissed(connection.key):
            return
        try:
            peer_limits.spend(self.learner.peer_table.paying(connection.key), self.now)
        except HostileError as error:
            self._do(self.learner.violation(connection.key, error, self.now))
            return
        super().hand_to_learner(connection, header, blob)

    def _do(self, actions: Sequence[Any]) -> None:
        for action in actions:
            if isinstance(action, Send) and isinstance(action.message, Policy) and self.learner is not None:
                self.learner.peer_table.peer_limits.give_back(action.peer, ANSWERS)
        super()._do(actions)


def live(world: Simulation, seconds: float, *, still: Sequence[Process] = (), learner_still: bool = False) -> None:
    """Let time pass. Whoever is not still does all that it can, as fast as it can."""
    rounds = min(60, max(1, round(seconds / ROUND_SECONDS)))
    for _ in range(rounds):
        world.now += seconds / rounds
        moving = [process for process in world.living if process not in still]
        for process in moving:
            world.attach(process)
            world.tick(process)
            world.step(process, 40)
        if not learner_still:
            world.tick_learner()
            for connection in list(world.connections.values()):
                world.deliver_up(connection)
        for process in moving:
            if process.connection is not None:
                world.deliver_down(process.connection)
            world.step(process, 40)


seconds = st.sampled_from([0.2, 1.0, 4.0, 12.0, 70.0, 700.0])
event = st.tuples(
    st.sampled_from(["train", "train", "actor stands still", "learner stands still", "cut", "cut and still", "fast"]),
    st.integers(0, 2),
    seconds,
)


any_life = given(
    events=st.lists(event, min_size=1, max_size=10),
    batch_steps=st.sampled_from([1, 12, 40]),
    even=st.booleans(),
    lease=st.sampled_from([5.0, 600.0]),
    relayed=st.booleans(),
)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=20)
@any_life
def test_an_honest_actor_is_never_sent_away_and_burns_few_steps(
    events: list[tuple[str, int, float]], batch_steps: int, even: bool, lease: float, relayed: bool
) -> None:
    is_never_sent_away(events, batch_steps, even=even, lease=lease, relayed=relayed)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=examples(100, 40))
@any_life
def test_an_honest_actor_is_never_sent_away_many_times(
    events: list[tuple[str, int, float]], batch_steps: int, even: bool, lease: float, relayed: bool
) -> None:
    is_never_sent_away(events, batch_steps, even=even, lease=lease, relayed=relayed)


def is_never_sent_away(
    events: list[tuple[str, int, float]], batch_steps: int, *, even: bool, lease: float, relayed: bool
) -> None:
    """relayed: all three come by a relay, which may carry three."""
    settings = {"batch_steps": batch_steps, "rule": "even_shares" if even else "minimum", "lease_seconds": lease}
    with GuardedWorld(is_relayed=relayed, actors_per_relay=3, **settings) as world:
        actors = running(world, "a", "b", "c")
        for what, which, duration in events:
            actor = actors[which]
            if what == "train":
                live(world, min(duration, 12.0))  # the update takes so long
                world.train()
            elif what == "actor stands still":
                live(world, duration, still=[actor])
            elif what == "learner stands still":
                live(world, duration, learner_still=True)
            elif what.startswith("cut"):
                world.cut(actor, lose_up=True, noticed=True)
                assert world.learner is not None
                live(world, duration, still=[actor] if "still" in what else [])
                if actor.connection is None:
                    world.attach(actor)
                    world.acting = actor
                    actor.driver.connected()
                    world._flush(actor)
            live(world, ROUND_SECONDS)
        live(world, 2.0)
        world.check()
        assert not world.kicked
        assert [process.exit for process in actors] == [None] * 3
        for burnt in stale_by_version(world).values():
            assert burnt <= CREDIT + 2


def stale_by_version(world: Simulation) -> Counter[tuple[bytes, int]]:
    """Rollouts that were cut under an older policy than the newest one sent on that connection, by both."""
    burnt: Counter[tuple[bytes, int]] = Counter()
    for process in world.processes.values():
        for numbers in process.shipped:
            if numbers and world.books.place.get(numbers[0]) == "stale":
                burnt[process.incarnation, world.sampled[numbers[0]][1]] += 1
    return burnt


def test_an_actor_that_comes_back_during_an_update_with_an_older_policy_is_stopped() -> None:
    with GuardedWorld() as world:
        lost, other = running(world, "a", "b")
        world.step(lost, 1)
        world.cut(lost, lose_up=True, noticed=True)
        world.tick_learner()
        learner = learner_of(world)
        for _ in range(3):  # the others go on, and an update begins
            live(world, 1.0, still=[lost])
            world.train()
        live(world, 1.0, still=[lost])
        assert learner.cycle.phase is Phase.UPDATING
        world.attach(lost)
        world.acting = lost
        lost.driver.connected()
        world._flush(lost)
        before = len(lost.shipped)
        for _ in range(200):
            live(world, 0.1)
        assert lost.connection is not None
        assert any(isinstance(send.message, Stop) for send in world.sent if send.peer == lost.connection.key)
        assert len(lost.shipped) - before <= CREDIT + 2
        assert not world.kicked
        world.train()
        live(world, 1.0)
        assert lost.session.policy == learner.cycle.current
        assert other.alive
