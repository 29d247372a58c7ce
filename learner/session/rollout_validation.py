"""Reject rollouts with impossible content (NaN, actions, flags). Knows arrays and the spec."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from dppo.protocol.errors import ProtocolError
from dppo.protocol.limits import LARGEST_NUMBER
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import Blob, Counts, Segment, unpack
from dppo.protocol.specs import Leaf, Spec

LARGEST_RETURN = 1e24
MOST_GUMBEL_GAP = 50.0  # between two numbers of noise: float64 has none below -4 or above 37
MOST_DEVIATIONS = 12.0  # of normal noise; float32 from 2^24 steps a second has not passed 9
STD_RANGE = (1e-6, 1e6)  # of a Gaussian policy that can still be trained
ROUNDING = 1e-3


class Unusable(ProtocolError):
    """An array of a rollout, which `array` names, holds numbers that nothing can be learned from.

    An environment, or a policy of ours that has diverged, can be the reason: no violation.
    """

    def __init__(self, array: str, what: str) -> None:
        super().__init__(f"{array} holds {what}")
        self.array = array
        self.what = what


def checked_segment(spec: Spec, header: Rollout, blob: Blob, *, envs: int, may_be_empty: bool = False) -> Segment:
    """The rollout's arrays. Raises ProtocolError where they are not what header, spec and actor promise.

    envs: how many environments the actor announced. may_be_empty: its rows may all be resets, where rows are counted.
    """
    if envs != header.E:
        raise ProtocolError(f"a rollout of {header.E} environments, not of the {envs} that the actor announced")
    segment = unpack(spec, Counts(header.T, header.E, header.finals, header.episodes), blob)
    check_segment(spec, segment)
    if segment.steps != header.steps or not (segment.steps or may_be_empty):
        raise ProtocolError(f"the header says {header.steps} steps, the blob holds {segment.steps}")
    return segment


def check_segment(spec: Spec, segment: Segment) -> None:
    """Refuse numbers that would poison the policy: not finite, impossible actions, log-probs, flags or columns."""
    arrays: Sequence[tuple[str, np.ndarray, float]] = [
        # what an environment observes may be of any size: moments are float64, and what the network sees is limited
        *((name, array, np.inf) for name, array in segment.observations.items()),
        *((name, array, np.inf) for name, array in segment.final_observations.items()),
        *((name, array, LARGEST_NUMBER) for name, array in segment.actions.items()),
        *((name, array, LARGEST_NUMBER) for name, array in segment.states.items()),
        ("behaviour_log_prob", segment.behaviour_log_probs, np.inf),
        ("reward", segment.rewards, LARGEST_NUMBER),
        ("episode_return", segment.episode_returns, LARGEST_RETURN),
    ]
    for name, array, largest in arrays:
        if array.size and array.dtype.kind == "f":
            _check_size(name, array, largest)
    _check_log_probs(spec, segment)
    for leaf in spec.action:
        # choices count from 0, whatever the space's start; what a reset was asked to do was never done
        if leaf.kind == "discrete":
            _check_categories(leaf, segment.actions[leaf.name][segment.valid], first=0)
        elif leaf.kind == "multi_discrete":
            chosen = segment.actions[leaf.name][segment.valid]
            if not ((chosen >= 0) & (chosen < np.reshape(leaf.choices, leaf.shape))).all():
                raise ProtocolError(f"{leaf.name} holds values outside its choices")
        elif leaf.kind == "multi_binary" and segment.actions[leaf.name].view(np.uint8).max(initial=0) > 1:
            raise ProtocolError(f"{leaf.name} holds something else than 0 and 1")
    if spec.mask:
        _check_masks(spec, segment)
    for leaf in spec.observation:
        for array in (segment.observations[leaf.name], segment.final_observations[leaf.name]):
            _check_choices(leaf, array)
    ended = segment.terminated | segment.truncated
    if ended.any() and ((segment.terminated & segment.truncated) | (ended & ~segment.valid)).any():
        raise ProtocolError("a step is both terminated and truncated, or a reset ends an episode")
    columns = segment.episode_columns
    if not columns.size:  # no episode ended: most rollouts of short segments
        return
    if not (columns.min() >= 0 and columns.max() < segment.rewards.shape[1]):
        raise ProtocolError("an episode's column is outside the environments")
    if segment.episode_lengths.min(initial=1) < 1:
        raise ProtocolError("an episode's length is less than one step")
    successes = segment.episode_successes
    if not ((successes == 0) | (successes == 1) | np.isnan(successes)).all():  # NaN: not reported
        raise ProtocolError("an episode's success is neither 0 nor 1")
    if np.isinf(segment.episode_metrics).any():  # NaN: not reported
        raise ProtocolError("a metric of an episode is infinite")


def _check_masks(spec: Spec, segment: Segment) -> None:
    """Refuse masks that allow nothing, and actions that their own masks forbid."""
    (mask,) = spec.mask
    if segment.masks[mask.name].view(np.uint8).max(initial=0) > 1:
        raise ProtocolError(f"{mask.name} holds something else than 0 and 1")
    legal = segment.masks[mask.name][segment.valid]  # a reset asks for no action
    first = 0
    for leaf in spec.action:
        if not leaf.choices:
            continue
        chosen = segment.actions[leaf.name][segment.valid].reshape(len(legal), -1).astype(np.int64)
        firsts = first + np.cumsum([0, *leaf.choices[:-1]])
        if not np.logical_or.reduceat(legal[:, : first + sum(leaf.choices)], firsts, axis=1).all():
            raise ProtocolError(f"{mask.name} allows no choice of {leaf.name}")
        if not np.take_along_axis(legal, firsts + chosen, 1).all():
            raise ProtocolError(f"{leaf.name} holds a choice that {mask.name} forbids")
        first += sum(leaf.choices)


def _check_size(name: str, array: np.ndarray, largest: float) -> None:
    least, most = float(array.min()), float(array.max())  # NaN where there is one
    if -largest <= least and most <= largest and -math.inf < least and most < math.inf:
        return
    if not (np.isfinite(least) and np.isfinite(most)):
        raise Unusable(name, "NaN or infinity")
    if least < -largest or most > largest:
        worst = most if most > largest else least
        raise Unusable(name, f"{worst:.3g}, which is beyond +-{largest:g}")


def _check_log_probs(spec: Spec, segment: Segment) -> None:
    """Refuse log-probs that no policy can have given to an action that it has sampled."""
    low, high = log_prob_bounds(spec)
    log_probs = segment.behaviour_log_probs
    if not (log_probs.min() >= low and log_probs.max() <= high):
        values = log_probs[segment.valid]  # what a reset was asked to do was never done
        if values.size and not (values.min() >= low and values.max() <= high):
            raise ProtocolError(
                f"behaviour_log_prob holds {values.min():.3g} to {values.max():.3g}; a sampled action has {low:.3g} to "
                f"{high:.3g}"
            )


@functools.lru_cache(maxsize=16)
def log_prob_bounds(spec: Spec) -> tuple[float, float]:
    """The least and the greatest log-prob that a sampled action can have, joint over all leaves.

    A choice of k wins where log p_a + g_a is the largest, with Gumbel noise g; the likeliest has log p >= -log k, so
    log p_a >= -log k - (g_b - g_a). A Gaussian's is -z^2 / 2 - log std - log(2 pi) / 2 for each dimension.
    """
    low = high = 0.0
    for leaf in spec.action:
        low -= sum(math.log(count) + MOST_GUMBEL_GAP for count in leaf.choices)
        if leaf.kind == "box":
            constant = 0.5 * math.log(2 * math.pi)
            low -= leaf.elements * (0.5 * MOST_DEVIATIONS**2 + math.log(STD_RANGE[1]) + constant)
            high -= leaf.elements * (math.log(STD_RANGE[0]) + constant)
    return low - ROUNDING, high + ROUNDING


def _check_choices(leaf: Leaf, values: np.ndarray) -> None:
    """Refuse observations [n, ...] outside of the leaf's choices; of flags, bytes that are neither 0 nor 1."""
    if leaf.kind == "discrete":
        _check_categories(leaf, values, first=leaf.start)
    elif leaf.kind == "multi_discrete":
        first, last = np.array([leaf.first_values, leaf.last_values], np.int64).reshape(2, *leaf.shape)
        if not ((first <= values) & (values <= last)).all():
            raise ProtocolError(f"{leaf.name} holds values outside its categories")
    elif leaf.dtype == "|b1" and values.view(np.uint8).max(initial=0) > 1:
        raise ProtocolError(f"{leaf.name} holds something else than 0 and 1")


def _check_categories(leaf: Leaf, values: np.ndarray, *, first: int) -> None:
    if not ((first <= values) & (values < first + leaf.categories)).all():
        raise ProtocolError(f"{leaf.name} holds values outside its {leaf.categories} categories")
