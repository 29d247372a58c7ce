"""Words that several learners leave for each other, in the store that rank 0 (or torchrun) has. Knows torch's stores.

Each wait has a deadline and names the ranks that did not come.
"""

import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from dppo.learner.group.errors import GroupError
from dppo.learner.group.membership import Membership
from dppo.learner.group.torch_stores import Store, StoreError, host_store, join_store, prefixed
from dppo.protocol.errors import UsageError

JOIN_SECONDS = 60.0  # until all ranks have been started
GROUP_SECONDS = 300.0  # that ranks may be apart, between updates: a disk may be slow
LOOK_SECONDS = 0.2
CONNECT_LOOK_SECONDS = 0.1
PART_BYTES = 4 * 2**20  # of a word: the store takes 8 MiB at once


class Words:
    """Words of all ranks, by name. Used by one thread at a time."""

    def __init__(self, store: Store, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks
        self.watch: Callable[[], None] = lambda: None  # called in each wait: raises GroupError where a rank is gone
        self._store = store
        self._number = 0
        self._mine: list[list[str]] = []  # keys of the newest exchanges

    def exchange(
        self, what: str, word: bytes, check: Callable[[], None] = lambda: None, seconds: float = GROUP_SECONDS
    ) -> list[bytes]:
        """Return every rank's word, in their order. All ranks call this with the same `what`, in the same order.

        check: called while it waits. Raises GroupError where ranks do not come in time, or are gone (`watch`).
        """
        self._number += 1
        prefix = f"{self._number}/{what}"
        with lost_as(f"{what}: the learners lost each other"):
            self._mine.append(self._put(f"{prefix}/{self.rank}", word))
            names = {rank: f"{prefix}/{rank}" for rank in range(self.ranks) if rank != self.rank}
            for look in itertools.count():
                if self._are_there(list(names.values())):
                    break
                check()
                self.watch()
                if look * LOOK_SECONDS >= seconds:
                    late = [rank for rank, name in names.items() if not self._store.check([name])]
                    raise GroupError(f"{what}: {ranks_text(late)} did not come within {seconds:g} s")
            words = [word if rank == self.rank else self._get(names[rank]) for rank in range(self.ranks)]
            if len(self._mine) > 2:  # all have come to the exchange after that one, so they have read it
                for key in self._mine.pop(0):
                    self._store.delete_key(key)
        return words

    def _are_there(self, names: Sequence[str]) -> bool:
        with contextlib.suppress(StoreError):
            self._store.wait(list(names), timedelta(seconds=LOOK_SECONDS))
            return True
        return False

    def _put(self, name: str, word: bytes) -> list[str]:
        parts = [word[at : at + PART_BYTES] for at in range(0, len(word), PART_BYTES)]
        keys = [f"{name}/{number}" for number in range(1, len(parts))]
        for key, part in zip(keys, parts[1:], strict=True):
            self._store.set(key, part)
        first = parts[0] if parts else b""
        self._store.set(name, len(keys).to_bytes(4, "little") + first)
        return [name, *keys]

    def _get(self, name: str) -> bytes:
        first = bytes(self._store.get(name))
        more = (bytes(self._store.get(f"{name}/{n + 1}")) for n in range(int.from_bytes(first[:4], "little")))
        return b"".join((first[4:], *more))


@contextlib.contextmanager
def lost_as(what: str) -> Iterator[None]:
    """Raise GroupError, in one line, where torch fails in here."""
    try:
        yield
    except RuntimeError as error:
        raise GroupError(f"{what} ({str(error).splitlines()[0][:160]})") from None


def open_store(place: Membership, check: Callable[[], None]) -> Store:
    """Return the group's store. Raises UsageError where its port is taken, GroupError where it cannot be reached."""
    where = f"{place.address}:{place.port}"
    if place.hosts_store:
        try:
            store = host_store(place.address, place.port, JOIN_SECONDS)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
            raise UsageError(
                f"rank 0 cannot listen on MASTER_ADDR {where}: {why}. Choose another MASTER_PORT, or an address "
                "of this host."
            ) from None
    else:
        _await_port(place, where, check)
        with lost_as(f"rank {place.rank} cannot reach the other learners at MASTER_ADDR {where}"):
            store = join_store(place.address, place.port, JOIN_SECONDS)
    return prefixed(f"dppo/{place.attempt}", store)


def _await_port(place: Membership, where: str, check: Callable[[], None]) -> None:
    """Wait until rank 0 listens. Torch waits too, in a language of its own."""
    deadline, why = time.monotonic() + JOIN_SECONDS, ""
    while time.monotonic() < deadline:
        check()
        try:
            socket.create_connection((place.address, place.port), timeout=LOOK_SECONDS).close()
        except OSError as error:
            why = error.strerror or str(error)
            time.sleep(CONNECT_LOOK_SECONDS)
        else:
            return
    raise GroupError(f"rank 0 did not come: nothing listens at MASTER_ADDR {where} within {JOIN_SECONDS:g} s ({why})")


def ranks_text(ranks: Sequence[int]) -> str:
    """Return their numbers as words."""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
