"""Relays: connections that carry several actors, each by its envelope. Part of the session, without I/O.

A relay is sent a policy's graph once, with the POLICY of the first of its actors; the others' have an empty frame 1.
Messages keep their order on a connection, so a relay that was sent the graph has it when the next POLICY comes.
"""

from dataclasses import dataclass

from dppo.learner.session.admission import of_other_protocol
from dppo.learner.session.peer_index import PeerIndex
from dppo.learner.session.rate_limit import HELLO_MESSAGES, PeerLimits
from dppo.learner.session.records import Action, Note, Peer, PeerKey, Send, Settings
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.errors import HostileError
from dppo.protocol.messages import Bye, FromActor, Ping, Pong, RelayHello, RelayWelcome, Who
from dppo.protocol.rollout import Blob
from dppo.protocol.snapshot import Snapshot


@dataclass
class _Relay:
    """One relay on one connection."""

    name: str
    holds: tuple[int, int] = (0, 0)  # term and version of the newest graph that it was sent


class Relays:
    """All relays of one run."""

    def __init__(self, settings: Settings, limits: PeerLimits, index: PeerIndex) -> None:
        self._settings, self._limits, self._index = settings, limits, index
        self._relays: dict[bytes, _Relay] = {}  # by connection

    def __len__(self) -> int:
        return len(self._relays)

    def most_carried(self, connection: bytes | None) -> int:
        """Return how many actors that connection may carry at once; None: one that has sent nothing yet."""
        return self._settings.actors_per_relay if connection in self._relays else 1

    def answer(self, key: PeerKey, message: FromActor, heartbeat_seconds: float, now: float) -> list[Action] | None:
        """Return the answer to what is a relay's own message, None where it is one of an actor.

        Raises HostileError for what no relay of ours sends.
        """
        if isinstance(message, RelayHello):
            return self._hello(key, message, heartbeat_seconds, now)
        if key.connection not in self._relays:
            if not key.incarnation:
                return None
            own = PeerKey(key.connection)  # this learner is another one: the relay must introduce itself first
            return [Send(own, Who())] if self._limits.may_be_asked(own, now) else []
        if key.incarnation:
            return None
        if isinstance(message, Ping):
            return [Send(key, Pong(message.time))]
        raise HostileError(f"{type(message).__name__} of a relay, which is a message of actors")

    def _hello(self, key: PeerKey, hello: RelayHello, heartbeat_seconds: float, now: float) -> list[Action]:
        self._limits.spend(PeerKey(key.connection), now, HELLO_MESSAGES)
        if key.incarnation:
            raise HostileError("a relay behind a relay")
        if any(not peer.key.incarnation for peer in self._index.on(key.connection)):
            raise HostileError("an actor's own connection becomes a relay's")
        no = of_other_protocol(hello.protocol_min, hello.protocol_max, "relay")
        if no is not None:
            return [Send(key, no), Note(f"relay {hello.relay} was refused: {no.text}")]
        settings, notes = self._settings, list[Action]()
        if key.connection not in self._relays:
            self._relays[key.connection] = _Relay(hello.relay)
            self._limits.attach(key.connection, now)
            notes.append(Note(f"relay {hello.relay} joined"))
        welcome = RelayWelcome(
            PROTOCOL_VERSION, settings.run_id, settings.term, settings.actors_per_relay, settings.lease_seconds,
            heartbeat_seconds, settings.max_rollout_bytes,
        )  # fmt: skip
        return [Send(key, welcome), *notes]

    def holds(self, key: PeerKey, snapshot: Snapshot) -> bool:
        """Whether that actor comes by a relay that was sent the graph."""
        relay = self._relays.get(key.connection)
        return relay is not None and relay.holds == (snapshot.term, snapshot.version)

    def parts(self, peer: Peer, snapshot: Snapshot) -> tuple[Blob, ...]:
        """Return the parts of the graph that are to be sent now: an empty one where the actor's relay has it."""
        if self.holds(peer.key, snapshot):
            return (b"",)
        relay = self._relays.get(peer.key.connection)
        if relay is not None:
            relay.holds = snapshot.term, snapshot.version
        return snapshot.small_parts if peer.takes_small_parts else snapshot.parts

    def farewell(self, reason: str) -> list[Action]:
        """Return what tells all relays that the run is over. Their actors are told by messages of their own."""
        return [Send(PeerKey(connection), Bye(reason)) for connection in self._relays]

    def forget(self, connection: bytes) -> list[Action]:
        """Note that the connection has ended."""
        relay = self._relays.pop(connection, None)
        return [] if relay is None else [Note(f"relay {relay.name} is gone (connection lost)")]
