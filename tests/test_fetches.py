"""Whole policies over new connections of one token: bounded for those that only fetch, at once for those that work."""

import hashlib
import itertools
from collections import Counter
from dataclasses import replace

import pytest
from conversations import hello
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import fast_first
from simulated_settings import SETTINGS
from simulation import Simulation, learner_of, running

from dppo.learner.session import policy_fetches as fetches
from dppo.learner.session.policy_fetches import (
    BYTES_PER_SECOND,
    LEAST_POLICIES,
    MAX_RECORDS,
    POLICIES_PER_ACTOR,
    RESTART_SECONDS,
    Fetches,
)
from dppo.learner.session.records import Action, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.shares import MOST_OLD_QUOTAS
from dppo.learner.session.slots import SlotTable
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Bye, Part, Policy, Tally
from dppo.protocol.snapshot import PART_BYTES

POLICY = bytes(8 * PART_BYTES)  # as large as one of 64 x 64 units and a few more


class Learner:
    """A session that collects, with one actor of another token in it."""

    def __init__(self) -> None:
        self.session = LearnerSession(replace(SETTINGS, batch_steps=10**6), Ledger(), SlotTable(1))
        self.now = 0.0
        self.numbers = itertools.count()
        self.names: dict[bytes, str] = {}
        self.lives: Counter[str] = Counter()  # a process that said BYE does not come back, its successor does
        self.sent_bytes = 0
        self.notes: list[str] = []
        self.join("first", token="other")
        self._count(self.session.publish(1, POLICY, self.now))
        self.sent_bytes = 0

    def join(self, name: str, *, token: str = "tester") -> tuple[bytes, bool]:
        """Return a new connection of the process of that name, and whether it got a policy at once."""
        peer = b"connection-%d" % next(self.numbers)
        self.names[peer] = name
        incarnation = hashlib.sha256(f"{name} {token} {self.lives[name]}".encode()).digest()[:8]
        message = hello(actor=name, incarnation=incarnation, run_id="")
        return peer, self._count(self.session.receive(PeerKey(peer), message, None, self.now, token))

    def leave(self, peer: bytes, how: str) -> None:
        """End that connection in that way."""
        if how == "bye":
            self.lives[self.names[peer]] += 1
            self._count(self.session.receive(PeerKey(peer), Bye("enough", Tally()), None, self.now))
        if how != "silence":  # until the lease is over
            self._count(self.session.unreachable(peer, self.now))

    def pass_time(self, seconds: float) -> bool:
        """Return whether a policy was sent meanwhile."""
        self.now += seconds
        return self._count(self.session.tick(self.now))

    def _count(self, actions: list[Action]) -> bool:
        self.notes += [action.text for action in actions if isinstance(action, Note)]
        sends = [action for action in actions if isinstance(action, Send)]
        self.sent_bytes += sum(len(send.blob) for send in sends if send.blob is not None)
        return any(isinstance(send.message, Policy | Part) for send in sends)


ways = st.sampled_from(["cut", "bye", "silence"])


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=12)
@given(how=ways, names=st.sampled_from([1, 5, 20]), pause=st.sampled_from([0.001, 0.01, 0.05]))
def test_a_token_that_only_fetches_gets_a_bounded_number_of_bytes(how: str, names: int, pause: float) -> None:
    learner = Learner()
    for turn in range(300):
        peer, _ = learner.join(f"fetcher-{turn % names}")
        learner.leave(peer, how)
        learner.pass_time(pause)
    live = names if how == "silence" else 1
    at_once = max(LEAST_POLICIES, POLICIES_PER_ACTOR * (live + 1))
    assert learner.sent_bytes >= LEAST_POLICIES * len(POLICY), "the test does not reach the bound"
    assert learner.sent_bytes <= at_once * len(POLICY) + BYTES_PER_SECOND * learner.now
    _, is_served = learner.join("honest", token="honest")
    assert is_served, "another token pays for it"


def test_what_waits_is_noted_once_and_served_when_the_debt_is_paid() -> None:
    learner = Learner()
    for _ in range(2 * LEAST_POLICIES):
        peer, is_served = learner.join("fetcher")
        if not is_served:
            break
        learner.leave(peer, "cut")
    assert not is_served
    for _ in range(10):
        assert not learner.pass_time(0.001)
    assert sum("over and over" in note for note in learner.notes) == 1
    assert any(learner.pass_time(0.1) for _ in range(10)), "it waits for ever"


