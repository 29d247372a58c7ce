"""Rollouts always fit into a message, a batch into the budget, and settings that cannot work are refused with a value
that does.
"""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from conversations import deliver, hear
from hypothesis import given
from hypothesis import strategies as st
from simulated_actor import SPEC
from simulated_settings import RUN_ID, SETTINGS
from simulation import Simulation, learner_of, running

from dppo.actor.session.actions import Exit
from dppo.actor.session.outbox import Outbox, TooLargeError
from dppo.learner.batch_memory import too_large
from dppo.learner.config import CollectConfig
from dppo.learner.session.flow_control import (
    ENCRYPTION_BYTES,
    LEAST_TOTAL_BYTES,
    check_sizes,
    largest_rollout_bytes,
    most_segment_steps,
)
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import PeerKey
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.errors import UsageError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import EnvSettings, Hello, Policy, Reject, Tally
from dppo.protocol.rollout import Counts, blob_bytes, most_rows
from dppo.protocol.specs import Leaf, Spec, spec_hash

ACTION = (Leaf("action", "<f4", (6,), "box"),)
FRAMES = Spec((Leaf("observation", "|u1", (210, 160, 3), "box"),), ACTION)  # raw Atari
RECTANGLES = Spec((Leaf("observation", "|u1", (84, 84, 4), "box"),), ACTION)
NUMBERS = Spec((Leaf("observation", "<f4", (348,), "box"),), ACTION)
MEBIBYTE = 2**20


def asked_for(spec: Spec, batch: int, envs: int, actors: int = 1, **settings: Any) -> list[int]:
    """T that each actor is told, by a learner of these settings."""
    chosen = replace(SETTINGS, env=EnvSettings("x"), envs_per_actor=envs, batch_steps=batch, **settings)
    learner = LearnerSession(chosen, Ledger(), SlotTable(1))
    for number in range(actors):
        name, incarnation = f"a{number}", b"1234567%d" % number
        protocol, digest = PROTOCOL_VERSION, spec_hash(spec)
        hello = Hello(protocol, protocol, "r", name, incarnation, envs, Tally(), spec_hash=digest, spec=spec)
        learner.receive(PeerKey(b"p%d" % number), hello, None, 0.0)
    sent = [action.message for action in learner.publish(1, b"g", 0.0) if hasattr(action, "message")]
    return [message.segment_steps for message in sent if isinstance(message, Policy)]


@pytest.mark.parametrize(
    ("spec", "batch", "envs", "actors"),
    [
        (RECTANGLES, 16_384, 8, 1),
        (RECTANGLES, 65_536, 8, 4),
        (NUMBERS, 262_144, 16, 1),
        (FRAMES, 8192, 8, 2),
        (FRAMES, 2**30, 64, 1),
    ],
)
def test_segments_are_as_long_as_fits_into_a_message(spec: Spec, batch: int, envs: int, actors: int) -> None:
    for T in asked_for(spec, batch, envs, actors):
        assert 0 < largest_rollout_bytes(spec, segment_steps=T, envs=envs) <= 64 * MEBIBYTE
        assert largest_rollout_bytes(spec, segment_steps=T + 1, envs=envs) > 64 * MEBIBYTE - ENCRYPTION_BYTES


def test_segments_that_fit_anyway_have_a_quarter_of_the_share() -> None:
    assert asked_for(SPEC, 2048, 8, 2) == [32, 32]
    assert asked_for(SPEC, 2048, 8, 2, segment_steps=5) == [5, 5]
    assert asked_for(SPEC, 64, 8, 2, segment_steps=8) == [4, 4], "more than the share would make larger batches"


