"""What an honest rollout cannot hold. Knows arrays and the spec; knows no sessions."""

from collections.abc import Sequence

import numpy as np

from protocol.errors import ProtocolError
from protocol.messages import Rollout
from protocol.rollout import Blob, Counts, Segment, unpack
from protocol.specs import Leaf, Spec


class NotFinite(ProtocolError):
    """An array of a rollout, which `array` names, holds NaN or infinity."""

    def __init__(self, array: str) -> None:
        super().__init__(f"{array} holds NaN or infinity")
        self.array = array


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
    arrays: Sequence[tuple[str, np.ndarray]] = [
        *segment.observations.items(),
        *segment.final_observations.items(),
        *segment.actions.items(),
        ("behaviour_log_prob", segment.behaviour_log_probs),
        ("reward", segment.rewards),
        ("episode_return", segment.episode_returns),
    ]
    for name, array in arrays:
        if array.size and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NotFinite(name)
    for leaf in spec.action:
        if leaf.kind == "discrete":
            # choices count from 0, whatever the space's start; what a reset was asked to do was never done
            _check_categories(leaf, segment.actions[leaf.name][segment.valid], first=0)
    for leaf in spec.observation:
        if leaf.kind == "discrete":
            seen, final = segment.observations[leaf.name], segment.final_observations[leaf.name]
            _check_categories(leaf, np.concatenate([seen.ravel(), final.ravel()]), first=leaf.start)
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


def _check_categories(leaf: Leaf, values: np.ndarray, *, first: int) -> None:
    if not ((first <= values) & (values < first + leaf.categories)).all():
        raise ProtocolError(f"{leaf.name} holds values outside its {leaf.categories} categories")
