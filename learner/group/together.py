"""One learner process with the others of its group: find them, collect batches and end together with them.

Around the group (words, weights) and the call that ends collecting. Knows the network thread; knows no sockets.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence

from dppo.learner.config import LearnerConfig
from dppo.learner.group.batch_call import BatchCall
from dppo.learner.group.group import Group
from dppo.learner.group.membership import Membership, refuse_with_several
from dppo.learner.ppo.batch import Received
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import Interrupted
from dppo.learner.transport.network_thread import Network
from dppo.protocol.specs import Spec


class Together:
    """One learner process of several, for its service."""

    def __init__(self, group: Group, *, batch_steps: int, late: int) -> None:
        """batch_steps: of all learners together. late: how many of them a batch may do without."""
        self.group = group
        self._batch_steps, self._late = batch_steps, late
        self._call: BatchCall | None = None  # once started
        self._network: Network | None = None

    @classmethod
    def found(cls, config: LearnerConfig, place: Membership, check: Callable[[], None]) -> "Together":
        """Find the others. Raises GroupError where one does not come, UsageError where settings do not fit."""
        refuse_with_several(config, place.ranks)
        run = dataclasses.replace(config.run, directory="", device="cpu", torch_threads=1)
        settings = hashlib.sha256(repr(dataclasses.replace(config, run=run)).encode()).digest()
        group = Group.open(place, check, settings)
        return cls(group, batch_steps=config.collect.batch_steps, late=config.collect.late_learners)

    def start(self, network: Network) -> None:
        """Begin to count what is collected, and to listen for the end of each batch."""
        self._network = network
        self._call = BatchCall(
            self.group.store,
            ranks=self.group.place.ranks,
            batch_steps=self._batch_steps,
            late=self._late,
            called=network.end_collecting,
            failed=network.fail,
        )
        self._call.start()

    def collected(self, version: int, steps: int) -> None:
        """Note how many steps are collected here under that version. For the network thread: returns at once."""
        if self._call is not None:
            self._call.report(version, steps)

    def same_spaces(self, spec: Spec) -> None:
        """Wait until all learners have actors, and keep to these spaces. Raises UsageError where others differ."""
        assert self._network is not None, "start comes first"
        self.group.same_spaces(spec)
        self._network.settle_spaces(spec)

    def join(self, batch: Sequence[Received]) -> None:
        """Wait until all have their batches. Raises Interrupted where one of them ends."""
        assert self._network is not None, "start comes first"
        steps = sum(received.segment.steps for received in batch)
        share = -(-self._batch_steps // self.group.place.ranks)
        if not self.group.join(steps, late=self._late, share=share):
            self._network.ask(LearnerSession.drop_batch)

    def end(self, version: int) -> None:
        """Have all end, after a signal, instead of training on the batch under that version."""
        if not self.group.began or self.group.has_ended:
            return
        if self._call is not None:
            self._call.end(version)
        with contextlib.suppress(Interrupted):
            self.group.join(0, ending=True)

    def close(self) -> None:
        """End the threads."""
        if self._call is not None:
            self._call.close()
