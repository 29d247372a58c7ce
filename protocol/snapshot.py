"""The policy as it travels: an ONNX graph with its place in the run's history."""

import hashlib
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Snapshot:
    """What actors act with. Versions only rise within an epoch; an epoch is one start of the learner."""

    epoch: int
    version: int
    graph: bytes  # ONNX

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that tell a damaged graph from a whole one."""
        return graph_digest(self.graph)


def graph_digest(graph: bytes | memoryview) -> bytes:
    """BLAKE2b-128 of the graph's bytes."""
    return hashlib.blake2b(graph, digest_size=16).digest()
