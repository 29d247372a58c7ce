import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from dppo.actor.sampling.noise import NoiseStream
from dppo.learner.models.distributions import Categorical, Gaussian
from dppo.learner.session.rollout_validation import Unusable, check_segment, checked_segment, log_prob_bounds
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import Segment, pack
from dppo.protocol.specs import Leaf, Spec

BOX = Spec((Leaf("observation", "<f4", (2,), "box"),), (Leaf("action", "<f4", (2,), "box"),))
CHOICE = Spec(
    (Leaf("observation", "<i8", (), "discrete", categories=5, start=-1),),
    (Leaf("action", "<i8", (), "discrete", categories=3, start=2),),
)
T, E = 4, 2


def segment(spec: Spec) -> Segment:
    """An honest one: column 0 is truncated at t=1 and resets at t=2, column 1 is terminated at t=3."""
    rng = np.random.default_rng(0)
    if spec is BOX:
        observations = rng.normal(size=(T + 1, E, 2)).astype(np.float32)
        finals = rng.normal(size=(1, 2)).astype(np.float32)
        actions = rng.normal(size=(T, E, 2)).astype(np.float32)
    else:
        observations = np.resize([-1, 0, 1, 2, 3], (T + 1, E)).astype(np.int64)
        finals = np.array([3], np.int64)
        actions = np.resize([0, 1, 2], (T, E))  # counted from 0, whatever the space's start.astype(np.int64)
    terminated, truncated, valid = np.zeros((T, E), bool), np.zeros((T, E), bool), np.ones((T, E), bool)
    truncated[1, 0], valid[2, 0], terminated[3, 1] = True, False, True
    return Segment(
        observations={"observation": observations},
        actions={"action": actions},
        masks={},
        states={},
        behaviour_log_probs=np.full((T, E), -1.0, np.float32),
        rewards=np.ones((T, E), np.float32),
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        final_observations={"observation": finals},
        episode_returns=np.array([2.0, 4.0], np.float32),
        episode_lengths=np.array([2, 4], np.int32),
        episode_columns=np.array([0, 1], np.int32),
        episode_successes=np.array([np.nan, 1.0], np.float32),
    )


def with_value(of: Segment, field: str, place: tuple[int, ...], value: Any) -> Segment:
    """A copy with one number changed."""
    array = getattr(of, field)
    if isinstance(array, dict):
        ((name, leaf),) = array.items()
        changed = leaf.copy()
        changed[place] = value
        return dataclasses.replace(of, **{field: {name: changed}})
    changed = array.copy()
    changed[place] = value
    return dataclasses.replace(of, **{field: changed})


@pytest.mark.parametrize("spec", [BOX, CHOICE])
def test_an_honest_segment_passes(spec: Spec) -> None:
    check_segment(spec, segment(spec))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("field", "place", "name"),
    [
        ("observations", (0, 0, 0), "observation"),
        ("observations", (T, 1, 1), "observation"),
        ("final_observations", (0, 1), "observation"),
        ("actions", (3, 1, 0), "action"),
        ("behaviour_log_probs", (0, 1), "behaviour_log_prob"),
        ("rewards", (3, 0), "reward"),
        ("episode_returns", (1,), "episode_return"),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name(
    field: str, place: tuple[int, ...], name: str, value: float
) -> None:
    with pytest.raises(ProtocolError, match=f"^{name} holds NaN or infinity"):
        check_segment(BOX, with_value(segment(BOX), field, place, value))


@pytest.mark.parametrize("value", [3, 4, -1, 2**62, -(2**63), 2**63 - 1])
def test_an_action_outside_its_categories_is_refused(value: int) -> None:
    with pytest.raises(ProtocolError, match="action holds values outside its 3 categories"):
        check_segment(CHOICE, with_value(segment(CHOICE), "actions", (0, 0), value))


@pytest.mark.parametrize("value", [-2, 4, -(2**63), 2**63 - 1])
@pytest.mark.parametrize(("field", "place"), [("observations", (T, 1)), ("final_observations", (0,))])
def test_an_observation_outside_its_categories_is_refused(field: str, place: tuple[int, ...], value: int) -> None:
    with pytest.raises(ProtocolError, match="observation holds values outside its 5 categories"):
        check_segment(CHOICE, with_value(segment(CHOICE), field, place, value))


def test_the_action_of_a_reset_may_be_anything() -> None:
    check_segment(CHOICE, with_value(segment(CHOICE), "actions", (2, 0), 77))


def test_a_step_that_is_both_terminated_and_truncated_is_refused() -> None:
    with pytest.raises(ProtocolError, match="both terminated and truncated"):
        check_segment(BOX, with_value(segment(BOX), "terminated", (1, 0), True))


@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_a_reset_that_ends_an_episode_is_refused(flag: str) -> None:
    with pytest.raises(ProtocolError, match="a reset ends an episode"):
        check_segment(BOX, with_value(segment(BOX), flag, (2, 0), True))


@pytest.mark.parametrize("column", [-1, E, 2**31 - 1])
def test_an_episode_outside_the_environments_is_refused(column: int) -> None:
    with pytest.raises(ProtocolError, match="column"):
        check_segment(BOX, with_value(segment(BOX), "episode_columns", (1,), column))


@pytest.mark.parametrize("length", [0, -1, -(2**31)])
def test_an_episode_without_steps_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match="length"):
        check_segment(BOX, with_value(segment(BOX), "episode_lengths", (0,), length))


