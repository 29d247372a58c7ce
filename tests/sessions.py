"""One learner's session and simulated actors on a network in memory, with every fault that a real one has, and the
books that an onlooker who sees everything would keep.

Actors are the real driver and session over simulated environments, in which every step has a number of its own that is
also its observation: so the books know of each step under which policy it was sampled, where it went and whether it was
trained on. The books never read the ledger; `check` compares the two. All bytes go through the codec. Time is a number.
"""

import copy
import itertools
import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np

from dppo.actor.driver import ActorDriver
from dppo.actor.session.actions import Exit
from dppo.actor.session.session import ActorSession
from dppo.actor.session.states import State
from dppo.learner.ppo.batch import Received
from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Action, Kick, Note, Send, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.storage.journal_records import RECORD_BYTES, Entry, unpack
from dppo.learner.storage.journal_replay import holes_between, replay
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.errors import ProtocolError
from dppo.protocol.ledger import Ledger, imbalance
from dppo.protocol.messages import (
    Ack,
    Bye,
    EnvSettings,
    FromActor,
    Hello,
    Nack,
    Ping,
    Rollout,
    Stopped,
    Tally,
    Welcome,
    Who,
)
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Leaf, Spec

RUN_ID = "run-1"
ENVS = 2
LEASE_SECONDS = 5.0
GRACE_SECONDS = 1.0
ROUND_SECONDS = 0.05
DAMAGED = b"\xff"  # every byte of such a rollout
SPEC = Spec(
    observation=(Leaf("observation", "<i8", (), "box"),), action=(Leaf("action", "<i8", (), "discrete", categories=4),)
)
SETTINGS = Settings(
    run_id=RUN_ID,
    term=0,
    env=EnvSettings("Fake-v0"),
    envs_per_actor=ENVS,
    batch_steps=40,
    segment_steps=0,
    seed=1,
    on_stop="keep",
    lease_seconds=LEASE_SECONDS,
    stop_grace_seconds=GRACE_SECONDS,
)

Incarnation = bytes
Identity = int  # of one step of one environment
Sampled = tuple[int, int]  # term and version of the policy that a step was sampled with


@dataclass
class Connection:
    """Two first-in-first-out channels between one actor and the learner."""

    id: bytes
    incarnation: Incarnation
    up: deque[tuple[bytes, bytes | None]] = field(default_factory=deque)
    down: deque[tuple[bytes, bytes | None]] = field(default_factory=deque)
    open: bool = True  # at the actor's end
    noticed: bool = False  # the learner's transport knows that it is gone
    delivered: list[tuple[bytes, bytes | None]] = field(default_factory=list)  # to the learner


class FakeEnvironments:
    """Has a spec and nothing to step."""

    description = "simulated"

    def __init__(self, envs: int, spec: Spec = SPEC) -> None:
        self.envs = envs
        self.spec = spec

    def given(self, column: int) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing to close."""


class FakePolicy:
    """The graph's bytes are the term and the version."""

    def __init__(self, graph: bytes) -> None:
        term, version = graph.split()
        self.sampled: Sampled = (int(term), int(version))


