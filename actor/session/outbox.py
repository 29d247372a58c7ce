"""Rollouts that are sealed and not acknowledged yet, and the count of everything sealed. Knows no connections."""

from collections import deque
from dataclasses import dataclass

import msgspec

from dppo.protocol.errors import DppoError
from dppo.protocol.messages import Rollout, Tally
from dppo.protocol.recurrent_state import carrying
from dppo.protocol.rollout import Segment, pack
from dppo.protocol.specs import Spec


class TooLargeError(DppoError):
    """A rollout that the learner would hang up over, however often it is sent."""


@dataclass(frozen=True)
class SealedRollout:
    """One sealed rollout, ready to send, and to send again."""

    header: Rollout
    blob: bytearray


class Outbox:
    """Numbers rollouts, keeps them until the learner has disposed of them, and counts credit."""

    def __init__(self) -> None:
        self.tally = Tally()  # sealed, acknowledged and dropped so far
        self.most_bytes = 2**63  # of a rollout that the learner accepts
        self._rollouts: deque[SealedRollout] = deque()
        self._sent_upto = 0  # on this connection
        self._limit = 0  # newest sequence number that credit allows to be outstanding

    def __len__(self) -> int:
        return len(self._rollouts)

    @property
    def undelivered(self) -> str:
        """Return what would be lost if the actor ended now, to end a sentence with; "" where nothing would."""
        steps = sum(rollout.header.steps for rollout in self._rollouts)
        return f"; {steps} steps in {len(self._rollouts)} rollouts were not delivered" if self._rollouts else ""

    @property
    def has_credit(self) -> bool:
        """Whether one more rollout may be sealed."""
        return self.tally.sealed_upto < self._limit

    @property
    def has_room(self) -> bool:
        """Whether there is room for what a stop would cut: one segment beyond credit, so that no step is wasted."""
        return self.tally.sealed_upto <= self._limit

    def seal(self, segment: Segment, *, spec: Spec, term: int, version: int) -> None:
        """Give the segment the next number and keep it. Raises TooLargeError where it can never be delivered."""
        counts, tally = segment.counts, self.tally
        seq = tally.sealed_upto + 1
        header = Rollout(seq, term, version, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
        blob = pack(carrying(spec, segment.states), segment)
        self.tally = msgspec.structs.replace(tally, sealed_upto=seq, sealed_steps=tally.sealed_steps + segment.steps)
        if len(blob) > self.most_bytes:
            raise TooLargeError(
                f"a rollout of {counts.T} x {counts.E} steps has {len(blob):,} bytes, and the learner accepts "
                f"{self.most_bytes:,} (collect.max_rollout_bytes): raise that, or lower collect.segment_steps"
            )
        self._rollouts.append(SealedRollout(header, blob))

    def drop(self, steps: int) -> None:
        """Count steps that were cut and thrown away."""
        tally = self.tally
        self.tally = msgspec.structs.replace(
            tally, sealed_steps=tally.sealed_steps + steps, dropped_steps=tally.dropped_steps + steps
        )

    def count_restart(self) -> None:
        """An environment crashed and is made again."""
        self.tally = msgspec.structs.replace(self.tally, env_restarts=self.tally.env_restarts + 1)

    def acknowledged(self, upto: int, credit: int) -> None:
        """The learner has disposed of everything up to there, and takes that many more."""
        acked_upto, acked_steps = self.tally.acked_upto, self.tally.acked_steps
        while self._rollouts and self._rollouts[0].header.seq <= upto:
            rollout = self._rollouts.popleft()
            acked_upto, acked_steps = rollout.header.seq, acked_steps + rollout.header.steps
        self.tally = msgspec.structs.replace(self.tally, acked_upto=acked_upto, acked_steps=acked_steps)
        if credit:
            self._limit = max(self._limit, upto + credit)

    def send_again_after(self, seq: int) -> None:
        """A new connection: what follows that number goes out again."""
        self._sent_upto = max(seq, self.tally.acked_upto)

    def take_unsent(self) -> list[SealedRollout]:
        """Return the rollouts not sent on this connection yet, in order; from now on they count as sent."""
        unsent = [rollout for rollout in self._rollouts if rollout.header.seq > self._sent_upto]
        if unsent:
            self._sent_upto = unsent[-1].header.seq
        return unsent
