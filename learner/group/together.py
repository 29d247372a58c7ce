"""One learner process with the others of its group: find them, collect batches and end together with them.

Around the group (words, weights) and the call that ends collecting. Knows the network thread; knows no sockets.
"""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dppo.learner.config import CollectConfig, LearnerConfig
from dppo.learner.group.batch_call import BatchCall
from dppo.learner.group.errors import GroupError
from dppo.learner.group.group import Group
from dppo.learner.group.membership import Membership, refuse_with_several
from dppo.learner.group.notices import Notice, Notices
from dppo.learner.group.store import GROUP_SECONDS, ranks_text
from dppo.learner.ppo.batch import Received
from dppo.learner.run_config import NCCL
from dppo.learner.session.placement import OtherLearner
from dppo.learner.session.session import LearnerSession
from dppo.learner.signals import Interrupted
from dppo.learner.telemetry.joint_status import joint_status
from dppo.learner.telemetry.status import Status
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.listener import Listening, open_listener, reached_at, tokens_of
from dppo.learner.transport.network_thread import Network
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.specs import Spec
from dppo.protocol.transport.router import Router

ENDING_SECONDS = 10.0  # after a signal: its sender kills soon, and another learner may be dead
SILENT_SECONDS = 30.0  # after which another learner is gone: killed, or out of reach
ENDING_SILENT_SECONDS = 5.0  # after a signal, which is often due to that


class Together:
    """One learner process of several, for its service."""

    def __init__(self, group: Group, collect: CollectConfig, check: Callable[[], None]) -> None:
        """collect: of all learners together. check: called while this one waits for others."""
        self.group = group
        self._batch_steps, self._late = collect.batch_steps, collect.late_learners
        self._grace_seconds = collect.stop_grace_seconds
        self._check = check
        self._call: BatchCall | None = None  # once started
        self._notices: Notices | None = None  # likewise, where actors may be sent from one learner to another
        self._network: Network | None = None
        self._authenticator: TokenAuthenticator | None = None
        self._reached_at = ("", b"")
        self._tokens: Callable[[], bytes] = bytes

    @classmethod
    def found(cls, config: LearnerConfig, place: Membership, check: Callable[[], None]) -> "Together":
        """Find the others. Raises GroupError where one does not come, UsageError where settings do not fit."""
        refuse_with_several(config, place.ranks)
        run = dataclasses.replace(config.run, directory="", device="cpu", torch_threads=1)
        settings = hashlib.sha256(repr(dataclasses.replace(config, run=run)).encode()).digest()
        group = Group.open(place, check, settings, uses_nccl=config.run.backend == NCCL)
        return cls(group, config.collect, check)

    def open_listener(
        self, listening: Listening, max_blob_bytes: int, run_directory: Path
    ) -> tuple[Router, TokenAuthenticator | None]:
        """Listen, as `listener.open_listener`; where actors may be sent on, the tokens of rank 0 are valid at all."""
        if self.group.place.is_placed:
            return open_listener(listening, max_blob_bytes, run_directory)
        shared = self.group.tokens_of_first(lambda: tokens_of(listening, run_directory))
        router, authenticator = open_listener(listening, max_blob_bytes, run_directory, shared)
        self._reached_at = reached_at(listening, router, run_directory)
        self._authenticator = authenticator
        if not self.group.place.rank and authenticator is not None:
            self._tokens = authenticator.tokens
        return router, authenticator

    def start(self, network: Network) -> None:
        """Begin to count what is collected, to listen for the end of each batch, and to share actors evenly."""
        self._network = network
        place = self.group.place
        if not place.is_placed:
            network.ask(lambda session: session.peer_table.placement.expect(place.ranks - 1))
            self._notices = Notices(self.group.store, place.rank, place.ranks, own=self._notice, take=self._take)
            self._notices.start()
            self.group.watch(self._watch)
        self._call = BatchCall(
            self.group.store,
            ranks=self.group.place.ranks,
            batch_steps=self._batch_steps,
            late=self._late,
            called=network.end_collecting,
            failed=network.fail,
        )
        self._call.start()

    def observing(self, observe: Callable[[Status], None]) -> Callable[[Status], None]:
        """Return what to call with each status of this rank: rank 0 observes the whole run, the others tell it theirs.

        Where the launcher hears each rank by itself, it makes one of them.
        """
        if self.group.place.is_placed:
            return observe
        return self._tell if self.group.place.rank else lambda status: observe(self._joint(status))

    def _tell(self, status: Status) -> None:
        if self._notices is not None:
            self._notices.post(status)

    def _joint(self, status: Status) -> Status:
        return joint_status([status, *(self._notices.statuses if self._notices is not None else [])])

    def last(self, status: Status) -> Status:
        """Return the last status of the run, of all ranks, from that of this one. All call this together."""
        return status if self.group.place.is_placed else self.group.joint(status)

    def _notice(self) -> Notice:
        assert self._network is not None, "start comes first"
        actors, newcomers = self._network.ask(
            lambda session: (len(session.peer_table.peers), session.peer_table.placement.newcomers(time.monotonic()))
        )
        return Notice(*self._reached_at, actors, newcomers, self._tokens())

    def _take(self, notices: Mapping[int, Notice]) -> None:
        assert self._network is not None, "start comes first"
        others = {
            rank: OtherLearner(notice.endpoint, notice.server_key, notice.actors, frozenset(notice.newcomers))
            for rank, notice in notices.items()
        }
        self._network.ask(lambda session: session.peer_table.placement.learn(others, time.monotonic()))
        if self._authenticator is not None and 0 in notices:
            self._authenticator.shared = TokenBook.from_json(notices[0].tokens)

    def _watch(self) -> None:
        """Raise GroupError where another learner has given no sign of life. Called while others are waited for."""
        assert self._notices is not None, "start comes first"
        seconds = ENDING_SILENT_SECONDS if self._is_asked_to_end() else SILENT_SECONDS
        gone = [rank for rank, silence in self._notices.silence.items() if silence >= seconds]
        if gone:
            raise GroupError(f"{ranks_text(gone)} gave no sign of life for {seconds:g} s: killed, or out of reach")

    def _is_asked_to_end(self) -> bool:
        try:
            self._check()
        except Interrupted:
            return True
        return False

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
        for thread in (self._notices, self._call):
            if thread is not None:
                thread.close()
