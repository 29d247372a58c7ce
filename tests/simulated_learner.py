"""A simulated learner: the real session at the end of a simulated network, with its disk and the onlooker's books."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onlooker import Books, Disposal, Withdrawn, called_invalid, check_end, check_ledger, check_shares, in_hand
from simulated_actor import SPEC, Connection, Identity, Incarnation, Process, numbers_of
from simulated_network import GONE, damaged
from simulated_relay import RelayedNetwork
from simulated_settings import ROUND_SECONDS, SETTINGS

from dppo.learner.new_session import new_session
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.packed_rollouts import pack_groups
from dppo.learner.session.asynchronous import in_hand as in_hand_of
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Action, Kick, Note, PeerKey, Send
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.storage.journal_records import RECORD_BYTES, Entry, unpack
from dppo.learner.storage.journal_replay import holes_between, replay
from dppo.learner.storage.kept_batches import unpack_batches
from dppo.protocol.codec import decode_from_actor, encode, enveloped, opened
from dppo.protocol.errors import ProtocolError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Rollout, Who


class SimulatedLearner(RelayedNetwork):
    """A learner and its actors. Faults are methods; nothing happens by itself."""

    def __init__(self, *, is_relayed: bool = False, **settings: Any) -> None:
        """settings: those that differ from SETTINGS."""
        super().__init__(is_relayed=is_relayed)
        self.has_bad_rollouts = False  # that are refused, on purpose
        self.settings = replace(SETTINGS, **settings)
        self.term = 0
        self.former_terms: set[int] = set()  # that the run's directory remembers
        self.version = 0
        self.updates = 0
        self.staleness: list[int] = []  # the most in each batch
        self.ever_trained: set[Identity] = set()
        self.books = Books()
        self.checkpoints: list[tuple[str, bytes, Books]] = []
        self.kept_batches = 0  # by a learner that was killed, and taken over by the next one
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
        self._watermarks: dict[Incarnation, int] = {}
        self._kept: list[Identity] = []  # steps that the checkpoint had in hand
        self.checkpoints.append((json.dumps(_state(Ledger(), 0, (0, 0))), b"", Books()))
        self.start_learner()

    @property
    def is_up(self) -> bool:
        return self.learner is not None

    def start_learner(self, checkpoint: int = -1, *, torn_bytes: int = 0) -> None:
        """Start from that checkpoint and the journal behind it, as learner/storage/checkpointer.py does it.

        torn_bytes: the end of the newest file that a power failure took.
        """
        assert self.learner is None
        if torn_bytes and self.journal:
            self.journal[-1] = self.journal[-1][:-torn_bytes]
            self._journal_is_torn()
        text, in_hand, books = self.checkpoints[checkpoint]
        state = json.loads(text)
        self.term += 1
        ledger = Ledger.from_state(state["ledger"])
        kept = unpack_batches(in_hand, state["version"])
        ledger.keep_pending(kept.waiting)
        number, steps = state["journal"]
        behind = [record for content in self.journal for record in unpack(content) if record.number >= number]
        holes = holes_between(number, steps, behind, self.journal_end)
        replayed = replay(ledger, [record.entry for record in behind], holes)
        self.version = max(state["version"], replayed.version)
        slots = SlotTable(self.term, limit=self.settings.slots)
        settings = replace(self.settings, term=self.term, former_terms=frozenset(self.former_terms))
        self.learner = new_session(settings, ledger, slots, None, kept, None)
        self.kept_batches += len(kept.batches)
        self._kept = [number for batch in kept.batches for of, _ in batch for number in numbers_of(of.segment)]
        self.ever_trained -= set(self._kept)  # with weights that are gone
        self.former_terms.add(self.term)
        self.sent = []
        self._withdrawn = Withdrawn()
        self.books = copy.deepcopy(books)
        self.books.drop_pending("learner_crash", but=self._kept)
        for record in behind:
            disposal = self.disposals[record.number]
            if disposal is not None and disposal.incarnation not in ledger.ended:  # the checkpoint has its last word
                self.books.add_disposal(self.processes[disposal.incarnation], disposal)
        self.journal.append(b"")
        self._watermarks = {}
        self.connect_relay()

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
        """Kill the learner: everything in memory and in flight is lost."""
        self.learner = None
        self.end_own_connections()
        self.lose_uplink()

    def hand_own_to_learner(self, key: PeerKey, header: bytes) -> None:
        if self.learner is not None:
            self._do(self.learner.receive(key, decode_from_actor(header, has_blob=False), None, self.now))

    def unreachable(self, connection: bytes) -> None:
        if self.learner is not None:
            self._do(self.learner.unreachable(connection, self.now))

    def leave_learner(self) -> None:
        """Send SIGTERM in the middle of the run: all stop, the learner writes a checkpoint and ends."""
        assert self.learner is not None
        self.books.drop_pending("shutdown")
        self._do(self.learner.leave(self.now))
        for _ in range(200):
            if self.learner.cycle.phase is Phase.STOPPED:
                break
            self.exchange()
            self.pass_time(ROUND_SECONDS)
        assert self.learner.cycle.phase is Phase.STOPPED
        self.learner.close_accounts()
        self.check()
        self.checkpoint()
        self.crash_learner()

    def checkpoint(self) -> None:
        """Keep the state that learner/storage/checkpointer.py keeps."""
        assert self.learner is not None
        state = _state(self.learner.ledger, self.version, self.journal_end)
        kept = pack_groups(SPEC, in_hand_of(self.learner.cycle))
        self.checkpoints.append((json.dumps(state), kept, copy.deepcopy(self.books)))

    def train(self) -> None:
        """Take the trainer's turn: the first policy, or an update on a full batch and the policy that follows."""
        learner = self.learner
        turn = (Phase.WAITING, Phase.UPDATING)
        if learner is None or learner.cycle.phase not in turn or learner.peer_table.spec is None:
            return
        if learner.cycle.phase is Phase.UPDATING:
            self._update(learner)
        self.version += 1
        assert not self.versions or self.version > self.versions[-1], "versions only rise"
        self.versions.append(self.version)
        self._do(learner.publish(self.version, b"%d %d" % (self.term, self.version), self.now))

    def _update(self, learner: LearnerSession) -> None:
        check_shares(self.handed, self.settings)
        for received in self.handed:
            numbers = numbers_of(received.segment)
            assert not self.ever_trained & set(numbers), "a step is trained on twice"
            for number in numbers:
                term, version = self.sampled[number]
                if number in self._kept:  # of an earlier term: under another number of the same weights
                    term, version = self.term, received.version
                age = self.version - version if term == self.term else -1
                assert 0 <= age <= self.settings.max_staleness, f"{number} is trained on off policy"
            self.ever_trained.update(numbers)
            self.books.put(numbers, "trained", from_="pending")
        self.staleness.append(max((self.version - of.version for of in self.handed), default=0))  # 0: others filled it
        left = "pending" in self.books.place.values()
        assert self.settings.max_staleness or not left, "the batch misses accepted steps"
        self.handed = []
        self.updates += 1

    def tick_learner(self) -> None:
        if self.learner is not None:
            self._do(self.learner.tick(self.now))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.tick_learner()
        self.tick_relay()
        for process in self.living:
            self.tick(process)

    def finish(self) -> None:
        """End the run."""
        assert self.learner is not None
        self.books.drop_pending("shutdown")
        self._do(self.learner.finish("the end", "shutdown", self.now))

    def _do(self, actions: Sequence[Action]) -> None:
        if self.learner is not None:
            self._withdrawn.look(self.learner, self.books)
            is_full = self.learner.cycle.phase is Phase.UPDATING
            self.handed = (self.handed or list(self.learner.cycle.taken.rollouts)) if is_full else []
        for action in actions:
            if isinstance(action, Note):
                self.notes.append(action.text)
                continue
            if isinstance(action, Entry):
                self._journal(action)
                continue
            if isinstance(action, Kick):
                self.kicked.append(action.connection)
                continue
            self.sent.append(action)
            if self.sink(action):
                continue
            if (connection := self.connections.get(action.peer)) is None or connection.noticed:
                assert self.learner is not None
                self._do(self.learner.unreachable(action.peer.connection, self.now))
            elif connection.open:
                connection.down.append((encode(action.message), action.blob))

    def hand_to_learner(self, connection: Connection, header: bytes, blob: bytes | None) -> None:
        learner = self.learner
        if learner is None:
            return
        key = connection.key
        assert opened(enveloped(header, key.incarnation)) == (key.incarnation, header)
        if connection.is_relayed and (header, blob) == GONE:
            self._do(learner.detached(key, self.now))
            return
        try:
            message = decode_from_actor(header, blob is not None)
        except ProtocolError as error:
            self._do(learner.violation(key, error, self.now))
            return
        peer = learner.peer_table.heard_of(key)
        known, ready = peer is not None, peer is not None and peer.ready
        before = {id(received): received for received in in_hand(learner)}
        actions = learner.receive(key, message, blob, self.now)
        accepted = [received.segment for received in in_hand(learner) if id(received) not in before]
        if isinstance(message, Rollout) and known and not ready:  # its newest HELLO had no spaces: an old one, repeated
            assert not accepted
            assert {type(action) for action in actions} <= {Send}
            assert all(isinstance(action.message, Who) for action in actions if isinstance(action, Send))
        else:
            sent = [action.message for action in actions if isinstance(action, Send) and action.peer == key]
            if not self.has_bad_rollouts and (blob is None or not damaged(blob)):
                assert not called_invalid(sent), "a rollout as an actor of ours makes it"
            self.books.add_message(
                self.processes[connection.incarnation],
                message,
                is_known=known,
                is_joined=key in learner.peer_table.peers,
                accepted=accepted[0] if accepted else None,
                sent=sent,
            )
        self._do(actions)

    # The books

    def _journal(self, entry: Entry) -> None:
        number, steps = self.journal_end
        self.journal_end = number + 1, steps + entry.steps
        self.journal[-1] += entry.pack(number, steps + entry.steps)
        if entry.kind == "published" or entry.incarnation not in self.processes:  # of none, or of a stranger
            self.disposals[number] = None
            return
        self.disposals[number] = self.books.disposal_of(self.processes[entry.incarnation], entry)

    def check(self) -> None:
        """Compare the ledger with the books, for each incarnation and in sum."""
        for process in self.living:
            assert len(process.session.sealed) <= self.settings.credit + 1, "the outbox is not bounded by credit"
        if self.learner is not None:
            check_ledger(self.learner, self.books, self.processes, self._watermarks, is_torn=self.is_torn)

    def check_end(self, told_all: Sequence[Process]) -> None:
        """Compare after the run; these processes have reported all that they sealed."""
        assert self.learner is not None
        self.check()
        check_end(self.learner, self.books, self.processes, told_all)


def _state(ledger: Ledger, version: int, journal: tuple[int, int]) -> dict[str, Any]:
    return {"ledger": ledger.to_state(), "version": version, "journal": journal}
