"""Sizes of batches under the default rule, through both sides: what was asked for, and what STOP brings."""

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_actor import ENVS
from simulation import Simulation, learner_of, running

from dppo.learner.session.flow_control import CREDIT, SEGMENTS_PER_BATCH, segment_steps_of
from dppo.learner.session.phases import Phase
from dppo.protocol.rollout import most_steps

BATCH_STEPS = 1024
UNTIL_IT_MUST_WAIT = 10**4  # rows: more than credit
ROWS_PER_STEP = 1.12  # of simulated environments, which need rows to reset themselves


def sizes(rows: Callable[[int, int], int], *, actors: int, batches: int = 4) -> list[float]:
    """Return sizes of batches, in parts of batch_steps.

    rows: that an actor of that number makes, at most, between two messages with the learner, by rounds of a batch.
    """
    sizes: list[float] = []
    with Simulation(batch_steps=BATCH_STEPS) as world:
        world.cuts_by_steps = True
        processes = running(world, *(f"actor-{number}" for number in range(actors)))
        turn = 0
        for _ in range(4000):
            for number, process in enumerate(processes):
                world.step(process, rows(turn, number))
            world.exchange()
            world.pass_time(0.01)
            turn += 1
            if learner_of(world).cycle.phase is Phase.UPDATING:
                sizes.append(
                    sum(received.segment.steps for received in learner_of(world).cycle.batch.rollouts) / BATCH_STEPS
                )
                world.train()
                world.exchange()
                turn = 0
            if len(sizes) == batches:
                return sizes
    raise AssertionError(f"{len(sizes)} batches")


def segment_steps(actors: int) -> int:
    """Return T of so many actors."""
    return segment_steps_of(-(-BATCH_STEPS // (actors * ENVS)))


def most(actors: int) -> float:
    """Return the most of a batch, 3.25 less one segment: it is not full, and then come all of credit and a cut."""
    segments = actors * SEGMENTS_PER_BATCH - 1 + actors * (CREDIT + 1)
    return segments * most_steps(segment_steps(actors), ENVS) / BATCH_STEPS


@settings(derandomize=True, deadline=None, max_examples=10)
@given(
    actors=st.integers(1, 4),
    schedule=st.lists(st.sampled_from([1, 4, 16, 64, 256, UNTIL_IT_MUST_WAIT]), min_size=1, max_size=7),
)
def test_a_batch_is_at_least_what_was_asked_for_and_at_most_credit_more(actors: int, schedule: list[int]) -> None:
    rows = itertools.cycle(schedule)
    assert all(1 <= size <= most(actors) for size in sizes(lambda _turn, _number: next(rows), actors=actors))


@pytest.mark.parametrize("actors", [1, 2, 3, 4])
def test_the_largest_batch_is_reached_where_stop_comes_late(actors: int) -> None:
    """All but one segment of a batch are acknowledged, and every actor uses up its credit before STOP reaches it."""

    def rows(turn: int, number: int) -> int:
        segments = SEGMENTS_PER_BATCH - (number == 0)
        return math.ceil(segments * segment_steps(actors) * ROWS_PER_STEP) if turn == 0 else UNTIL_IT_MUST_WAIT

    assert 1 + (CREDIT + 1) / SEGMENTS_PER_BATCH == 3.25, "as the documents say"
    for size in sizes(rows, actors=actors):
        assert 0.98 * most(actors) <= size <= most(actors)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=8)
@given(actors=st.integers(1, 4), steps_in_a_round=st.integers(1, 4))
def test_where_the_learner_keeps_up_a_batch_is_hardly_larger_than_asked_for(actors: int, steps_in_a_round: int) -> None:
    bound = 1 + actors * ENVS * (steps_in_a_round + 1) / BATCH_STEPS + 0.02
    assert all(size <= bound for size in sizes(lambda _turn, _number: steps_in_a_round, actors=actors))
