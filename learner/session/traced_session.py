"""A learner's session that also records every event. Made in the place of a plain one where a trace is wanted."""

from collections.abc import Callable, Sequence
from typing import Any

from dppo.learner.session.records import Action, Kick, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.protocol.account import DropReason
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import EnvFault, FromActor, Hello, RelayHello
from dppo.protocol.rollout import Blob
from dppo.protocol.specs import Spec
from dppo.protocol.trace import Trace, TracedCalls

MAX_NAMES = 1024  # of one connection


class TracedLearnerSession(LearnerSession):
    """Records messages in and out by peer, phases, violations, and connections that end."""

    def __init__(self, *of_session: Any, trace: Trace) -> None:
        super().__init__(*of_session)
        self._trace = trace
        self._calls = TracedCalls(trace, lambda: self.cycle.phase.value, self._record_actions)
        self._names: dict[bytes, dict[bytes, str]] = {}  # by connection and incarnation on it: of the newest HELLO

    def _record_actions(self, actions: Sequence[Action]) -> None:
        trace, state = self._trace, self.cycle.phase.value
        for action in actions:
            match action:
                case Send():
                    trace.message("sent", state, action.message, action.blob, peer=self._name_of(action.peer))
                case Kick():
                    trace.event("disconnect", state, peer=self._names_on(action.connection))
                case Note():
                    trace.event("note", state, fields={"text": action.text})

    def _name_of(self, key: PeerKey) -> str:
        return self._names.get(key.connection, {}).get(key.incarnation) or (key.incarnation or key.connection).hex()

    def _names_on(self, connection: bytes) -> str:
        return ", ".join(self._names.get(connection, {}).values()) or connection.hex()

    def _note_name(self, key: PeerKey, name: str) -> None:
        names = self._names.setdefault(key.connection, {})
        names[key.incarnation] = name
        if len(names) > MAX_NAMES:
            del names[next(iter(names))]

    def receive(self, key: PeerKey, message: FromActor, blob: Blob | None, now: float, token: str = "") -> list[Action]:
        """Record a message from one peer."""
        if isinstance(message, Hello | RelayHello):
            self._note_name(key, message.actor if isinstance(message, Hello) else message.relay)
        name = self._name_of(key)
        if isinstance(message, EnvFault):  # names an incarnation, and may come by a connection of its own
            account = self.ledger.accounts.get(message.incarnation)
            name = account.actor if account is not None else name
        self._trace.message("received", self.cycle.phase.value, message, blob, peer=name)
        return self._calls.run(lambda: super(TracedLearnerSession, self).receive(key, message, blob, now, token))

    def violation(self, key: PeerKey, error: ProtocolError, now: float) -> list[Action]:
        """Record a violation of the protocol."""
        self._trace.event("violation", self.cycle.phase.value, peer=self._name_of(key), fields={"what": str(error)})
        return self._calls.run(lambda: super(TracedLearnerSession, self).violation(key, error, now))

    def unreachable(self, connection: bytes, now: float) -> list[Action]:
        """Record a connection that has ended, and each actor that a relay has brought by it."""
        names = self._names.get(connection, {})
        own = names.get(b"") or connection.hex()
        self._gone(PeerKey(connection), own)
        for incarnation, name in names.items():
            if incarnation:
                self._gone(PeerKey(connection, incarnation), name, relay=own)
        actions = self._calls.run(lambda: super(TracedLearnerSession, self).unreachable(connection, now))
        self._names.pop(connection, None)
        return actions

    def _gone(self, key: PeerKey, name: str, **fields: Any) -> None:
        """Record the end of one way to the learner, and whether the actor has taken another one before."""
        others = (peer.key for peer in self.peer_table.index.of_actor(name) if peer.key != key)
        if any(other in self.peer_table.peers for other in others):
            fields["replaced"] = True
        self._trace.event("gone", self.cycle.phase.value, peer=name, fields=fields)

    def detached(self, key: PeerKey, now: float) -> list[Action]:
        """Record an actor that a relay has lost."""
        self._gone(key, self._name_of(key))
        actions = self._calls.run(lambda: super(TracedLearnerSession, self).detached(key, now))
        self._names.get(key.connection, {}).pop(key.incarnation, None)
        return actions

    def expel(self, may_stay: Callable[[str], bool], now: float) -> list[Action]:
        """Record peers whose token has ended."""
        return self._calls.run(lambda: super(TracedLearnerSession, self).expel(may_stay, now))

    def tick(self, now: float) -> list[Action]:
        """Record what the clock brings; first, actors that have been silent for so long that they are given up."""
        peers, lease_seconds = self.peer_table.peers.values(), self.settings.lease_seconds
        for peer in [peer for peer in peers if now - peer.heard > lease_seconds]:
            fields = {"seconds": round(now - peer.heard, 6)}
            self._trace.event("silent", self.cycle.phase.value, peer=peer.actor, fields=fields)
        return self._calls.run(lambda: super(TracedLearnerSession, self).tick(now))

    def publish(self, version: int, graph: bytes, now: float) -> list[Action]:
        """Record a policy that is published."""
        self._trace.event("publish", self.cycle.phase.value, fields={"version": version, "graph_bytes": len(graph)})
        return self._calls.run(lambda: super(TracedLearnerSession, self).publish(version, graph, now))

    def end_collecting(self, version: int, now: float) -> list[Action]:
        """Record that several learners have their batch together."""
        return self._calls.run(lambda: super(TracedLearnerSession, self).end_collecting(version, now))

    def settle_spaces(self, spec: Spec) -> list[Action]:
        """Record that the spaces are fixed."""
        self._trace.event("settle spaces", self.cycle.phase.value)
        return self._calls.run(lambda: super(TracedLearnerSession, self).settle_spaces(spec))

    def finish(self, reason: str, drop: DropReason, now: float) -> list[Action]:
        """Record the end of the run."""
        self._trace.event("finish", self.cycle.phase.value, fields={"reason": reason})
        return self._calls.run(lambda: super(TracedLearnerSession, self).finish(reason, drop, now))

    def leave(self, now: float) -> list[Action]:
        """Record the end of this learner."""
        self._trace.event("leave", self.cycle.phase.value)
        return self._calls.run(lambda: super(TracedLearnerSession, self).leave(now))
