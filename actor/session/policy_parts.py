"""A policy that comes in parts. Pure; part of the actor's session."""

from dppo.actor.bounds import MAX_GRAPH_BYTES
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import Part
from dppo.protocol.rollout import Blob


class Parts:
    """Parts that have come of the next policy's graph."""

    def __init__(self) -> None:
        self._policy = (0, 0)
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: Part, content: Blob) -> None:
        """One more. What does not follow is not kept: the graph's digest will not match.

        Raises ProtocolError where it becomes too large.
        """
        if part.index == 0:
            self._policy, self._parts, self._bytes = (part.term, part.version), [], 0
        if (part.term, part.version) == self._policy and part.index == len(self._parts):
            self._bytes += len(content)
            if self._bytes > MAX_GRAPH_BYTES:
                self._parts = []
                raise ProtocolError(f"a policy of more than {MAX_GRAPH_BYTES:,} bytes")
            self._parts.append(bytes(content))

    def end(self, policy: tuple[int, int], last: Blob) -> bytes:
        """The whole graph of that term and version, with the last of it."""
        parts = self._parts if policy == self._policy else []
        self._parts = []
        return b"".join([*parts, bytes(last)])
