"""A TCP relay between an actor and its learner: it can record what the actor sends, and let it read only slowly."""

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536
BUFFER_BYTES = 8192  # of the socket towards the learner, where reading is slow: the kernel must not read ahead
SLICE_SECONDS = 0.1
BURST_SECONDS = 0.5  # of its rate, that a slow link makes up for after it has not been served: on a busy machine


class Budget:
    """Bytes that a link of some rate lets through. Pure; time is handed in."""

    def __init__(self, bytes_per_second: float, now: float) -> None:
        self._rate = bytes_per_second
        self._left = bytes_per_second * BURST_SECONDS
        self._at = now

    def left(self, now: float) -> int:
        """Return how many bytes may pass now."""
        self._left = min(self._left + (now - self._at) * self._rate, self._rate * BURST_SECONDS)
        self._at = now
        return int(self._left)

    def spend(self, count: int) -> None:
        """Note that so many have passed."""
        self._left -= count


@dataclass
class Passage:
    """One connection of an actor through the relay."""

    opened_at: float  # monotonic
    received_bytes: int = 0  # by the actor
    ended_at: float | None = None
    ended_by: str = ""

    def __str__(self) -> str:
        read = f"{self.received_bytes:,} bytes read"
        if self.ended_at is None:
            return f"{read}, still open"
        return f"{read}, ended by {self.ended_by or 'an error'} after {self.ended_at - self.opened_at:.1f} s"


class Relay:
    """Listens on a port of its own and passes everything on, from `with` to its end."""

    def __init__(self, learner: tuple[str, int], *, bytes_per_second: float = 0) -> None:
        """bytes_per_second: what is read of the learner at most; 0: as fast as it comes."""
        self.sent = bytearray()  # by the actor on its first connection
        self.passages: list[Passage] = []
        self._learner = learner
        self._rate = bytes_per_second
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SLICE_SECONDS)
        self._threads = [threading.Thread(target=self._accept, name="relay", daemon=True)]

    @property
    def connections(self) -> int:
        """Connections that an actor has opened."""
        return len(self.passages)

    @property
    def received_bytes(self) -> int:
        """Bytes that actors have read, on all connections."""
        return sum(passage.received_bytes for passage in self.passages)

    @property
    def endpoint(self) -> str:
        """Address at which an actor reaches the learner through the relay."""
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                actor, _ = self._listener.accept()
                passage = Passage(time.monotonic())
                self.passages.append(passage)
                thread = threading.Thread(target=self._serve, args=(actor, passage), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, actor: socket.socket, passage: Passage) -> None:
        learner = socket.socket()
        if self._rate:
            learner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)  # before connect, or it has no effect
        with actor, learner, contextlib.suppress(OSError):
            learner.connect(self._learner)
            self._pass_on(actor, learner, passage)
        if not self._closing.is_set():
            passage.ended_at = time.monotonic()

    def _pass_on(self, actor: socket.socket, learner: socket.socket, passage: Passage) -> None:
        """Pass bytes on until one side ends the connection. Raises OSError where it breaks."""
        budget, least = Budget(self._rate, time.monotonic()), int(self._rate * SLICE_SECONDS)
        is_first = passage is self.passages[0]
        while not self._closing.is_set():
            left = budget.left(time.monotonic())
            may_read = not self._rate or left >= least
            wait = SLICE_SECONDS if may_read else (least - left) / self._rate
            ready, _, _ = select.select([actor, learner] if may_read else [actor], [], [], wait)
            if actor in ready:
                content = actor.recv(CHUNK_BYTES)
                if is_first:
                    self.sent += content
                if not content:
                    passage.ended_by = "the actor"
                    return
                learner.sendall(content)
            if learner in ready:
                content = learner.recv(left if self._rate else CHUNK_BYTES)
                if not content:
                    passage.ended_by = "the learner"
                    return
                budget.spend(len(content))
                passage.received_bytes += len(content)
                actor.sendall(content)
