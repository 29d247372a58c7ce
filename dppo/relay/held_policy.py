"""The newest policy that came by: kept, so that each actor of a relay gets it from there. Pure."""

from dppo.actor.session.policy_parts import Parts
from dppo.protocol.codec import encode
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import Part, Policy
from dppo.protocol.rollout import Blob
from dppo.protocol.snapshot import Snapshot


class HeldPolicy:
    """One graph. Raises ProtocolError where the learner takes it for another one than it is."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._snapshot = Snapshot(0, 0, b"")
        self._part_headers: list[bytes] = []

    def add(self, part: Part, content: Blob) -> None:
        """Take a part that is on its way to an actor."""
        self._parts.add(part, content)

    def take(self, policy: Policy, last: Blob) -> None:
        """Take a policy that came with its graph, or with the last part of it."""
        term, version = policy.term, policy.version
        snapshot = Snapshot(term, version, self._parts.end((term, version), last))
        if snapshot.digest != policy.digest:
            raise ProtocolError(f"policy {version} arrived damaged")
        self._snapshot = snapshot
        self._part_headers = [encode(Part(term, version, index)) for index in range(len(snapshot.parts) - 1)]

    def messages(self, policy: Policy, header: bytes) -> list[tuple[bytes, Blob]]:
        """Return the messages that bring the held graph to an actor, in the place of a policy that came without."""
        snapshot = self._snapshot
        if (policy.term, policy.version, policy.digest) != (snapshot.term, snapshot.version, snapshot.digest):
            raise ProtocolError(f"policy {policy.version} came without its graph, and {snapshot.version} is held")
        *parts, last = snapshot.parts
        return [*zip(self._part_headers, parts, strict=True), (header, last)]
