import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dppo.learner.ppo.batch import Grid, Received, lay_out
from dppo.learner.ppo.gae import gae
from dppo.learner.ppo.stitching import assemble
from dppo.protocol.rollout import Leaves, Segment


def episode_segment(seed: int, T: int, E: int) -> Segment:
    """A random segment whose observations are all different, with both kinds of ends and some resets."""
    rng = np.random.default_rng(seed)
    end = rng.integers(0, 5, (T, E))
    terminated, truncated, valid = end == 0, end == 1, np.ones((T, E), bool)
    for t in range(1, T):
        valid[t] = ~((terminated[t - 1] | truncated[t - 1]) & valid[t - 1])
        terminated[t] &= valid[t]
        truncated[t] &= valid[t]
    ends = int((terminated | truncated).sum())
    return Segment(
        observations={"observation": rng.normal(size=(T + 1, E, 2)).astype(np.float32)},
        actions={"action": rng.normal(size=(T, E, 1)).astype(np.float32)},
        masks={},
        states={},
        behaviour_log_probs=rng.normal(size=(T, E)).astype(np.float32),
        rewards=rng.normal(size=(T, E)).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations={"observation": rng.normal(size=(int(truncated.sum()), 2)).astype(np.float32)},
        episode_returns=rng.normal(size=ends).astype(np.float32),
        episode_lengths=np.ones(ends, np.int32),
        episode_columns=np.nonzero(terminated | truncated)[1].astype(np.int32),
        episode_successes=np.ones(ends, np.float32),
    )


def rows(segment: Segment, start: int, stop: int) -> Segment:
    """Time rows start..stop of a segment, as an actor that cut there would have sent them."""
    before, inside = int(segment.truncated[:start].sum()), int(segment.truncated[start:stop].sum())
    return _cut(
        segment,
        lambda array: array[start:stop],
        observations={name: array[start : stop + 1] for name, array in segment.observations.items()},
        finals={name: array[before : before + inside] for name, array in segment.final_observations.items()},
    )


def columns(segment: Segment, start: int, stop: int) -> Segment:
    """Environments start..stop of a segment, as an actor that steps only those would have sent them."""
    inside = np.isin(np.nonzero(segment.truncated)[1], range(start, stop))
    return _cut(
        segment,
        lambda array: array[:, start:stop],
        observations={name: array[:, start:stop] for name, array in segment.observations.items()},
        finals={name: array[inside] for name, array in segment.final_observations.items()},
    )


def _cut(segment: Segment, cut: Callable[[np.ndarray], np.ndarray], observations: Leaves, finals: Leaves) -> Segment:
    return replace(
        segment,
        observations=observations,
        final_observations=finals,
        actions={name: cut(array) for name, array in segment.actions.items()},
        behaviour_log_probs=cut(segment.behaviour_log_probs),
        rewards=cut(segment.rewards),
        terminated=cut(segment.terminated),
        truncated=cut(segment.truncated),
        valid=cut(segment.valid),
        episode_returns=segment.episode_returns[:0],
        episode_lengths=segment.episode_lengths[:0],
        episode_columns=segment.episode_columns[:0],
        episode_successes=segment.episode_successes[:0],
    )


def received(segment: Segment, seq: int = 0, first_slot: int = 0, actor: str = "a") -> Received:
    return Received(actor, actor.encode(), seq, first_slot, segment)


def laid_out(rollouts: list[Received]) -> Grid:
    return lay_out(rollouts)


