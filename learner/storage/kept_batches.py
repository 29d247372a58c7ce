"""Batches in hand, as a checkpoint keeps them: what actors made while the learner trained does not die with it.

Under collect.max_staleness only: else a batch is empty whenever a checkpoint is written.
"""

from collections import Counter
from dataclasses import dataclass

from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.packed_rollouts import unpack_groups


@dataclass(frozen=True)
class KeptBatches:
    """Rollouts with their bytes, in the batches that they were accepted for: the front one is trained on next."""

    version: int = 0  # of the checkpoint's policy
    batches: tuple[tuple[tuple[Received, int], ...], ...] = ()

    @property
    def waiting(self) -> dict[bytes, Counter[int]]:
        """Steps by incarnation and number of the batch, from 1 on."""
        steps: dict[bytes, Counter[int]] = {}
        for number, batch in enumerate(self.batches, 1):
            for received, _ in batch:
                steps.setdefault(received.incarnation, Counter())[number] += received.segment.steps
        return steps


def unpack_batches(content: bytes, version: int) -> KeptBatches:
    """Return the batches that `packed_rollouts.pack_groups` made. Raises ProtocolError where it did not.

    version: of the policy that the next update is on top of, as when they were packed.
    """
    return KeptBatches(version, tuple(tuple(batch) for batch in unpack_groups(content)))
