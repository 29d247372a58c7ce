"""Simulated actors and the network between them and a learner, in memory, with every fault that a real one has.

All bytes go through the codec. Time is a number.
"""

import itertools
from abc import ABC, abstractmethod
from typing import Any, Self
from unittest import mock

from simulated_actor import (
    SPEC,
    Connection,
    FakeCollector,
    FakeEnvironments,
    FakePolicy,
    Identity,
    Incarnation,
    Process,
    Sampled,
    WatchedSession,
)

from dppo.actor.driver import ActorDriver
from dppo.learner.session.records import PeerKey
from dppo.protocol.codec import decode_from_learner, encode

DAMAGED = b"\xff"  # every byte of such a rollout
GONE = (b"", None)  # the end of an actor's connection to a relay, and on an envelope that of the actor


class SimulatedNetwork(ABC):
    """Actors and their connections. Faults are methods; nothing happens by itself."""

    def __init__(self, *, is_relayed: bool = False) -> None:
        """is_relayed: all actors come by a relay, which has one connection to the learner."""
        self.now = 100.0
        self.is_relayed = is_relayed
        self.relays = 0  # connections that the relay had before this one
        self.cuts_by_steps = False
        self.spec = SPEC
        self.numbers = itertools.count()
        self.sampled: dict[Identity, Sampled] = {}
        self.streams: set[tuple[int, int]] = set()
        self.processes: dict[Incarnation, Process] = {}
        self.connections: dict[PeerKey, Connection] = {}
        self.acting: Process
        self._patch = mock.patch.multiple(
            "dppo.actor.driver",
            make_environments=lambda env, envs, *_, **__: FakeEnvironments(envs, self.spec),
            Collector=self._collector,
            PolicyRunner=FakePolicy,
        )
        self._patch.start()

    @property
    def uplink(self) -> bytes:
        """The relay's connection to the learner."""
        return b"relay-%d" % self.relays

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether there is a learner to connect to."""

    @abstractmethod
    def arrive(self, connection: Connection, header: bytes, blob: bytes | None) -> None:
        """Deliver one message to what is at the other end: the learner, or a relay."""

    @abstractmethod
    def hand_to_learner(self, connection: Connection, header: bytes, blob: bytes | None) -> None:
        """Deliver one message to the learner."""

    def close(self) -> None:
        self._patch.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _collector(
        self, environments: FakeEnvironments, *, seed: int, first_slot: int, life: int, **_: Any
    ) -> FakeCollector:
        slots = [(slot, life) for slot in range(first_slot, first_slot + environments.envs)]
        return FakeCollector(self, environments.envs, slots)

    # Actors

    def start(self, name: str) -> Process:
        """Start a new process of that name."""
        incarnation = len(self.processes).to_bytes(8, "big")
        session = WatchedSession(
            actor=name,
            incarnation=incarnation,
            envs=0,
            release="test",
            learner="tcp://learner:5555",
        )
        notes: list[str] = []
        driver = ActorDriver(session, note=notes.append, clock=lambda: self.now)
        process = Process(name, incarnation, session, driver, notes=notes)
        session.process = process
        self.processes[incarnation] = process
        self.acting = process
        self.attach(process)
        driver.connected()
        self._flush(process)
        return process

    @property
    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.alive]

    def step(self, process: Process, steps: int = 1) -> None:
        """Take as many steps as it may, up to that many."""
        self.acting = process
        for _ in range(steps):
            if process.driver.exit is not None or not process.driver.may_step:
                break
            process.driver.step()
            self._flush(process)

    def tick(self, process: Process) -> None:
        self.acting = process
        if process.driver.exit is None:
            process.driver.tick()
        self._reconnect_if_wanted(process)
        self._flush(process)

    def terminate(self, process: Process) -> None:
        """End the process by SIGTERM."""
        self.acting = process
        process.driver.drain()
        self._flush(process)

    def kill(self, process: Process, *, lose_up: bool = True, noticed: bool = True) -> None:
        """Kill the process, or lose its host (not noticed). What the kernel had already taken may still arrive."""
        process.alive = False
        self.cut(process, lose_up=lose_up, noticed=noticed)

    def _reconnect_if_wanted(self, process: Process) -> None:
        if process.driver.reconnect_wanted:
            self.cut(process, lose_up=False, noticed=True)
            process.driver.outgoing.clear()
            self.attach(process)
            process.driver.connected()

    def _flush(self, process: Process) -> None:
        outgoing, process.driver.outgoing = process.driver.outgoing, []
        for send in outgoing:
            frames = (encode(send.message), None if send.blob is None else bytes(send.blob))
            if process.connection is not None and process.connection.open:
                process.connection.up.append(frames)
        if process.driver.exit is not None and process.alive:
            process.alive = False
            self.cut(process, lose_up=False, noticed=True)

    # The network

    def attach(self, process: Process) -> None:
        """Make a connection, as ZeroMQ does without the session."""
        if not (self.is_up or self.is_relayed) or process.connection is not None:
            return
        number = len(self.connections)
        name, local = (self.uplink, b"local-%d" % number) if self.is_relayed else (b"peer-%d" % number, b"")
        connection = Connection(name, process.incarnation, local=local)
        self.connections[connection.place] = connection
        process.connection = connection

    def cut(self, process: Process, *, lose_up: bool, noticed: bool) -> None:
        """Lose the connection with all that was on its way down; what was on its way up may still arrive."""
        connection, process.connection = process.connection, None
        if connection is None:
            return
        connection.open = False
        connection.noticed = noticed and not connection.is_relayed
        connection.down.clear()
        if lose_up:
            connection.up.clear()
        if noticed and connection.is_relayed:
            connection.up.append(GONE)

    def end_own_connections(self) -> None:
        """End those that actors have to the learner itself, with all that was on its way."""
        for connection in self.connections.values():
            if not connection.is_relayed:
                connection.up.clear()
                connection.down.clear()
                connection.open = False
                connection.noticed = True
        for process in self.processes.values():
            if process.connection is not None and not process.connection.open:
                process.connection = None

    def deliver_up(self, connection: Connection, messages: int = 1_000_000) -> None:
        while connection.up and messages:
            messages -= 1
            frames = connection.up.popleft()
            connection.delivered.append(frames)
            self.arrive(connection, *frames)

    def deliver_down(self, connection: Connection, messages: int = 1_000_000) -> None:
        process = self.acting = self.processes[connection.incarnation]
        while connection.down and messages and process.driver.exit is None:
            messages -= 1
            header, blob = connection.down.popleft()
            process.driver.handle(decode_from_learner(header, blob is not None), blob)
            self._reconnect_if_wanted(process)
            self._flush(process)

    def damage(self, connection: Connection) -> None:
        """Replace the content of the next rollout on its way up by another of the same length."""
        for place, (header, blob) in enumerate(connection.up):
            if blob is not None:
                connection.up[place] = (header, DAMAGED * len(blob))
                break

    def exchange(self) -> None:
        """Deliver all that is on its way, and the answers, until nothing is."""
        while any(c.up or c.down for c in self.connections.values()):
            for connection in list(self.connections.values()):
                self.deliver_up(connection)
                self.deliver_down(connection)


def damaged(blob: bytes) -> bool:
    return blob == DAMAGED * len(blob)
