"""A simulated relay: the real session between the connections of simulated actors and one to the learner."""

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence

from simulated_actor import Connection
from simulated_network import GONE, SimulatedNetwork

from dppo.actor.session.actions import Exit, Note, Reconnect
from dppo.learner.session.records import PeerKey, Send
from dppo.protocol.codec import encode, enveloped
from dppo.relay.actions import Action, Disconnect, Down, Up
from dppo.relay.session import RelaySession


class RelayedNetwork(SimulatedNetwork):
    """A network that may have a relay in it. Its faults are methods as well."""

    def __init__(self, *, is_relayed: bool = False) -> None:
        """is_relayed: all actors come by a relay, which has one connection to the learner."""
        super().__init__(is_relayed=is_relayed)
        self.has_relay = is_relayed
        self.relay = self._new_relay()
        self.relay_notes: list[str] = []
        self.relay_exit: Exit | None = None
        self.rising: deque[Up] = deque()  # from the relay to the learner

    def _new_relay(self) -> RelaySession:
        return RelaySession(relay="relay", release="test", learner="tcp://learner:5555")

    # Frames

    def arrive(self, connection: Connection, header: bytes, blob: bytes | None) -> None:
        if not connection.is_relayed:
            self.hand_to_learner(connection, header, blob)
            return
        if (header, blob) == GONE:
            self._relay_does(self.relay.departed(connection.local))
        else:
            self.relay.look(self.now)
            self._relay_does(self.relay.from_actor(connection.local, header, blob, self.now))
        self.rise()

    def rise(self) -> None:
        """Deliver all that the relay has sent to the learner."""
        while self.rising:
            up = self.rising.popleft()
            if not up.incarnation:
                self.hand_own_to_learner(PeerKey(self.uplink), up.header)
            elif up.incarnation in self.processes:
                carried = Connection(self.uplink, up.incarnation, local=b"any")
                self.hand_to_learner(carried, up.header, None if up.blob is None else bytes(up.blob))

    @abstractmethod
    def hand_own_to_learner(self, key: PeerKey, header: bytes) -> None:
        """Deliver a message of the relay itself."""

    def sink(self, send: Send) -> bool:
        """Hand a message of the learner to the relay. False where it is not for one, or its connection has ended."""
        if send.peer.connection != self.uplink:
            return False
        frame = enveloped(encode(send.message), send.peer.incarnation)
        self._relay_does(self.relay.from_learner(frame, send.blob, self.now))
        return True

    def _relay_does(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Up():
                    if self.is_up:
                        self.rising.append(action)
                case Down():
                    connection = self.connections[PeerKey(action.connection)]
                    if connection.open:
                        connection.down.append((action.header, None if action.blob is None else bytes(action.blob)))
                    else:
                        self._relay_does(self.relay.departed(action.connection))
                case Disconnect():
                    connection = self.connections[PeerKey(action.connection)]
                    if connection.open:
                        self.cut(self.processes[connection.incarnation], lose_up=True, noticed=True)
                case Note():
                    self.relay_notes.append(action.text)
                case Reconnect():
                    self.cut_uplink()
                case Exit():
                    self.relay_exit = action

    # Faults, and time

    def tick_relay(self) -> None:
        if self.has_relay:
            self._relay_does(self.relay.tick(self.now))
            self.rise()

    def cut_uplink(self) -> None:
        """Lose the relay's connection to the learner, with all that was on it, and make the next one."""
        lost = self.lose_uplink()
        self.unreachable(lost)
        self.connect_relay()

    def lose_uplink(self) -> bytes:
        lost = self.uplink
        self.rising.clear()
        self.relay.lost()
        self.relays += 1
        for connection in self.connections.values():
            if connection.is_relayed and connection.open:
                connection.id = self.uplink
        return lost

    def connect_relay(self) -> None:
        if self.has_relay and self.is_up:
            self._relay_does(self.relay.connected(self.now))
            self.rise()

    def cut_relay(self, *, lose_up: bool) -> None:
        """Kill the relay, with all that was on its way down to any actor, and start the next one."""
        for connection in [] if lose_up else list(self.connections.values()):
            self.deliver_up(connection)
        for process in self.processes.values():
            self.cut(process, lose_up=True, noticed=False)
        lost = self.lose_uplink()
        self.relay = self._new_relay()
        self.unreachable(lost)
        self.connect_relay()

    @abstractmethod
    def unreachable(self, connection: bytes) -> None:
        """Let the learner's transport notice that a connection is gone."""