def assert_equal_segments(one: Segment, other: Segment) -> None:
    for name in ("behaviour_log_probs", "rewards", "terminated", "truncated", "valid"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("observations", "actions", "final_observations"):
        for leaf, array in getattr(one, name).items():
            np.testing.assert_array_equal(array, getattr(other, name)[leaf])


def test_contiguous_rollouts_are_stitched_to_the_segment_that_they_were_cut_from() -> None:
    whole = episode_segment(0, T=12, E=3)
    parts = [received(rows(whole, *cut), seq=seq) for seq, cut in enumerate([(0, 1), (1, 7), (7, 12)], start=4)]
    for order in itertools.permutations(parts):
        assembled = assemble(order)
        assert len(assembled) == 1
        assert (assembled[0].actor, assembled[0].seq) == ("a", 4)
        assert_equal_segments(assembled[0].segment, whole)


def test_a_gap_in_the_numbers_or_in_the_observations_is_not_stitched() -> None:
    whole = episode_segment(0, T=12, E=3)
    first, second, third = (rows(whole, start, start + 4) for start in (0, 4, 8))
    assert len(assemble([received(first, 0), received(second, 2)])) == 2
    assert len(assemble([received(first, 0), received(third, 1)])) == 2
    assert len(assemble([received(first, 0), received(second, 1, actor="b")])) == 2
    assert len(assemble([received(first, 0), received(second, 1, first_slot=3)])) == 2


def test_a_rollout_that_came_twice_is_refused() -> None:
    segment = episode_segment(0, T=2, E=1)
    with pytest.raises(ValueError, match="twice"):
        assemble([received(segment, 3), received(segment, 3)])


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no rollouts"):
        laid_out([])


def everything(grid: Grid) -> list[np.ndarray]:
    """All arrays of the batch that a made-up critic and GAE give."""
    observations = grid.observations["observation"]
    values = observations.sum(axis=-1)
    spread, finals = grid.spread(values)
    flags = (grid.terminated, grid.truncated, grid.valid)
    advantages, returns = gae(grid.rewards, spread, finals, *flags, 0.9, 0.8)
    return [
        observations[grid.row_of_step],
        grid.actions["action"],
        grid.behaviour_log_probs,
        grid.flatten(advantages),
        grid.flatten(returns),
        grid.flatten(spread[:-1]),
    ]


def test_the_batch_is_bit_identical_for_any_division_of_slots_and_time_among_actors() -> None:
    whole = episode_segment(1, T=9, E=4)
    expected = everything(laid_out(assemble([received(whole)])))
    divided = [
        received(rows(columns(whole, first, last), *cut), seq, first, actor=f"actor {first}")
        for first, last in ((0, 1), (1, 3), (3, 4))
        for seq, cut in enumerate([(0, 4), (4, 9)])
    ]
    np.random.default_rng(0).shuffle(divided)
    for one, other in zip(everything(laid_out(assemble(divided))), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rollouts_of_different_lengths_give_what_each_gives_alone() -> None:
    shapes = [(3, 2), (8, 1), (5, 3)]
    rollouts = [received(episode_segment(i, T=T, E=E), actor=f"actor {i}") for i, (T, E) in enumerate(shapes)]
    together = everything(laid_out(rollouts))
    alone = [everything(laid_out([rollout])) for rollout in rollouts]
    for index, array in enumerate(together):
        np.testing.assert_array_equal(array, np.concatenate([arrays[index] for arrays in alone]))


def test_only_valid_rows_reach_the_batch_and_each_knows_its_actor() -> None:
    one, other = episode_segment(3, T=6, E=2), episode_segment(4, T=6, E=1)
    grid = laid_out(assemble([received(other, first_slot=2, actor="z"), received(one, actor="y")]))
    assert grid.steps == one.steps + other.steps == len(grid.actions["action"])
    assert [grid.actors[i] for i in grid.actor_of_step] == ["y"] * one.steps + ["z"] * other.steps
    expected = one.observations["observation"][:-1].swapaxes(0, 1)[one.valid.T]
    np.testing.assert_array_equal(grid.observations["observation"][grid.row_of_step][: one.steps], expected)


class CountedName(str):
    """A name that counts how often one is compared with another."""

    __hash__ = str.__hash__
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, str(other))


def test_actors_are_told_apart_without_comparing_each_with_all() -> None:
    actors, segment = 300, episode_segment(3, T=2, E=1)
    CountedName.compared = 0
    batch = [received(segment, first_slot=slot, actor=CountedName(f"actor-{slot}")) for slot in range(actors)]
    assert len(lay_out(batch).actors) == actors
    assert CountedName.compared < 10 * actors
