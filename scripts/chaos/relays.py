"""A TCP relay between an actor and its learner: it can record what the actor says, and let it read only slowly."""

import contextlib
import select
import socket
import threading
import time
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536
BUFFER_BYTES = 8192  # of the socket towards the learner, where reading is slow: the kernel must not read ahead
SLICE_SECONDS = 0.1


class Relay:
    """Listens on a port of its own and passes everything on, from `with` to its end."""

    def __init__(self, learner: tuple[str, int], *, bytes_per_second: float = 0) -> None:
        """bytes_per_second: what is read of the learner at most; 0: as fast as it comes."""
        self.sent = bytearray()  # by the actor on its first connection
        self.received_bytes = 0  # by the actor, on all connections
        self.connections = 0
        self._learner = learner
        self._rate = bytes_per_second
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SLICE_SECONDS)
        self._threads = [threading.Thread(target=self._accept, name="relay", daemon=True)]

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
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(actor, self.connections == 1), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, actor: socket.socket, is_first: bool) -> None:
        learner = socket.socket()
        if self._rate:
            learner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)  # before connect, or it has no effect
        with actor, learner, contextlib.suppress(OSError):
            learner.connect(self._learner)
            read_at = 0.0
            while not self._closing.is_set():
                wanted = [actor, learner] if time.monotonic() >= read_at else [actor]
                ready, _, _ = select.select(wanted, [], [], SLICE_SECONDS)
                if actor in ready:
                    content = actor.recv(CHUNK_BYTES)
                    if is_first:
                        self.sent += content
                    learner.sendall(content)
                    if not content:
                        return
                if learner in ready:
                    content = learner.recv(int(self._rate * SLICE_SECONDS) or CHUNK_BYTES)
                    self.received_bytes += len(content)
                    actor.sendall(content)
                    if not content:
                        return
                    if self._rate:
                        read_at = time.monotonic() + len(content) / self._rate