@given(
    numbers=st.integers(0, 100_000),
    dtype=st.sampled_from(["|u1", "<f4", "<f8"]),
    envs=st.integers(1, 65_536),
    limit=st.integers(1024, 2**30),
)
def test_the_largest_segment_that_fits_does_and_one_row_more_does_not(
    numbers: int, dtype: str, envs: int, limit: int
) -> None:
    spec = Spec((Leaf("observation", dtype, (numbers,), "box"),), ACTION)
    T = most_segment_steps(spec, envs=envs, max_rollout_bytes=limit)
    if T:
        assert largest_rollout_bytes(spec, segment_steps=T, envs=envs) + ENCRYPTION_BYTES <= limit
        for finals in (0, T * envs):  # whatever is in it: rows without resets, and with as many as there can be
            assert blob_bytes(spec, Counts(T, envs, finals, finals)) + ENCRYPTION_BYTES <= limit
            assert blob_bytes(spec, Counts(most_rows(T), envs, finals, finals)) + ENCRYPTION_BYTES <= limit
    if most_rows(T + 1) * envs < 2**19:
        assert largest_rollout_bytes(spec, segment_steps=T + 1, envs=envs) + ENCRYPTION_BYTES > limit


def sizes(**changes: Any) -> dict[str, Any]:
    plain = {"batch_steps": 8192, "segment_steps": 0, "envs": 8}
    return {**plain, "max_rollout_bytes": 64 * MEBIBYTE, "max_ingress_bytes": 0, **changes}


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (FRAMES, {"max_rollout_bytes": 10**6}, ["collect.max_rollout_bytes=1000000", "envs_per_actor", "raise it to"]),
        (FRAMES, {"segment_steps": 1000}, ["collect.segment_steps=1000", "max_rollout_bytes", "lower"]),
        (FRAMES, {"max_ingress_bytes": 10**8}, ["collect.max_ingress_bytes=100000000", "batch_steps=8192"]),
        (SPEC, {"max_ingress_bytes": 40_000, "batch_steps": 60_000, "segment_steps": 1, "envs": 1}, ["max_ingress"]),
    ],
)
def test_what_cannot_work_is_refused_as_soon_as_the_spaces_are_known(
    spec: Spec, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UsageError) as refused:
        check_sizes(spec, **sizes(**changes))
    assert all(word in str(refused.value) for word in words), refused.value
    assert "\n" not in str(refused.value)


def test_the_values_that_a_refusal_names_work() -> None:
    for changes, setting, pattern in [
        ({"segment_steps": 1000}, "segment_steps", r"lower segment_steps to (\d+)"),
        ({"segment_steps": 1000}, "max_rollout_bytes", r"raise max_rollout_bytes to (\d+)"),
        ({"max_rollout_bytes": 10**6}, "max_rollout_bytes", r"raise it to (\d+)"),
        ({"max_ingress_bytes": 10**8}, "max_ingress_bytes", r"Raise it to (\d+)"),
    ]:
        with pytest.raises(UsageError, match=pattern) as refused:
            check_sizes(FRAMES, **sizes(**changes))
        found = re.search(pattern, str(refused.value))
        assert found is not None
        check_sizes(FRAMES, **sizes(**{**changes, setting: int(found[1])}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment_steps": 100_000, "batch_steps": 512, "envs_per_actor": 4}, ["segment_steps=100000", "128 or less"]),
        ({"max_ingress_bytes": 10_000}, ["max_ingress_bytes=10000", "at least"]),
        ({"lease_seconds": 1.0}, ["lease_seconds=1 ", "from 1.5"]),
        ({"lease_seconds": math.inf}, ["lease_seconds=inf"]),
        ({"stop_grace_seconds": 0.001}, ["stop_grace_seconds=0.001", "from 0.1", "dropped"]),
        ({"stop_grace_seconds": math.nan}, ["stop_grace_seconds=nan"]),
        ({"envs_per_actor": 100_000}, ["envs_per_actor=100000", "65536"]),
        ({"max_rollout_bytes": 1000}, ["max_rollout_bytes=1000", "1024"]),
        ({"batch_steps": 2**60}, ["batch_steps"]),
    ],
)
def test_combinations_that_no_run_can_work_with_are_refused_at_the_start(
    changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UsageError) as refused:
        CollectConfig(**changes)
    assert all(word in str(refused.value) for word in words), refused.value


