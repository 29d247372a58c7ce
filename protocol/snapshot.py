"""The policy as it travels: an ONNX graph with its place in the run's history."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

PART_BYTES = 32768  # passes within the 3 s of the heartbeats at 11 KB/s
SMALL_PART_BYTES = 4096  # ... at 1.4 KB/s; for a peer that has lost a connection over a policy
MAX_PARTS = 512  # half of what libzmq queues for an actor


@dataclass(frozen=True)
class Snapshot:
    """Policy to act with. Versions only rise within a term; a term is one start of the learner."""

    term: int
    version: int
    graph: bytes  # ONNX

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that tell a damaged graph from a whole one."""
        return graph_digest(self.graph)

    @cached_property
    def parts(self) -> tuple[memoryview, ...]:
        """The graph in order, in pieces that a slow connection can take; most graphs are one piece."""
        return self._cut(PART_BYTES)

    @cached_property
    def small_parts(self) -> tuple[memoryview, ...]:
        """The same in smaller pieces, for a peer that those were too large for."""
        return self._cut(SMALL_PART_BYTES)

    def _cut(self, part_bytes: int) -> tuple[memoryview, ...]:
        graph = memoryview(self.graph)
        size = max(part_bytes, math.ceil(len(graph) / MAX_PARTS))
        return tuple(graph[start : start + size] for start in range(0, max(len(graph), 1), size))


def graph_digest(graph: bytes | memoryview) -> bytes:
    """BLAKE2b-128 of the graph's bytes."""
    return hashlib.blake2b(graph, digest_size=16).digest()