class FakeCollector:
    """A collector whose observations are the steps' own numbers. Some rows are resets, some end an episode."""

    def __init__(self, world: "Simulation", envs: int, slots: Sequence[tuple[int, int]]) -> None:
        assert not world.streams & set(slots), f"a random stream is used twice: {slots}"
        world.streams.update(slots)
        self.env_seconds = self.policy_seconds = 0.0
        self._world = world
        self._envs = envs
        self._policy: FakePolicy | None = None
        self._observations: list[list[Identity]] = []
        self._valid: list[list[bool]] = []
        self._ends: list[bool] = []  # the first column's episode
        self._stepped = 0

    @property
    def rows(self) -> int:
        return len(self._valid)

    @property
    def steps(self) -> int:
        """As the collector counts them; else resets count too, so that segments have a fixed number of rows."""
        return sum(map(sum, self._valid)) if self._world.cuts_by_steps else self.rows * self._envs

    @property
    def envs(self) -> int:
        return self._envs

    @property
    def ended_episode(self) -> bool:
        return bool(self._ends) and self._ends[-1]

    def load(self, policy: FakePolicy, rows: int) -> None:
        assert not self.rows, "an open segment would have two policies"
        self._policy = policy

    def step(self) -> None:
        assert self._policy is not None
        self._stepped += 1
        valid = [True] + [self._stepped % 5 != 4] * (self._envs - 1)
        numbers = [next(self._world.numbers) for _ in range(self._envs)]
        for number, is_step in zip(numbers, valid, strict=True):
            if is_step:
                self._world.sampled[number] = self._policy.sampled
        self._observations.append(numbers)
        self._valid.append(valid)
        self._ends.append(self._stepped % 9 == 5)

    def cut(self, *, keep_resets: bool = False) -> Segment | None:
        if not self.rows:
            return None
        T, E = self.rows, self._envs
        padding = {leaf.name: leaf for leaf in self._world.spec.observation if leaf.name != "observation"}
        segment = Segment(
            observations={"observation": np.array([*self._observations, [-1] * E], np.int64)}
            | {name: np.zeros((T + 1, E, *leaf.shape), leaf.dtype) for name, leaf in padding.items()},
            actions={"action": np.zeros((T, E), np.int64)},
            masks={},
            states={},
            behaviour_log_probs=np.zeros((T, E), np.float32),
            rewards=np.zeros((T, E), np.float32),
            terminated=np.array(self._ends)[:, None] & (np.arange(E) == 0),
            truncated=np.zeros((T, E), bool),
            valid=np.array(self._valid),
            final_observations={"observation": np.zeros(0, np.int64)}
            | {name: np.zeros((0, *leaf.shape), leaf.dtype) for name, leaf in padding.items()},
            episode_returns=np.zeros(0, np.float32),
            episode_lengths=np.zeros(0, np.int32),
            episode_columns=np.zeros(0, np.int32),
            episode_successes=np.zeros(0, np.float32),
        )
        self._observations, self._valid, self._ends = [], [], []
        return segment

    def discard(self) -> int:
        segment = self.cut()
        if segment is None:
            return 0
        self._world.acting.dropped += numbers_of(segment)
        return segment.steps


class WatchedSession(ActorSession):
    """The actor's session; tells the onlooker what it seals."""

    process: "Process"

    def seal(self, segment: Segment) -> list[Any]:
        self.process.shipped.append(numbers_of(segment))
        return super().seal(segment)


@dataclass
class Process:
    """One life of one actor."""

    name: str
    incarnation: Incarnation
    session: WatchedSession
    driver: ActorDriver
    connection: Connection | None = None
    alive: bool = True
    notes: list[str] = field(default_factory=list)
    shipped: list[list[Identity]] = field(default_factory=list)  # by sequence number, from 1
    dropped: list[Identity] = field(default_factory=list)  # cut and thrown away at a stop, in order

    @property
    def exit(self) -> Exit | None:
        return self.driver.exit

    @property
    def sealed_steps(self) -> int:
        return sum(map(len, self.shipped)) + len(self.dropped)

    def shipped_steps(self, upto: int) -> int:
        return sum(map(len, self.shipped[:upto]))


@dataclass(frozen=True)
class Disposal:
    """What an entry of the journal stands for, as the onlooker saw it."""

    incarnation: Incarnation
    upto: int  # the watermark from here on
    place: str  # of the newest rollout, for a learner that knows only the journal
    told_sealed: int
    told_dropped: int


@dataclass
class Books:
    """What the learner has been told, and where every step is. A crash takes it back to those of a checkpoint."""

    watermark: dict[Incarnation, int] = field(default_factory=dict)
    told_sealed: dict[Incarnation, int] = field(default_factory=dict)
    told_dropped: dict[Incarnation, int] = field(default_factory=dict)
    place: dict[Identity, str] = field(default_factory=dict)

    def put(self, numbers: Sequence[Identity], place: str, *, from_: str | None = None) -> None:
        for number in numbers:
            assert self.place.get(number) == from_, f"step {number} goes from {self.place.get(number)} to {place}"
            self.place[number] = place


