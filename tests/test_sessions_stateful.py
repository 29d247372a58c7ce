"""Every interleaving of faults that Hypothesis can think of, against the onlooker's books (tests/onlooker.py)."""

import os
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from shards import examples
from simulated_actor import ENVS, Connection, Process
from simulation import Simulation

from dppo.learner.session.phases import Phase
from dppo.protocol import snapshot

NAMES = ("a", "b", "c")
QUOTA = {"rule": "quota", "slots": len(NAMES) * ENVS}
SEVERAL: tuple[dict[str, Any], ...] = ({"learners": 2}, {"learners": 3, "late_learners": 1})
GOING_ON: tuple[dict[str, Any], ...] = ({"max_staleness": 1}, {"max_staleness": 3})
RULES: tuple[dict[str, Any], ...] = ({"rule": "even_shares"}, QUOTA, {"rule": "quorum"})
FILLS = ({}, {"stop_at_episode_end": True}, *RULES, *SEVERAL, *GOING_ON)
MAX_PROCESSES = 12  # of one example
EXAMPLES = 10
MANY_EXAMPLES = int(os.environ.get("DPPO_STATEFUL_EXAMPLES", examples(150, 60)))

some = st.integers(0, 11)  # which one, of those there are
few = st.integers(1, 6)


@pytest.fixture(autouse=True)
def policies_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every policy comes as several messages, between which anything may happen."""
    monkeypatch.setattr(snapshot, "PART_BYTES", 2)


class Faults(RuleBasedStateMachine):
    """Anything may happen at any time; afterwards all works again, and every step must be found."""

    world: Simulation

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    @initialize(
        batch_steps=st.sampled_from([1, 12, 40]),
        on_stop=st.sampled_from(["keep", "drop"]),
        actors=st.integers(1, 3),
        pace=st.integers(0, 4),
        calm=st.integers(0, 8),
        fills=st.sampled_from(FILLS),
        is_relayed=st.booleans(),
    )
    def begin(
        self,
        batch_steps: int,
        on_stop: str,
        actors: int,
        pace: int,
        calm: int,
        fills: dict[str, Any],
        is_relayed: bool,
    ) -> None:
        """is_relayed: all actors come by a relay, over one connection to the learner."""
        on_stop = "keep" if "max_staleness" in fills else on_stop  # drop is refused
        self.world = Simulation(is_relayed=is_relayed, batch_steps=batch_steps, on_stop=on_stop, **fills)
        self.pace = pace
        for name in NAMES[:actors]:
            self.world.start(name)
        self.world.calm(calm)

    def process(self, which: int) -> Process | None:
        living = self.world.living
        return living[which % len(living)] if living else None

    def busy(self, which: int, direction: str) -> Connection | None:
        connections = [c for c in self.world.connections.values() if getattr(c, direction)]
        return connections[which % len(connections)] if connections else None

    @property
    def is_collecting(self) -> bool:
        return self.world.learner is not None and self.world.learner.cycle.phase is Phase.COLLECTING

    # What goes on

    @rule(rounds=st.integers(1, 12), steps=few)
    def nothing_bad_happens(self, rounds: int, steps: int) -> None:
        self.world.calm(rounds, steps)

    @rule(which=some, steps=few)
    def an_actor_steps(self, which: int, steps: int) -> None:
        if process := self.process(which):
            self.world.step(process, steps)

    @rule(which=some)
    def an_actor_steps_until_it_must_wait(self, which: int) -> None:
        if process := self.process(which):
            self.world.step(process, 200)

    @rule(which=some)
    def an_actor_fills_the_batch_alone(self, which: int) -> None:
        """Have STOP on its way to the others while they are in the middle of something."""
        if process := self.process(which):
            for _ in range(40):
                self.world.step(process)
                if process.connection is None or not self.is_collecting:
                    break
                self.world.deliver_up(process.connection)
                self.world.deliver_down(process.connection, 2)

    @rule(which=some, messages=few)
    def messages_reach_the_learner(self, which: int, messages: int) -> None:
        if connection := self.busy(which, "up"):
            self.world.deliver_up(connection, messages)

    @rule(which=some, messages=few)
    def messages_reach_an_actor(self, which: int, messages: int) -> None:
        if connection := self.busy(which, "down"):
            self.world.deliver_down(connection, messages)

    @rule()
    def the_trainer_has_its_turn(self) -> None:
        self.world.train()

    @rule(seconds=st.sampled_from([0.02, 0.3, 1.1, 6.0, 21.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def only_the_learners_clock_is_looked_at(self) -> None:
        self.world.now += 1.5
        self.world.tick_learner()

    @rule()
    def the_other_learners_have_the_rest_of_the_batch(self) -> None:
        self.world.end_collecting()

    @rule()
    def the_learner_saves(self) -> None:
        if self.world.learner is not None:
            self.world.checkpoint()

    # What goes wrong

    @rule(which=some, lose_up=st.booleans(), noticed=st.booleans())
    def a_connection_breaks(self, which: int, lose_up: bool, noticed: bool) -> None:
        if process := self.process(which):
            self.world.cut(process, lose_up=lose_up, noticed=noticed)

    @rule(which=some)
    def zeromq_connects_again(self, which: int) -> None:
        if process := self.process(which):
            self.world.attach(process)

    @rule(which=some, lose_up=st.booleans(), steps=st.integers(0, 40))
    def a_connection_breaks_and_the_next_one_is_used_at_once(self, which: int, lose_up: bool, steps: int) -> None:
        """Have rollouts come again while the other actors are as far as they were."""
        if process := self.process(which):
            self.world.step(process, steps)
            self.world.cut(process, lose_up=lose_up, noticed=True)
            self.world.attach(process)
            if connection := process.connection:
                process.driver.connected()
                self.world.tick(process)
                for _ in range(3):  # HELLO, WELCOME, rollouts
                    self.world.deliver_up(connection)
                    self.world.deliver_down(connection)

    @rule(which=some, first=some, messages=few)
    def an_old_connection_repeats_itself(self, which: int, first: int, messages: int) -> None:
        old = [c for c in self.world.connections.values() if not c.open and c.delivered]
        if old:
            connection = old[which % len(old)]
            start = first % len(connection.delivered)
            for header, blob in connection.delivered[start : start + messages]:
                self.world.arrive(connection, header, blob)

    @rule(which=some)
    def something_unreadable_arrives(self, which: int) -> None:
        if (process := self.process(which)) and process.connection is not None:
            self.world.hand_to_learner(process.connection, b"\xc1", None)

    @rule(which=some)
    def a_rollout_is_damaged(self, which: int) -> None:
        if connection := self.busy(which, "up"):
            self.world.damage(connection)

    @precondition(lambda self: len(self.world.processes) < MAX_PROCESSES)
    @rule(name=st.sampled_from(NAMES))
    def a_process_starts(self, name: str) -> None:
        self.world.start(name)

    @rule(seconds=st.sampled_from([1.0, 4.0, 8.0]))
    def the_network_is_cut_for_everyone(self, seconds: float) -> None:
        for process in self.world.living:
            self.world.cut(process, lose_up=True, noticed=False)
        self.world.pass_time(seconds)
        for process in self.world.living:
            self.world.attach(process)

    @precondition(lambda self: self.world.is_relayed)
    @rule(is_killed=st.booleans(), lose_up=st.booleans())
    def the_relay_is_killed_or_cut_off(self, is_killed: bool, lose_up: bool) -> None:
        self.world.cut_relay(lose_up=lose_up) if is_killed else self.world.cut_uplink()

    @rule(which=some, lose_up=st.booleans(), noticed=st.booleans())
    def an_actor_is_killed(self, which: int, lose_up: bool, noticed: bool) -> None:
        if process := self.process(which):
            self.world.kill(process, lose_up=lose_up, noticed=noticed)

    @precondition(lambda self: len(self.world.processes) < MAX_PROCESSES)
    @rule(which=some, lose_up=st.booleans())
    def an_actor_is_killed_and_replaced(self, which: int, lose_up: bool) -> None:
        if process := self.process(which):
            self.world.kill(process, lose_up=lose_up)
            self.world.start(process.name)

    @rule(which=some)
    def an_actor_is_told_to_end(self, which: int) -> None:
        if process := self.process(which):
            self.world.terminate(process)

    @rule()
    def the_learner_is_killed(self) -> None:
        if self.world.learner is not None:
            self.world.crash_learner()

    @rule(seconds=st.sampled_from([0.0, 3.0, 70.0]))
    def the_learner_leaves_and_the_next_one_comes(self, seconds: float) -> None:
        if self.world.learner is not None:
            self.world.leave_learner()
            self.world.pass_time(seconds)
            self.world.start_learner()

    @rule(which=some)
    def the_learner_is_killed_and_starts_again_from_an_earlier_checkpoint(self, which: int) -> None:
        self.the_learner_is_killed()
        self.the_learner_starts_again_from_an_earlier_checkpoint(which)

    @rule(which=some)
    def the_learner_starts_again_from_an_earlier_checkpoint(self, which: int) -> None:
        if self.world.learner is None:
            self.world.start_learner(-1 - which % len(self.world.checkpoints))

    @rule(which=st.integers(0, 2000), records=st.sampled_from([1, 2, 5, 40]))
    def records_in_the_middle_of_the_journal_are_damaged(self, which: int, records: int) -> None:
        self.the_learner_is_killed()
        self.world.damage_journal(which, records)
        self.world.start_learner()

    @rule(torn_bytes=st.sampled_from([1, 170, 500, 100_000]))
    def the_machine_goes_down_and_the_end_of_the_journal_with_it(self, torn_bytes: int) -> None:
        self.the_learner_is_killed()
        self.world.start_learner(torn_bytes=torn_bytes)

    @invariant()
    def the_books_balance_and_life_goes_on(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.check()
        for _ in range(self.pace):
            self.world.pulse(1 + self.pace % 3)
            self.world.check()
        if self.pace and not self.world.living and len(self.world.processes) < MAX_PROCESSES:
            self.world.start(NAMES[0])

    def teardown(self) -> None:
        if not hasattr(self, "world") or self.closed:
            return
        self.closed = True
        try:
            if sys.exc_info()[0] is not None:
                return  # something is broken already
            self.world.heal(NAMES[: self.world.settings.slots // ENVS or 2])
            self.world.run_until_updates(3)
            self.world.check()
            self.world.end()
        finally:
            self.world.close()


def plan(count: int, *, derandomize: bool) -> settings:
    return settings(
        derandomize=derandomize,
        max_examples=count,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
    )


class ManyFaults(Faults):
    """The same, for longer."""


TestFaults = Faults.TestCase
TestFaults.settings = plan(EXAMPLES, derandomize=True)
TestManyFaults = pytest.mark.slow(pytest.mark.timeout(600)(ManyFaults.TestCase))
TestManyFaults.settings = plan(MANY_EXAMPLES, derandomize="DPPO_STATEFUL_EXAMPLES" not in os.environ)
