"""Notices of several learners about themselves, for each other: endpoint, actors, tokens, status.

A thread of its own, since the network thread must not wait for another machine. Knows the group's store; knows no
session.
"""

import threading
from collections.abc import Callable, Mapping

import msgspec

from dppo.learner.group.torch_stores import Store
from dppo.learner.telemetry.status import Status

LOOK_SECONDS = 0.25


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """Statement of one learner about itself."""

    endpoint: str  # by which actors reach it
    server_key: bytes  # public; b"": none is needed
    actors: int  # connected
    newcomers: list[bytes]  # incarnations that have joined it a moment ago
    tokens: bytes = b""  # of rank 0: the list of tokens that are valid at all learners
    number: int = 0  # of notices that it has made: one that stays the same is of a learner that is gone


class Notices:
    """One rank's notices, and those of the others."""

    def __init__(
        self,
        store: Store,
        rank: int,
        ranks: int,
        *,
        own: Callable[[], Notice],
        take: Callable[[Mapping[int, Notice]], None],
    ) -> None:
        """own: makes this rank's. take: called several times a second with those of the others, by rank."""
        self._store = store.clone()
        self._rank, self._others = rank, [other for other in range(ranks) if other != rank]
        self._own, self._take = own, take
        self._status: Status | None = None
        self._statuses: dict[int, Status] = {}
        self._number = 0  # of the newest notice of this rank
        self._numbers: dict[int, int] = {}  # of the others' newest ones
        self._looks: dict[int, int] = {}  # since a new one came
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="group notices", daemon=True)

    def post(self, status: Status) -> None:
        """Post the state of this rank, for rank 0. Called by any thread; returns at once."""
        self._status = status

    @property
    def statuses(self) -> list[Status]:
        """The newest states of the others, by rank; known to rank 0."""
        return [self._statuses[rank] for rank in sorted(self._statuses)]

    @property
    def silence(self) -> dict[int, float]:
        """Seconds at least that this rank has looked at each other's notices in vain; of those that ever had one.

        Looks are counted, not time: a rank that was itself stopped for a while has not looked.
        """
        return {rank: looks * LOOK_SECONDS for rank, looks in self._looks.copy().items()}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._exchange()
                self._closing.wait(LOOK_SECONDS)
        except RuntimeError:  # rank 0 is gone with the store: the threads that count steps say so
            pass

    def _exchange(self) -> None:
        self._number += 1
        own = msgspec.structs.replace(self._own(), number=self._number)
        self._store.set(f"notice/{self._rank}", msgspec.msgpack.encode(own))
        there = [other for other in self._others if self._store.check([f"notice/{other}"])]
        found = {other: self._of(other) for other in there}
        for other, notice in found.items():
            is_new = self._numbers.get(other) != notice.number
            self._looks[other] = 0 if is_new else self._looks[other] + 1
            self._numbers[other] = notice.number
        self._take(found)
        if self._rank:
            self._put_status()
        else:
            self._read_statuses()

    def _put_status(self) -> None:
        if self._status is not None:
            self._store.set(f"status/{self._rank}", msgspec.json.encode(self._status))

    def _read_statuses(self) -> None:
        for other in self._others:
            if self._store.check([f"status/{other}"]):
                content = bytes(self._store.get(f"status/{other}"))
                self._statuses[other] = msgspec.json.decode(content, type=Status)

    def _of(self, rank: int) -> Notice:
        return msgspec.msgpack.decode(bytes(self._store.get(f"notice/{rank}")), type=Notice)