class Simulation:
    """The world. Faults are methods; nothing happens by itself."""

    def __init__(self, **settings: Any) -> None:
        """settings: what differs from the plain ones."""
        self.now = 100.0
        self.cuts_by_steps = False
        self.has_bad_rollouts = False  # that are refused, on purpose
        self.spec = SPEC
        self.settings = replace(SETTINGS, **settings)
        self.term = 0
        self.former_terms: set[int] = set()  # that the run's directory remembers
        self.version = 0
        self.updates = 0
        self.numbers = itertools.count()
        self.sampled: dict[Identity, Sampled] = {}
        self.streams: set[tuple[int, int]] = set()
        self.ever_trained: set[Identity] = set()
        self.books = Books()
        self.processes: dict[Incarnation, Process] = {}
        self.connections: dict[bytes, Connection] = {}
        self.checkpoints: list[tuple[str, Books]] = []
        self.notes: list[str] = []
        self.kicked: list[bytes] = []
        self.sent: list[Send] = []  # by this learner
        self.learner: LearnerSession | None = None
        self.journal: list[bytes] = []  # a file for every learner that was
        self.journal_end = (0, 0)  # number of the next record, steps in all before it
        self.disposals: dict[int, Disposal | None] = {}  # by number of the record; None: a version published
        self.is_torn = False  # a part of the journal has been lost
        self.versions: list[int] = []  # published, by any learner
        self.handed: list[Received] = []  # to the trainer, when the batch was full and all had stopped
        self.supervised: tuple[str, ...] = ()
        self.acting: Process
        self._watermarks: dict[Incarnation, int] = {}
        self._patch = mock.patch.multiple(
            "dppo.actor.driver",
            make_environments=lambda env, envs, *_, **__: FakeEnvironments(envs, self.spec),
            Collector=self._collector,
            PolicyRunner=FakePolicy,
        )
        self._patch.start()
        self.checkpoints.append((json.dumps(_state(Ledger(), 0, (0, 0))), Books()))
        self.start_learner()

    def close(self) -> None:
        self._patch.stop()

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _collector(
        self, environments: FakeEnvironments, *, seed: int, first_slot: int, life: int, **_: Any
    ) -> FakeCollector:
        slots = [(slot, life) for slot in range(first_slot, first_slot + environments.envs)]
        return FakeCollector(self, environments.envs, slots)

    # The learner

    def start_learner(self, checkpoint: int = -1, *, torn_bytes: int = 0) -> None:
        """From that checkpoint and the journal behind it, as learner/storage/checkpointer.py does it.

        torn_bytes: the end of the newest file that a power failure took.
        """
        assert self.learner is None
        if torn_bytes and self.journal:
            self.journal[-1] = self.journal[-1][:-torn_bytes]
            self._journal_is_torn()
        text, books = self.checkpoints[checkpoint]
        state = json.loads(text)
        self.term += 1
        ledger = Ledger.from_state(state["ledger"])
        ledger.drop_pending("learner_crash")
        number, steps = state["journal"]
        behind = [record for content in self.journal for record in unpack(content) if record.number >= number]
        holes = holes_between(number, steps, behind, self.journal_end)
        replayed = replay(ledger, [record.entry for record in behind], holes)
        self.version = max(state["version"], replayed.version)
        slots = SlotTable(self.term)
        settings = replace(self.settings, term=self.term, former_terms=frozenset(self.former_terms))
        self.learner = LearnerSession(settings, ledger, slots)
        self.former_terms.add(self.term)
        self.sent = []
        self.books = copy.deepcopy(books)
        pending = [number for number, place in self.books.place.items() if place == "pending"]
        self.books.put(pending, "learner_crash", from_="pending")
        for record in behind:
            disposal = self.disposals[record.number]
            if disposal is not None and disposal.incarnation not in ledger.ended:  # the checkpoint has its last word
                self._book_disposal(disposal)
        self.journal.append(b"")
        self._watermarks = {}

    def damage_journal(self, which: int, records: int) -> None:
        """Make so many records unreadable, from one on that may be in any file."""
        places = [
            (file, at)
            for file, content in enumerate(self.journal)
            for at in range(0, len(content) - RECORD_BYTES + 1, RECORD_BYTES)
        ]
        first = which % len(places) if places else 0
        for file, at in places[first : first + records]:
            content = self.journal[file]
            self.journal[file] = content[:at] + bytes(RECORD_BYTES) + content[at + RECORD_BYTES :]
            self._journal_is_torn()

    def _journal_is_torn(self) -> None:
        self.is_torn = True
        self.versions = []  # which was the newest may be lost as well

    def crash_learner(self) -> None:
        """SIGKILL: everything in memory and in flight is gone."""
        self.learner = None
        for connection in self.connections.values():
            connection.up.clear()
            connection.down.clear()
            connection.open = False
            connection.noticed = True
        for process in self.processes.values():
            process.connection = None

    def leave_learner(self) -> None:
        """SIGTERM to a learner whose run is not over: all stop, it writes a checkpoint and is gone."""
        assert self.learner is not None
        pending = [number for number, place in self.books.place.items() if place == "pending"]
        self.books.put(pending, "shutdown", from_="pending")
        self._do(self.learner.leave(self.now))
        for _ in range(200):
            if self.learner.phase is Phase.STOPPED:
                break
            self.exchange()
            self.pass_time(ROUND_SECONDS)
        assert self.learner.phase is Phase.STOPPED
        self.learner.close_accounts()
        self.check()
        self.checkpoint()
        self.crash_learner()

    def checkpoint(self) -> None:
        """The state that learner/storage/checkpointer.py keeps."""
        assert self.learner is not None
        state = _state(self.learner.ledger, self.version, self.journal_end)
        self.checkpoints.append((json.dumps(state), copy.deepcopy(self.books)))

    def train(self) -> None:
        """The trainer's turn: the first policy, or an update on a full batch and the policy that follows."""
        learner = self.learner
        if learner is None or learner.phase not in (Phase.WAITING, Phase.UPDATING) or learner.spec is None:
            return
        if learner.phase is Phase.UPDATING:
            self._update(learner)
        self.version += 1
        assert not self.versions or self.version > self.versions[-1], "versions only rise"
        self.versions.append(self.version)
        self._do(learner.publish(self.version, b"%d %d" % (self.term, self.version), self.now))

    def _update(self, learner: LearnerSession) -> None:
        for received in self.handed:
            numbers = numbers_of(received.segment)
            assert not self.ever_trained & set(numbers), "a step is trained on twice"
            for number in numbers:
                assert self.sampled[number] == (self.term, self.version), f"{number} is trained on off policy"
            self.ever_trained.update(numbers)
            self.books.put(numbers, "trained", from_="pending")
        assert "pending" not in self.books.place.values(), "the batch misses accepted steps"
        self.updates += 1

    def tick_learner(self) -> None:
        if self.learner is not None:
            self._do(self.learner.tick(self.now))

    def finish(self) -> None:
        """The run is over."""
        assert self.learner is not None
        pending = [number for number, place in self.books.place.items() if place == "pending"]
        self.books.put(pending, "shutdown", from_="pending")
        self._do(self.learner.finish("the end", "shutdown", self.now))

    def _do(self, actions: Sequence[Action]) -> None:
        if self.learner is not None and self.learner.phase is not Phase.UPDATING:
            self.handed = []
        elif self.learner is not None and not self.handed:
            self.handed = list(self.learner.batch)
        for action in actions:
            if isinstance(action, Note):
                self.notes.append(action.text)
                continue
            if isinstance(action, Entry):
                self._journal(action)
                continue
            if isinstance(action, Kick):
                self.kicked.append(action.peer)
                continue
            self.sent.append(action)
            connection = self.connections.get(action.peer)
            if connection is None or connection.noticed:
                assert self.learner is not None
                self._do(self.learner.unreachable(action.peer, self.now))
            elif connection.open:
                connection.down.append((encode(action.message), action.blob))

    # Actors

    def start(self, name: str) -> Process:
        """A new process of that name."""
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
        """As many steps as it may take, up to that many."""
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
        """SIGTERM."""
        self.acting = process
        process.driver.drain()
        self._flush(process)

    def kill(self, process: Process, *, lose_up: bool = True, noticed: bool = True) -> None:
        """SIGKILL, or a host that is gone (not noticed). What the kernel had already taken may still arrive."""
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
        """A connection as ZeroMQ makes it behind the session's back."""
        if self.learner is None or process.connection is not None:
            return
        connection = Connection(b"peer-%d" % len(self.connections), process.incarnation)
        self.connections[connection.id] = connection
        process.connection = connection

    def cut(self, process: Process, *, lose_up: bool, noticed: bool) -> None:
        """The connection is gone with all that was on its way down; what was on its way up may still arrive."""
        connection, process.connection = process.connection, None
        if connection is None:
            return
        connection.open = False
        connection.noticed = noticed
        connection.down.clear()
        if lose_up:
            connection.up.clear()

    def deliver_up(self, connection: Connection, messages: int = 1_000_000) -> None:
        while connection.up and messages:
            messages -= 1
            frames = connection.up.popleft()
            connection.delivered.append(frames)
            self.hand_to_learner(connection, *frames)

    def deliver_down(self, connection: Connection, messages: int = 1_000_000) -> None:
        process = self.acting = self.processes[connection.incarnation]
        while connection.down and messages and process.driver.exit is None:
            messages -= 1
            header, blob = connection.down.popleft()
            process.driver.receive(decode_from_learner(header, blob is not None), blob)
            self._reconnect_if_wanted(process)
            self._flush(process)

    def damage(self, connection: Connection) -> None:
        """The next rollout on its way up gets another content of the same length."""
        for place, (header, blob) in enumerate(connection.up):
            if blob is not None:
                connection.up[place] = (header, DAMAGED * len(blob))
                break

    def hand_to_learner(self, connection: Connection, header: bytes, blob: bytes | None) -> None:
        learner = self.learner
        if learner is None:
            return
        try:
            message = decode_from_actor(header, blob is not None)
        except ProtocolError as error:
            self._do(learner.violation(connection.id, error, self.now))
            return
        peer = learner.roster.heard_of(connection.id)
        known, ready = peer is not None, peer is not None and peer.ready
        batch = len(learner.batch)
        actions = learner.receive(connection.id, message, blob, self.now)
        accepted = len(learner.batch) > batch
        if isinstance(message, Rollout) and known and not ready:  # its newest HELLO had no spaces: an old one, repeated
            assert not accepted
            assert {type(action) for action in actions} <= {Send}
            assert all(isinstance(action.message, Who) for action in actions if isinstance(action, Send))
        else:
            if not self.has_bad_rollouts and (blob is None or not damaged(blob)):
                assert not called_invalid(connection, actions), "a rollout as an actor of ours makes it"
            self._book(connection, message, known=known, accepted=accepted, actions=actions)
        self._do(actions)

    # The books

    def _book(
        self, connection: Connection, message: FromActor, *, known: bool, accepted: bool, actions: Sequence[Action]
    ) -> None:
        learner, books, incarnation = self.learner, self.books, connection.incarnation
        assert learner is not None
        process = self.processes[incarnation]
        sent = [action.message for action in actions if isinstance(action, Send) and action.peer == connection.id]
        match message:
            case Hello():
                if connection.id in learner.peers:
                    self._book_tally(process, message.tally)
                    before = books.watermark.setdefault(incarnation, 0)
                    for numbers in process.shipped[before : message.tally.acked_upto]:
                        books.put(numbers, "learner_crash")
                    books.watermark[incarnation] = max(before, message.tally.acked_upto)
            case Ping() | Stopped() | Bye() if known:
                self._book_tally(process, message.tally)
            case Rollout() if known:
                refused = [m for m in sent if isinstance(m, Nack)]
                if message.seq <= books.watermark[incarnation]:
                    assert not accepted
                    assert not refused
                    assert any(isinstance(m, Ack) and m.upto == books.watermark[incarnation] for m in sent)
                elif message.seq > books.watermark[incarnation] + 1:
                    assert all(isinstance(m, Who) for m in sent)  # asked once in a while
                else:
                    assert accepted + len(refused) == 1
                    place = "pending" if accepted else refused[0].reason.partition(":")[0]
                    books.put(process.shipped[message.seq - 1], place)
                    books.watermark[incarnation] = message.seq
                    if accepted:
                        assert numbers_of(learner.batch[-1].segment) == process.shipped[message.seq - 1]
            case _ if not known:
                assert sent in ([Who()], [])  # asked once in a while

    def _journal(self, entry: Entry) -> None:
        number, steps = self.journal_end
        self.journal_end = number + 1, steps + entry.steps
        self.journal[-1] += entry.pack(number, steps + entry.steps)
        if entry.kind == "published" or entry.incarnation not in self.processes:  # of none, or of a stranger
            self.disposals[number] = None
            return
        incarnation, books = entry.incarnation, self.books
        upto = books.watermark[incarnation]
        newest = self.processes[incarnation].shipped[upto - 1][:1] if upto else []
        place = books.place.get(newest[0], "") if newest else ""
        lost = entry.kind in ("told", "granted") or place in ("", "pending", "trained")
        self.disposals[number] = Disposal(
            incarnation,
            upto,
            "learner_crash" if lost else place,
            self.known_sealed(incarnation),
            books.told_dropped.get(incarnation, 0),
        )

    def _book_disposal(self, disposal: Disposal) -> None:
        books, incarnation = self.books, disposal.incarnation
        process = self.processes[incarnation]
        before = books.watermark.setdefault(incarnation, 0)
        news = process.shipped[before : disposal.upto]
        if news:
            books.put(news.pop(), disposal.place)
        for numbers in news:  # entries about them are gone; this one has the sum of all steps that were disposed of
            books.put(numbers, "learner_crash")
        books.watermark[incarnation] = max(before, disposal.upto)
        self._book_tally(process, Tally(sealed_steps=disposal.told_sealed, dropped_steps=disposal.told_dropped))

    def _book_tally(self, process: Process, tally: Tally) -> None:
        books, incarnation = self.books, process.incarnation
        books.told_sealed[incarnation] = max(books.told_sealed.get(incarnation, 0), tally.sealed_steps)
        before = books.told_dropped.get(incarnation, 0)
        books.put(process.dropped[before : tally.dropped_steps], "stop_partial")
        books.told_dropped[incarnation] = max(before, tally.dropped_steps)

    def known_sealed(self, incarnation: Incarnation) -> int:
        """Steps of which this learner knows that they were sealed."""
        books = self.books
        arrived = self.processes[incarnation].shipped_steps(books.watermark[incarnation])
        return max(books.told_sealed[incarnation], arrived + books.told_dropped[incarnation])

    def check(self) -> None:
        """The ledger says what the books say, for each incarnation and in sum."""
        for process in self.living:
            assert process.session.outbox <= CREDIT + 1, "the outbox is not bounded by credit"
        learner = self.learner
        if learner is None:
            return
        places = Counter(self.books.place.values())
        accounts = learner.ledger.accounts
        for incarnation, account in accounts.items():
            process = self.processes[incarnation]
            upto = self.books.watermark[incarnation]
            assert account.watermark == upto
            assert upto >= self._watermarks.get(incarnation, 0), "a watermark fell"
            self._watermarks[incarnation] = upto
            assert account.sealed == self.known_sealed(incarnation) <= process.sealed_steps
            mine = [number for numbers in process.shipped[:upto] for number in numbers] + process.dropped
            own = Counter(self.books.place.get(number, "nowhere") for number in mine)
            assert account.trained == own["trained"]
            assert account.pending == own["pending"]
            if not account.over:
                assert account.disposed == process.shipped_steps(upto), "steps below the watermark are in no place"
            assert account.in_flight >= 0
        total = learner.ledger.total()
        self._forget_those_that_never_delivered(learner)
        assert total.sealed == sum(map(self.known_sealed, self.books.watermark))
        assert total.trained == places["trained"]
        assert total.pending == places["pending"] == sum(received.segment.steps for received in learner.batch)
        for reason in ("stale", "invalid", "learner_crash", "stop_partial"):
            assert total.dropped[reason] == places[reason], reason
        assert imbalance([learner.ledger.closed, *accounts.values()]) == ""
        if not self.is_torn:
            unheard = sum(process.sealed_steps for process in self.processes.values()) - total.sealed
            assert unheard <= total.unknown, "more steps are in no account than the ledger says there may be"
        assert (
            json.loads(json.dumps(learner.ledger.to_state())) == Ledger.from_state(learner.ledger.to_state()).to_state()
        )

    def _forget_those_that_never_delivered(self, learner: LearnerSession) -> None:
        """Nothing is kept of processes that are gone and of which no rollout ever arrived."""
        for incarnation, upto in self.books.watermark.items():
            if incarnation not in learner.ledger.accounts and incarnation not in learner.ledger.ended:
                assert not upto
                assert not self.books.told_dropped.get(incarnation)
                self.books.told_sealed[incarnation] = 0

    def check_end(self, told_all: Sequence[Process]) -> None:
        """After the run: nothing is in flight, and only dead processes have steps of which nobody ever heard."""
        learner = self.learner
        assert learner is not None
        self.check()
        total = learner.ledger.total()
        places = Counter(self.books.place.values())
        assert total.pending == total.in_flight == 0
        assert total.sealed == total.trained + total.dropped.total()
        for process in told_all:
            assert self.known_sealed(process.incarnation) == process.sealed_steps, f"{process.name} was not heard out"
            assert all(self.books.place[number] == "stop_partial" for number in process.dropped)
        lost = sum(map(self.known_sealed, self.books.watermark)) - sum(places.values())
        assert total.dropped["actor_lost"] + total.dropped["shutdown"] == lost + places["shutdown"]
        for incarnation, process in self.processes.items():
            upto = self.books.watermark.get(incarnation, 0)
            for numbers in process.shipped[:upto]:
                assert all(number in self.books.place for number in numbers)
            for numbers in process.shipped[upto:]:
                assert not any(number in self.books.place for number in numbers)

    # Calm

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.tick_learner()
        for process in self.living:
            self.tick(process)

    def exchange(self) -> None:
        """Deliver all that is on its way, and the answers, until nothing is."""
        while any(c.up or c.down for c in self.connections.values()):
            for connection in list(self.connections.values()):
                self.deliver_up(connection)
                self.deliver_down(connection)

    def calm(self, rounds: int = 1, steps: int = 2) -> None:
        """Everything works."""
        for _ in range(rounds):
            for process in self.living:
                self.attach(process)
                self.step(process, steps)
            self.exchange()
            self.train()
            self.exchange()
            self.pass_time(ROUND_SECONDS)
            self.exchange()

    def pulse(self, steps: int) -> None:
        """A moment in which everyone does a little: much stays on its way, so that the next fault finds something."""
        for process in self.living:
            self.step(process, steps)
        for connection in list(self.connections.values()):
            self.deliver_up(connection, 2)
            self.deliver_down(connection, 2)
        self.train()
        self.pass_time(ROUND_SECONDS)

    def heal(self, names: Sequence[str]) -> None:
        """A learner, nothing old on its way, and from now on someone who replaces missing processes."""
        if self.learner is None:
            self.start_learner()
        for connection in self.connections.values():
            if not connection.open:
                connection.up.clear()
        self.supervised = tuple(names)

    def _supervise(self) -> None:
        for name in self.supervised:
            if not any(process.name == name and process.session.state is not State.DRAINING for process in self.living):
                self.start(name)

    def joined(self, process: Process) -> bool:
        """Whether the learner knows the connection that it has: of an earlier one it need not have noticed the end."""
        assert self.learner is not None
        peer = self.learner.peers.get(process.connection.id) if process.connection is not None else None
        return peer is not None and peer.ready

    def run_until_updates(self, updates: int, rounds: int = 2000) -> None:
        """Calm until so many more updates are done and everyone alive has joined."""
        goal = self.updates + updates
        for _ in range(rounds):
            if self.updates >= goal and self.living and all(map(self.joined, self.living)):
                return
            self._supervise()
            self.calm()
        raise AssertionError(
            f"no progress: {self.updates} of {goal} updates, phase {self.learner and self.learner.phase}, "
            f"states {[(p.name, p.session.state, p.session.policy) for p in self.living]}, notes {self.notes[-5:]}"
        )

    def end(self) -> None:
        """Finish in calm, close the accounts, compare."""
        learner = self.learner
        assert learner is not None
        survivors = self.living
        self.finish()
        for _ in range(200):
            if learner.phase is Phase.STOPPED:
                break
            self.exchange()
            self.pass_time(ROUND_SECONDS)
        assert learner.phase is Phase.STOPPED
        learner.close_accounts()
        self.check_end(survivors)