@pytest.mark.parametrize(("how", "actors"), fast_first([("bye", 300), ("cut", 1000)], 1))
def test_many_actors_of_one_token_join_and_restart_twice_without_a_wait(how: str, actors: int) -> None:
    learner = Learner()
    for _ in range(POLICIES_PER_ACTOR):
        joined = [learner.join(f"actor-{number}") for number in range(actors)]
        assert all(is_served for _, is_served in joined)
        for peer, _ in joined:
            learner.leave(peer, how)


def test_actors_that_work_come_back_as_often_as_they_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetches, "BYTES_PER_SECOND", 0)
    monkeypatch.setattr(fetches, "LEAST_POLICIES", 3)
    monkeypatch.setattr(fetches, "POLICIES_PER_ACTOR", 0)
    monkeypatch.setattr(fetches, "POLICIES_PER_SECOND", 0)
    monkeypatch.setattr(fetches, "RESTART_SECONDS", float("inf"))
    with Simulation() as world:
        actors = running(world, "a", "b")
        for turn in range(40):
            before = world.updates
            for _ in range(400):
                if world.updates >= before + 3:
                    break
                for actor in actors:
                    world.step(actor, 4)
                world.exchange()
                world.pass_time(0.05)
                world.train()
            assert world.updates >= before + 3
            actor = actors[turn % 2]
            world.cut(actor, lose_up=True, noticed=True)
            world.tick_learner()
            world.attach(actor)
            world.acting = actor
            actor.driver.connected()
            world._flush(actor)
        assert not any("over and over" in note for note in world.notes)
        assert len(learner_of(world).peer_table.fetches) == 1


@pytest.mark.slow
def test_connections_that_ended_leave_nothing_but_a_bounded_record_of_each_token() -> None:
    learner = Learner()
    for number in range(MAX_RECORDS + 200):
        peer, _ = learner.join(f"a-{number}", token=f"token-{number}")
        learner.leave(peer, "cut")
    assert len(learner.session.peer_table.fetches) <= MAX_RECORDS
    for _ in range(2 * LEAST_POLICIES):
        peer, _ = learner.join("b", token="b")
        learner.leave(peer, "cut")
    assert len(learner.session.peer_table.fetches) <= MAX_RECORDS
    assert len(Fetches()) == 0


@pytest.mark.parametrize(
    ("actors", "life_seconds", "most_seconds"),
    [(20, 2.0, RESTART_SECONDS), (100, 2.0, RESTART_SECONDS), (30, 10.0, 0.5)],
)
def test_actors_that_crash_again_and_again_wait_for_seconds_and_so_do_others_of_their_token(
    monkeypatch: pytest.MonkeyPatch, actors: int, life_seconds: float, most_seconds: float
) -> None:
    """A policy so large that four MiB a second are nothing; a new actor of the same token comes every 5 s and stays."""
    monkeypatch.setattr(fetches, "BYTES_PER_SECOND", 0)
    learner = Learner()
    at = {f"crashing-{number}": number / actors for number in range(actors)}
    joined: dict[bytes, float] = {}
    waits: list[float] = []
    for turn in range(600):
        for name in [name for name, begin in at.items() if learner.now >= begin]:
            joined[learner.join(name)[0]] = learner.now
            del at[name]
        if turn % 50 == 0:
            joined[learner.join(f"new-{turn}")[0]] = learner.now
        learner.pass_time(0.1)
        for peer in list(joined):
            state = learner.session.peer_table.peers[PeerKey(peer)]
            state.heard = learner.now
            if state.sent_version and learner.now >= state.policy_sent_at + life_seconds:
                waits.append(state.policy_sent_at - joined[peer])
                if learner.names[peer].startswith("crashing"):
                    learner.leave(peer, "bye")
                    at[learner.names[peer]] = learner.now + 1
                del joined[peer]
    waits += [
        learner.now - since
        for peer, since in joined.items()
        if not learner.session.peer_table.peers[PeerKey(peer)].sent_version
    ]
    assert len(waits) > 10 * actors * 3 / RESTART_SECONDS
    assert max(waits) <= most_seconds + 0.2


@pytest.mark.slow
def test_quotas_of_thousands_of_processes_that_came_under_one_policy_are_not_kept() -> None:
    learner = Learner()
    for number in range(3 * MOST_OLD_QUOTAS):
        peer, is_served = learner.join(f"a-{number}", token=f"token-{number}")
        assert is_served
        learner.leave(peer, "bye")
        if number % 100 == 0:
            learner.session.peer_table.peers[PeerKey(b"connection-0")].heard = learner.now
            learner.pass_time(1.1)
    quotas = learner.session.cycle.quotas
    assert len(quotas) <= 2 * MOST_OLD_QUOTAS
    assert next(iter(quotas)) in learner.session.ledger.accounts, "the first actor's own"
