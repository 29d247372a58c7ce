"""States of a memory made anew where older policies made them: the newest one runs over what came before a rollout.

An actor that is some versions behind sends the state that its policy had. The policy that is trained would never have
that state: trained on such states only, it does not learn to read its own. So it runs over the rows before, from a
state that is older still, and begins with what it has then (the burn-in of R2D2, Kapturowski et al. 2019). Knows
rollouts and memories; knows no losses.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.frames import ended, frames_before
from dppo.learner.ppo.packed_rollouts import pack_groups, unpack_groups
from dppo.learner.ppo.rows import encoded_in_parts
from dppo.learner.ppo.sequences import Sequences
from dppo.protocol.recurrent_state import STATE
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec

ROWS = 64  # before a rollout, of each environment, or as many as its rollouts before have
MOST_UPDATES = 8  # without a rollout, after which the past of an actor is forgotten


@dataclass
class _Past:
    """Successive rollouts of one incarnation, the newest last."""

    rollouts: deque[Received] = field(default_factory=deque)
    rows: int = 0
    idle: int = 0  # updates since

    def add(self, rollout: Received) -> None:
        """Keep it, and of those before as few as have ROWS."""
        self.rollouts.append(rollout)
        self.rows += len(rollout.segment.valid)
        while self.rows - len(self.rollouts[0].segment.valid) >= ROWS:
            self.rows -= len(self.rollouts.popleft().segment.valid)

    def goes_on_with(self, later: Received) -> bool:
        """Whether `later` begins where the newest one ended."""
        newest = self.rollouts[-1]
        ends, starts = newest.segment.observations, later.segment.observations
        if (newest.seq + max(1, len(newest.parts)), newest.first_slot) != (later.seq, later.first_slot):
            return False
        return all(np.array_equal(ends[name][-1], starts[name][0]) for name in ends)


class _Sequence(NamedTuple):
    """Rows of one environment since its newest episode began, as far as they are kept."""

    observations: list[dict[str, np.ndarray]]  # parts of each leaf
    rows: int
    start: np.ndarray  # [size]


class BurnIn:
    """Rollouts of the newest updates, by incarnation, and states that follow from them."""

    def __init__(self) -> None:
        self._pasts: dict[bytes, _Past] = {}

    @property
    def idle(self) -> list[int]:
        """Updates since the newest rollout of each incarnation, in the order that `packed` has them in."""
        return [past.idle for past in self._pasts.values()]

    def packed(self, spec: Spec) -> bytes:
        """Return all rollouts as bytes, for a checkpoint; b"" where there are none, or more than that takes."""
        return pack_groups(spec, [past.rollouts for past in self._pasts.values()])

    def load(self, packed: bytes, idle: Sequence[int]) -> None:
        """Have what was packed, and nothing else. Raises ProtocolError as `unpack_groups`."""
        self._pasts.clear()
        for updates, group in zip(idle, unpack_groups(packed), strict=False):
            past = self._pasts[group[0][0].incarnation] = _Past()
            for rollout, _ in group:
                past.add(rollout)
            past.idle = updates

    def refreshed(self, rollouts: Sequence[Received], policy: PolicyNetwork, version: int | None) -> list[Received]:
        """Return the rollouts with states of the policy's own where older versions made them; remember them.

        rollouts: as `stitching.assemble` returns them. version: of the policy; None: all are of that. What it made
        itself stays as it came, to the last bit; so does what follows nothing that is known.
        """
        if policy.memory is None or version is None or any(frames_before(r.segment) for r in rollouts[:1]):
            self._pasts.clear()
            return list(rollouts)
        for past in self._pasts.values():
            past.idle += 1
        before = [self._before(rollout, version) for rollout in rollouts]
        made = iter(_states([each for sequences in before for each in sequences], policy))
        found = [_without_old_states(rollout, version) for rollout in rollouts]
        for place, sequences in enumerate(before):
            if sequences:
                segment = found[place].segment
                states = np.stack([next(made) for _ in sequences])
                found[place] = replace(found[place], segment=replace(segment, states={STATE: states}))
        self._pasts = {key: past for key, past in self._pasts.items() if past.idle <= MOST_UPDATES}
        return found

    def _before(self, rollout: Received, version: int) -> list[_Sequence]:
        """Return what came before a rollout of an older version, of each environment; [] where it is not to be used."""
        past = self._pasts.get(rollout.incarnation)
        if past is None or not past.goes_on_with(rollout):
            past = self._pasts[rollout.incarnation] = _Past()
        kept = [each.segment for each in past.rollouts]
        past.add(rollout)
        past.idle = 0
        first = rollout.parts[0][1] if rollout.parts else rollout.version
        return [_sequence(kept, env) for env in range(rollout.segment.counts.E)] if kept and first < version else []


def _without_old_states(rollout: Received, version: int) -> Received:
    """Return the rollout without the states with which older versions go on in it: the policy goes on with its own."""
    rows = np.cumsum([0, *(rows for rows, _ in rollout.parts)])
    begins = {int(row): of for row, (_, of) in zip(rows, rollout.parts, strict=False)}
    return replace(rollout, restarts=tuple(each for each in rollout.restarts if begins[each[0]] >= version))


def _sequence(segments: Sequence[Segment], env: int) -> _Sequence:
    """Return what of these successive segments belongs to the episode that the environment is in."""
    observations, rows, start = list[dict[str, np.ndarray]](), 0, segments[0].states[STATE][env]
    for segment in segments:
        over = np.flatnonzero(ended(segment)[:, env])
        first = int(over[-1]) + 1 if len(over) else 0
        if first:
            observations, rows, start = [], 0, np.zeros_like(start)
        count = len(segment.valid)
        observations.append({name: leaf[first:count, env] for name, leaf in segment.observations.items()})
        rows += count - first
    return _Sequence(observations, rows, start)


def _states(sequences: Sequence[_Sequence], policy: PolicyNetwork) -> list[np.ndarray]:
    """Return the policy's states behind each sequence, [size] each."""
    assert policy.memory is not None, "there is nothing to make without one"
    found = [sequence.start for sequence in sequences]
    longer = [place for place, sequence in enumerate(sequences) if sequence.rows]
    if not longer:
        return found
    parts = [part for place in longer for part in sequences[place].observations]
    device = next(policy.parameters()).device
    leaves = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])).to(device) for name in parts[0]}
    lengths = np.array([sequences[place].rows for place in longer], np.int64)
    every = torch.arange(int(lengths.sum()), device=device)
    features = torch.cat(list(encoded_in_parts(leaves, every, policy.encode)))
    starts = torch.from_numpy(np.stack([sequences[place].start for place in longer])).to(features)
    rows, pack = Sequences(lengths, starts).packed(np.arange(len(lengths)))
    order = torch.from_numpy(rows).to(device)
    _, states = policy.memory.states_over(features.index_select(0, order), pack.starts, pack.sizes)
    after = torch.empty_like(states).index_copy_(0, order, states)
    last: Tensor = after.index_select(0, torch.from_numpy(np.cumsum(lengths) - 1).to(device))
    for place, state in zip(longer, last.cpu().numpy(), strict=True):
        found[place] = state
    return found
