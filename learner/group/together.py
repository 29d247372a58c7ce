"""One learner process with the others of its group: find them, collect batches and end together with them.

Around the group (words, weights) and the call that ends collecting. Knows the network thread; knows no sockets.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence

from dppo.learner.config import CollectConfig, LearnerConfig
from dppo.learner.group.batch_call import BatchCall
from dppo.learner.group.group import Group
from dppo.learner.group.membership import Membership, refuse_with_several
from dppo.learner.group.store import GROUP_SECONDS
from dppo.learner.ppo.batch import Received
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import Interrupted
from dppo.learner.transport.network_thread import Network
from dppo.protocol.specs import Spec

ENDING_SECONDS = 10.0  # after a signal: who sent it kills soon, and another learner may be dead


class Together:
    """One learner process of several, for its service."""

    def __init__(self, group: Group, collect: CollectConfig, check: Callable[[], None]) -> None:
        """collect: of all learners together. check: called while this one waits for others."""
        self.group = group
        self._batch_steps, self._late = collect.batch_steps, collect.late_learners
        self._grace_seconds = collect.stop_grace_seconds
        self._check = check
        self._call: BatchCall | None = None  # once started
        self._network: Network | None = None

    @classmethod
    def found(cls, config: LearnerConfig, place: Membership, check: Callable[[], None]) -> "Together":
        """Find the others. Raises GroupError where one does not come, UsageError where settings do not fit."""
        refuse_with_several(config, place.ranks)
        run = dataclasses.replace(config.run, directory="", device="cpu", torch_threads=1)
        settings = hashlib.sha256(repr(dataclasses.replace(config, run=run)).encode()).digest()
        group = Group.open(place, check, settings)
        return cls(group, config.collect, check)

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

    def join(self, batch: Sequence[Received], version: int) -> None:
        """Wait until all have their batches under that version. Raises Interrupted where one of them ends."""
        assert self._network is not None, "start comes first"
        assert self._call is not None, "start comes first"
        self._call.await_end(version, self._check)  # as long as it takes: environments may be slow
        steps = sum(received.segment.steps for received in batch)
        share = -(-self._batch_steps // self.group.place.ranks)
        if not self.group.join(steps, late=self._late, share=share, seconds=GROUP_SECONDS + self._grace_seconds):
            self._network.ask(LearnerSession.drop_batch)

    def end(self, version: int) -> None:
        """Have all end, after a signal, instead of training on the batch under that version."""
        if not self.group.began or self.group.has_ended:
            return
        if self._call is not None:
            self._call.end(version)
        with contextlib.suppress(Interrupted):
            self.group.join(0, ending=True, seconds=ENDING_SECONDS + self._grace_seconds)

    def close(self) -> None:
        """End the threads."""
        if self._call is not None:
            self._call.close()