def test_an_actor_of_too_many_environments_is_refused_and_the_others_go_on() -> None:
    spec = Spec((*SPEC.observation, Leaf("padding", "|u1", (10_000,), "box")), SPEC.action)
    with Simulation(max_rollout_bytes=300_000) as world:
        world.spec = spec
        running(world, "a")
        hello = Hello(
            PROTOCOL_VERSION,
            PROTOCOL_VERSION,
            RUN_ID,
            "big",
            b"87654321",
            64,
            Tally(),
            spec_hash=spec_hash(spec),
            spec=spec,
        )
        actions = learner_of(world).receive(PeerKey(b"big"), hello, None, world.now)
        (reject,) = [a.message for a in actions if hasattr(a, "message") and isinstance(a.message, Reject)]
        assert reject.fatal
        assert "collect.max_rollout_bytes=300000" in reject.text
        world.run_until_updates(2)


def test_what_can_never_be_delivered_ends_the_actor_with_a_word_to_the_learner() -> None:
    with Simulation() as world:
        (actor,) = running(world, "a")
        actor.session.sealed.most_bytes = 50
        world.step(actor, 1000)
        assert actor.exit == Exit(1, actor.exit.reason if actor.exit else "")
        assert "collect.max_rollout_bytes" in actor.exit.reason
        world.exchange()
        assert any("a left: a rollout of" in note for note in world.notes)
        assert learner_of(world).ledger.total().in_flight == 0


def test_an_outbox_keeps_nothing_that_is_too_large() -> None:
    outbox = Outbox()
    outbox.most_bytes = 10
    with Simulation() as world:
        (actor,) = running(world, "a")
        assert actor.driver._collector is not None
        actor.driver._collector.step()
        segment = actor.driver._collector.cut()
        assert segment is not None
        with pytest.raises(TooLargeError, match=r"segment_steps"):
            outbox.seal(segment, spec=SPEC, term=1, version=1)
    assert len(outbox) == 0
    assert outbox.tally.sealed_steps == segment.steps, "no step is lost in silence"


@pytest.mark.parametrize(
    ("batch", "segment_steps", "limit"), [(40_000, 1, 0), (2048, 32, 20_000), (16_384, 32, 400_000)]
)
def test_a_batch_is_full_when_its_bytes_are_all_that_may_wait(batch: int, segment_steps: int, limit: int) -> None:
    with Simulation(batch_steps=batch, segment_steps=segment_steps, max_ingress_bytes=limit, envs_per_actor=1) as world:
        (actor,) = running(world, "a")
        learner = learner_of(world)
        if not limit:
            assert learner.budget.total_bytes() >= 2 * batch * 8192 > LEAST_TOTAL_BYTES, (
                "twice what an ordinary batch takes"
            )
            return
        for _ in range(3):
            goal = world.updates + 1
            for _ in range(2000):
                world.step(actor, 32)
                world.exchange()
                if learner.cycle.phase is Phase.UPDATING:
                    break
            world.train()
            world.exchange()
            assert world.updates == goal
        assert sum("collect.max_ingress_bytes" in note for note in world.notes) == 1, world.notes


def test_credit_returns_after_a_peer_that_filled_the_budget_has_left() -> None:
    with Simulation(max_ingress_bytes=60_000, batch_steps=10_000, segment_steps=4) as world:
        glutton, honest = running(world, "glutton", "honest")
        for _ in range(20):
            world.step(glutton, 500)
            deliver(world, glutton)
            hear(world, glutton)
        world.kill(glutton)
        before = world.updates
        for _ in range(200):
            world.calm()
        assert world.updates > before + 1
        assert honest.alive


def test_a_batch_beyond_the_machines_memory_is_said() -> None:
    line = too_large(FRAMES, batch_steps=10**6, normalises=True, there_is=8 * 2**30)
    assert "collect.batch_steps=1000000" in line
    assert "GiB" in line
    assert too_large(SPEC, batch_steps=2048, normalises=True, there_is=8 * 2**30) == ""
