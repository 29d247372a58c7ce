"""Steps are pending in the batch that they were collected for, and an update closes its own batch alone."""

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from shards import examples
from simulation import Simulation, learner_of, running

from dppo.learner.session.phases import Phase
from dppo.protocol.account import Account
from dppo.protocol.ledger import Ledger, imbalance

NAMES = (b"incarn-a", b"incarn-b", b"incarn-c")
names = st.sampled_from(NAMES)
batches = st.integers(1, 3)


def test_an_update_closes_its_own_batch_and_leaves_the_one_that_is_collected_meanwhile() -> None:
    account = Account("a")
    account.accept(1, 5, batch=1)
    account.accept(2, 7, batch=2)
    account.accept(3, 1, batch=1)
    account.train(1)
    assert (account.trained, account.pending, dict(account.waiting)) == (6, 7, {2: 7})
    account.train(1)
    assert (account.trained, account.pending) == (6, 7), "a batch that is closed is closed once"
    account.train(2)
    assert (account.trained, account.pending, account.in_flight) == (13, 0, 0)


def test_an_ended_actor_is_folded_only_when_the_last_batch_with_its_steps_is_closed() -> None:
    ledger = Ledger()
    account = ledger.open(NAMES[0], "a")
    account.accept(1, 5, batch=1)
    account.accept(2, 7, batch=2)
    ledger.close(NAMES[0], "actor_lost")
    ledger.train(1)
    assert NAMES[0] in ledger.accounts
    ledger.train(2)
    assert ledger.accounts == {}
    assert ledger.closed.trained == 12


@dataclass
class Counted:
    """Expected account of one incarnation: counted the slow way, rollout by rollout."""

    rollouts: list[tuple[int, int]] = field(default_factory=list)  # (batch, steps) of each that waits
    watermark: int = 0
    trained: int = 0
    dropped: int = 0


class Batches(RuleBasedStateMachine):
    """Rollouts into any of three batches, which close in any order, with actors that end and learners that restart."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.counted = {name: Counted() for name in NAMES}
        self.over: set[bytes] = set()

    @rule(name=names, batch=batches, steps=st.integers(0, 20))
    def accept(self, name: bytes, batch: int, steps: int) -> None:
        if name not in self.over:
            counted = self.counted[name]
            counted.watermark += 1
            self.ledger.open(name, "actor").accept(counted.watermark, steps, batch=batch)
            counted.rollouts.append((batch, steps))

    @rule(batch=batches)
    def train(self, batch: int) -> None:
        self.ledger.train(batch)
        for counted in self.counted.values():
            counted.trained += sum(steps for number, steps in counted.rollouts if number == batch)
            counted.rollouts = [waiting for waiting in counted.rollouts if waiting[0] != batch]

    @rule()
    def drop(self) -> None:
        self.ledger.drop_pending("invalid")
        self._all_dropped()

    @rule(name=names)
    def end(self, name: bytes) -> None:
        if name not in self.over:
            self.over.add(name)
            self.ledger.open(name, "actor")
            self.ledger.close(name, "actor_lost")

    @rule()
    def restart(self) -> None:
        """All that is pending is lost with a learner; the next one numbers its batches from 1 again."""
        self.ledger = Ledger.from_state(json.loads(json.dumps(self.ledger.to_state())))
        before = self.ledger.total()
        self.ledger.train(1)
        assert self.ledger.total().trained == before.trained, "not of this learner's batch"
        self.ledger.drop_pending("learner_crash")
        self._all_dropped()

    def _all_dropped(self) -> None:
        for counted in self.counted.values():
            counted.dropped += sum(steps for _, steps in counted.rollouts)
            counted.rollouts = []

    @invariant()
    def every_step_is_where_it_was_counted(self) -> None:
        for name, counted in self.counted.items():
            if (account := self.ledger.accounts.get(name)) is None:
                assert not counted.rollouts, "an account with pending steps is kept"
                continue
            waiting: Counter[int] = Counter()
            for batch, steps in counted.rollouts:
                waiting[batch] += steps
            assert account.waiting == waiting
            assert (account.trained, account.dropped.total()) == (counted.trained, counted.dropped)
            assert account.in_flight == 0
        total, all_counted = self.ledger.total(), self.counted.values()
        assert total.pending == sum(steps for counted in all_counted for _, steps in counted.rollouts)
        assert total.trained == sum(counted.trained for counted in all_counted)
        assert imbalance([self.ledger.closed, *self.ledger.accounts.values()]) == ""


TestBatches = Batches.TestCase
TestBatches.settings = settings(max_examples=40)


class ManyBatches(Batches):
    """The same, for longer."""


TestManyBatches = pytest.mark.slow(ManyBatches.TestCase)
TestManyBatches.settings = settings(max_examples=examples(200, 100))


@given(st.lists(st.tuples(batches, st.integers(1, 50)), max_size=20), st.permutations([1, 2, 3]))
def test_in_whatever_order_batches_close_all_is_trained_once(rollouts: list[tuple[int, int]], order: list[int]) -> None:
    ledger = Ledger()
    account = ledger.open(NAMES[0], "a")
    for seq, (batch, steps) in enumerate(rollouts, 1):
        account.accept(seq, steps, batch=batch)
    for batch in order:
        before = account.trained
        ledger.train(batch)
        assert account.trained - before == sum(steps for number, steps in rollouts if number == batch)
    assert (account.trained, account.pending) == (sum(steps for _, steps in rollouts), 0)


def test_a_session_books_every_batch_under_a_number_of_its_own_and_rollouts_carry_their_policy() -> None:
    with Simulation(batch_steps=12) as world:
        (actor,) = running(world, "a")
        numbers, versions = [], []
        for _ in range(3):
            for _ in range(20):
                world.step(actor, 2)
                world.exchange()
            learner = learner_of(world)
            assert learner.cycle.phase is Phase.UPDATING
            (account,) = learner.ledger.accounts.values()
            assert list(account.waiting) == [learner.cycle.batch.number]
            policies = {(received.term, received.version) for received in learner.cycle.batch.rollouts}
            assert policies == {learner.cycle.current}
            numbers.append(learner.cycle.batch.number)
            versions.append(learner.cycle.snapshot.version)
            world.train()
            world.exchange()
        assert len(set(numbers)) == len(set(versions)) == 3