def damaged(blob: bytes) -> bool:
    return blob == DAMAGED * len(blob)


def called_invalid(connection: Connection, actions: Sequence[Action]) -> list[str]:
    """Reasons for which the learner refused a rollout of that connection other than its age."""
    sent = [action.message for action in actions if isinstance(action, Send) and action.peer == connection.id]
    return [m.reason for m in sent if isinstance(m, Nack) and m.reason.startswith("invalid")]


def welcomes(world: Simulation) -> list[Welcome]:
    """All that this learner sent."""
    return [send.message for send in world.sent if isinstance(send.message, Welcome)]


def numbers_of(segment: Segment) -> list[Identity]:
    """The numbers of the steps in it: rows that are only resets do not count."""
    numbers: list[Identity] = segment.observations["observation"][:-1][segment.valid].tolist()
    return numbers


def _state(ledger: Ledger, version: int, journal: tuple[int, int]) -> dict[str, Any]:
    return {"ledger": ledger.to_state(), "version": version, "journal": journal}


def learner_of(world: Simulation) -> LearnerSession:
    """The one that lives."""
    assert world.learner is not None
    return world.learner


def running(world: Simulation, *names: str) -> list[Process]:
    """Actors of these names under a policy, all channels empty, nobody has stepped."""
    processes = [world.start(name) for name in names]
    world.exchange()
    world.train()
    world.exchange()
    assert all(process.session.state is State.RUNNING for process in processes)
    return processes
