"""Successive rollouts of an actor as one, so that traces and sequences do not end where messages do. Knows numpy."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.frames import goes_on
from dppo.protocol.recurrent_state import STATE
from dppo.protocol.rollout import Leaves, Segment


def assemble(rollouts: Sequence[Received]) -> list[Received]:
    """Sort by (first slot, incarnation, seq) and stitch what is contiguous, so that GAE sees whole traces."""
    ordered = sorted(rollouts, key=lambda rollout: (rollout.first_slot, rollout.incarnation, rollout.seq))
    runs: list[list[Received]] = []
    for rollout in ordered:
        if runs and _continues(runs[-1][-1], rollout):
            runs[-1].append(rollout)
        else:
            runs.append([rollout])
    return [_joined(run) for run in runs]


def _continues(earlier: Received, later: Received) -> bool:
    """Whether `later` goes on where `earlier` stopped.

    Successive numbers alone do not say so: an actor that drops a segment at STOP numbers the next one on.
    """
    if (later.incarnation, later.first_slot) != (earlier.incarnation, earlier.first_slot):
        return False
    if later.seq == earlier.seq:
        raise ValueError(f"rollout {later.seq} of {later.actor} is in the batch twice: no step may be trained twice")
    ends, starts = earlier.segment.observations, later.segment.observations
    if later.seq != earlier.seq + 1 or not all(np.array_equal(ends[name][-1], starts[name][0]) for name in ends):
        return False
    return goes_on(earlier.segment, later.segment)


def _joined(run: Sequence[Received]) -> Received:
    """Return one rollout of successive ones of an incarnation.

    A memory's state that another policy made is none that this one would have: it is taken as it came.
    """
    if len(run) == 1:
        return run[0]
    parts = tuple((rollout.segment.counts.T, rollout.version) for rollout in run)
    restarts, row = [], 0
    for earlier, later in pairwise(run):
        row += earlier.segment.counts.T
        if STATE in later.segment.states and (later.term, later.version) != (earlier.term, earlier.version):
            restarts.append((row, later.segment.states[STATE]))
    return replace(run[0], segment=_stitch([rollout.segment for rollout in run]), parts=parts, restarts=tuple(restarts))


def _stitch(segments: Sequence[Segment]) -> Segment:
    """One segment of all rows. Final observations stay in row-major order, because time is the major axis."""

    def joined(of: Callable[[Segment], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(segment) for segment in segments])

    def joined_leaves(of: Callable[[Segment], Leaves]) -> Leaves:
        return {name: np.concatenate([of(segment)[name] for segment in segments]) for name in of(segments[0])}

    last = {name: array[-1:] for name, array in segments[-1].observations.items()}
    without_last = {name: [s.observations[name][:-1] for s in segments] for name in last}
    return Segment(
        observations={name: np.concatenate([*without_last[name], last[name]]) for name in last},
        actions=joined_leaves(lambda s: s.actions),
        masks=joined_leaves(lambda s: s.masks),
        states=segments[0].states,
        behaviour_log_probs=joined(lambda s: s.behaviour_log_probs),
        rewards=joined(lambda s: s.rewards),
        terminated=joined(lambda s: s.terminated),
        truncated=joined(lambda s: s.truncated),
        valid=joined(lambda s: s.valid),
        final_observations=joined_leaves(lambda s: s.final_observations),
        episode_returns=joined(lambda s: s.episode_returns),
        episode_lengths=joined(lambda s: s.episode_lengths),
        episode_columns=joined(lambda s: s.episode_columns),
        episode_successes=joined(lambda s: s.episode_successes),
        episode_metrics=joined(lambda s: s.episode_metrics),
    )
