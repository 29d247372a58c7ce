"""How large a batch becomes under the default rule, through both sides: what was asked for, and what STOP brings."""

from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import ENVS, Simulation, learner_of, running

from dppo.learner.session.flow_control import CREDIT, SEGMENTS_PER_BATCH
from dppo.learner.session.phases import Phase

BATCH_STEPS = 256


def sizes(*, actors: int, steps_in_a_round: int, batches: int = 4) -> list[float]:
    """Return sizes of batches, in parts of batch_steps, with actors that are so fast against the learner's network."""
    sizes: list[float] = []
    with Simulation(batch_steps=BATCH_STEPS) as world:
        world.cuts_by_steps = True
        processes = running(world, *(f"actor-{number}" for number in range(actors)))
        for _ in range(1000):
            for process in processes:
                world.step(process, steps_in_a_round)
            world.exchange()
            world.pass_time(0.01)
            if learner_of(world).phase is Phase.UPDATING:
                sizes.append(sum(received.segment.steps for received in learner_of(world).batch) / BATCH_STEPS)
                world.train()
            if len(sizes) == batches:
                return sizes
    raise AssertionError(f"{len(sizes)} batches")


@settings(derandomize=True, deadline=None, max_examples=20)
@given(actors=st.integers(1, 4), steps_in_a_round=st.sampled_from([1, 4, 16, 64, 10**4]))
def test_a_batch_is_at_least_what_was_asked_for_and_at_most_credit_more(actors: int, steps_in_a_round: int) -> None:
    rounding = actors * (CREDIT + 1) * (ENVS + SEGMENTS_PER_BATCH) / BATCH_STEPS  # segments end with a row
    most = 1 + (CREDIT + 1) / SEGMENTS_PER_BATCH + rounding
    assert all(1 <= size <= most for size in sizes(actors=actors, steps_in_a_round=steps_in_a_round))


@settings(derandomize=True, deadline=None, max_examples=8)
@given(actors=st.integers(1, 4), steps_in_a_round=st.integers(1, 4))
def test_where_the_learner_keeps_up_a_batch_is_hardly_larger_than_asked_for(actors: int, steps_in_a_round: int) -> None:
    most = 1 + actors * ENVS * (steps_in_a_round + 1) / BATCH_STEPS + 0.02
    assert all(size <= most for size in sizes(actors=actors, steps_in_a_round=steps_in_a_round))
