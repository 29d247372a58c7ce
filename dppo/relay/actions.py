"""Actions that a relay's session asks its service for. Records only."""

from dataclasses import dataclass

from dppo.actor.session.actions import Exit, Note, Reconnect
from dppo.protocol.rollout import Blob


@dataclass(frozen=True)
class Up:
    """Send this to the learner, in the envelope of that incarnation; b"": the relay's own message, without one."""

    incarnation: bytes
    header: bytes
    blob: Blob | None = None


@dataclass(frozen=True)
class Down:
    """Send this to the actor on that connection."""

    connection: bytes
    header: bytes
    blob: Blob | None = None


@dataclass(frozen=True)
class Disconnect:
    """End the actor's connection."""

    connection: bytes


Action = Up | Down | Disconnect | Note | Reconnect | Exit
