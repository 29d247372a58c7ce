"""Count the steps that all learners collect, and end collecting everywhere once they are a batch together.

Threads of its own, since the network thread must not wait for another machine. Knows versions and counts; knows no
session.
"""

import threading
from collections.abc import Callable
from datetime import timedelta

from dppo.learner.group.errors import GroupError
from dppo.learner.group.torch_stores import Store, StoreError

LOOK_SECONDS = 1.0
CHECK_SECONDS = 0.1


class BatchCall:
    """One rank's part: it reports what it has, and is called when the batch is full.

    Without late ranks a batch is full with batch_steps of all ranks together. With D of them it is full once all but D
    have their share.
    """

    def __init__(
        self,
        store: Store,
        *,
        ranks: int,
        batch_steps: int,
        late: int,
        called: Callable[[int], None],
        failed: Callable[[GroupError], None],
    ) -> None:
        """late: D. called: with the version, in a thread of its own, where collecting under it is to end. failed: where
        the group's store is gone.
        """
        self._full = ranks - late if late else batch_steps
        self._share = -(-batch_steps // ranks) if late else 0
        self._called, self._failed = called, failed
        self._changed = threading.Condition()
        self._version = self._steps = 0  # newest report
        self._wanted = 0  # version whose end was asked for
        self._ended = 0  # newest version whose end was heard
        self._failure: GroupError | None = None
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, store.clone()), name=f"group {name}", daemon=True)
            for name, work in (("count", self._count), ("call", self._listen))
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def report(self, version: int, steps: int) -> None:
        """Note how many steps are collected here under that version. Returns at once."""
        if (version, steps) == (self._version, self._steps):
            return
        with self._changed:
            self._version, self._steps = version, steps
            self._changed.notify_all()

    def end(self, version: int) -> None:
        """End collecting under that version everywhere, whatever has been collected."""
        with self._changed:
            self._wanted = version
            self._changed.notify_all()

    def await_end(self, version: int, check: Callable[[], None]) -> None:
        """Wait until collecting under that version ends everywhere. Raises GroupError, and what `check` raises."""
        with self._changed:
            while self._ended < version:
                if self._failure is not None:
                    raise self._failure
                self._changed.wait(CHECK_SECONDS)
                check()

    def close(self) -> None:
        """End the threads, within a second."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2 * LOOK_SECONDS)

    def _guarded(self, work: Callable[[Store], None], store: Store) -> None:
        try:
            work(store)
        except RuntimeError as error:
            text = str(error).splitlines()[0][:160]
            self._failure = GroupError(f"rank 0 is gone, which has the learners' store ({text})")
            self._failed(self._failure)

    def _count(self, store: Store) -> None:
        version = counted = 0
        while True:
            with self._changed:
                while not self._news(version, counted):
                    self._changed.wait()
                if self._is_closing:
                    return
                if self._wanted:
                    wanted, self._wanted = self._wanted, 0
                    store.set(_end(wanted), b"1")
                    continue
                if self._version != version:
                    version, counted = self._version, 0
                amount, counted = self._amount(self._steps) - self._amount(counted), self._steps
            if amount and store.add(f"steps/{version}", amount) >= self._full:
                store.set(_end(version), b"1")

    def _news(self, version: int, counted: int) -> bool:
        return self._is_closing or bool(self._wanted) or (self._version, self._steps) != (version, counted)

    def _amount(self, steps: int) -> int:
        """Return what this many steps count for."""
        return int(steps >= self._share) if self._share else steps

    def _listen(self, store: Store) -> None:
        heard = 0
        while True:
            with self._changed:
                while not (self._is_closing or self._version > heard):
                    self._changed.wait()
                if self._is_closing:
                    return
                version = self._version
            try:
                store.wait([_end(version)], timedelta(seconds=LOOK_SECONDS))
            except StoreError:  # not yet
                continue
            self._called(version)
            heard = version
            with self._changed:
                self._ended = version
                self._changed.notify_all()


def _end(version: int) -> str:
    return f"end/{version}"
