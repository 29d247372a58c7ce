"""A policy that comes in parts. Pure; part of the actor's session."""

from protocol.messages import Part
from protocol.rollout import Blob


class Parts:
    """What has come of the next policy's graph."""

    def __init__(self) -> None:
        self._policy = (0, 0)
        self._parts: list[bytes] = []

    def add(self, part: Part, content: Blob) -> None:
        """One more. What does not follow is not kept: the graph's digest will tell."""
        if part.index == 0:
            self._policy, self._parts = (part.epoch, part.version), []
        if (part.epoch, part.version) == self._policy and part.index == len(self._parts):
            self._parts.append(bytes(content))

    def end(self, policy: tuple[int, int], last: Blob) -> bytes:
        """The whole graph of that epoch and version, with the last of it."""
        parts = self._parts if policy == self._policy else []
        self._parts = []
        return b"".join([*parts, bytes(last)])