@pytest.mark.parametrize("success", [0.5, -1.0, 2.0, np.inf])
def test_a_success_that_is_neither_yes_nor_no_nor_unknown_is_refused(success: float) -> None:
    with pytest.raises(ProtocolError, match="success"):
        check_segment(BOX, with_value(segment(BOX), "episode_successes", (1,), success))


def header(of: Segment, **changes: int) -> Rollout:
    counts = of.counts
    fields = {"seq": 1, "term": 1, "version": 1, "T": T, "E": E, "finals": counts.finals, "episodes": counts.episodes}
    return Rollout(**{**fields, "steps": of.steps, **changes})


def test_a_whole_rollout_passes_and_comes_out_as_it_went_in() -> None:
    honest = segment(BOX)
    arrived = checked_segment(BOX, header(honest), pack(BOX, honest), envs=E)
    assert np.array_equal(arrived.rewards, honest.rewards)
    assert arrived.steps == T * E - 1


@pytest.mark.parametrize(
    "changes",
    [{"E": 1}, {"E": 3}, {"T": T - 1}, {"T": T + 16}, {"finals": 0}, {"finals": 2}, {"steps": 8}, {"steps": 0}],
    ids=str,
)
def test_a_header_that_promises_something_else_than_the_blob_holds_is_refused(changes: dict[str, int]) -> None:
    honest = segment(BOX)
    with pytest.raises(ProtocolError):
        checked_segment(BOX, header(honest, **changes), pack(BOX, honest), envs=E)


def test_a_rollout_of_other_environments_than_announced_is_refused() -> None:
    honest = segment(BOX)
    with pytest.raises(ProtocolError, match="3 that the actor announced"):
        checked_segment(BOX, header(honest), pack(BOX, honest), envs=3)


def test_a_rollout_of_resets_only_is_refused() -> None:
    honest = segment(BOX)
    nothing = np.zeros((T, E), bool)
    empty = dataclasses.replace(
        honest,
        terminated=nothing,
        truncated=nothing,
        valid=nothing,
        final_observations={"observation": np.zeros((0, 2), np.float32)},
    )
    with pytest.raises(ProtocolError, match="0 steps"):
        checked_segment(BOX, header(empty), pack(BOX, empty), envs=E)


@pytest.mark.parametrize("success", [0.5, -1.0, 2.0, np.inf])
def test_a_success_is_0_or_1_or_not_reported(success: float) -> None:
    for honest in (0.0, 1.0, np.nan):
        check_segment(BOX, with_value(segment(BOX), "episode_successes", (1,), honest))
    with pytest.raises(ProtocolError, match="success is neither 0 nor 1"):
        check_segment(BOX, with_value(segment(BOX), "episode_successes", (1,), success))


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30, -1e19])
@pytest.mark.parametrize(
    ("field", "place", "name"),
    [
        ("actions", (3, 1, 0), "action"),
        ("rewards", (3, 0), "reward"),
    ],
)
def test_numbers_that_float32_cannot_square_are_refused_by_name_and_are_no_violation(
    field: str, place: tuple[int, ...], name: str, value: float
) -> None:
    with pytest.raises(Unusable, match=f"^{name} holds {value:.3g}".replace("+", r"\+")):
        check_segment(BOX, with_value(segment(BOX), field, place, value))


@pytest.mark.parametrize("value", [3e38, -3e38, 1e19])
def test_an_environment_may_observe_numbers_of_any_size(value: float) -> None:
    check_segment(BOX, with_value(segment(BOX), "observations", (0, 0, 0), value))
    check_segment(BOX, with_value(segment(BOX), "final_observations", (0, 1), value))


@pytest.mark.parametrize(
    ("spec", "value"), [(CHOICE, -100.0), (CHOICE, -1e30), (CHOICE, 0.01), (CHOICE, 1e30), (BOX, -1e30), (BOX, 1e3)]
)
def test_a_log_prob_that_no_sampled_action_can_have_is_a_violation(spec: Spec, value: float) -> None:
    with pytest.raises(ProtocolError, match="behaviour_log_prob holds") as caught:
        check_segment(spec, with_value(segment(spec), "behaviour_log_probs", (0, 1), value))
    assert not isinstance(caught.value, Unusable)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("categories", [2, 17, 1000])
def test_every_log_prob_of_an_honest_choice_is_within_the_bounds(categories: int, scale: float) -> None:
    stream = NoiseStream(1, first_slot=0, envs=50, life=0, kind="gumbel", size=categories)
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, scale, (50, categories)).astype(np.float32))
    distribution = Categorical(logits.log_softmax(-1))
    leaf = Leaf("action", "<i8", (), "discrete", categories=categories)
    low, high = log_prob_bounds(Spec((Leaf("observation", "<f4", (2,), "box"),), (leaf,)))
    for _ in range(100):
        log_probs = distribution.log_prob(distribution.sample(torch.from_numpy(stream.next())))
        assert low <= log_probs.min()
        assert log_probs.max() <= high


@pytest.mark.parametrize("log_std", [-9.0, 0.0, 9.0])
def test_every_log_prob_of_an_honest_gaussian_is_within_the_bounds(log_std: float) -> None:
    stream = NoiseStream(1, first_slot=0, envs=50, life=0, kind="normal", size=17)
    distribution = Gaussian(torch.zeros(50, 17), torch.full((17,), log_std))
    leaf = Leaf("action", "<f4", (17,), "box")
    low, high = log_prob_bounds(Spec((Leaf("observation", "<f4", (2,), "box"),), (leaf,)))
    for _ in range(100):
        log_probs = distribution.log_prob(distribution.sample(torch.from_numpy(stream.next())))
        assert low <= log_probs.min()
        assert log_probs.max() <= high
