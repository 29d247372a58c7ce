"""The books that an onlooker who sees everything would keep, and their comparison with the learner's ledger.

The books never read the ledger.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulated_actor import Identity, Incarnation, Process, numbers_of

from dppo.learner.ppo.batch import Received
from dppo.learner.session.asynchronous import AsynchronousCycle
from dppo.learner.session.records import Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.storage.journal_records import Entry
from dppo.protocol.ledger import Ledger, imbalance
from dppo.protocol.messages import (
    Ack,
    Bye,
    FromActor,
    Hello,
    Message,
    Nack,
    Ping,
    Rollout,
    Stopped,
    Tally,
    Who,
)
from dppo.protocol.rollout import Segment


@dataclass(frozen=True)
class Disposal:
    """Steps that an entry of the journal stands for, as the onlooker saw it."""

    incarnation: Incarnation
    upto: int  # the watermark from here on
    place: str  # of the newest rollout, for a learner that knows only the journal
    told_sealed: int
    told_dropped: int


@dataclass
class Books:
    """Reports to the learner, and the place of every step. A crash takes it back to those of a checkpoint."""

    watermark: dict[Incarnation, int] = field(default_factory=dict)
    told_sealed: dict[Incarnation, int] = field(default_factory=dict)
    told_dropped: dict[Incarnation, int] = field(default_factory=dict)
    place: dict[Identity, str] = field(default_factory=dict)

    def put(self, numbers: Sequence[Identity], place: str, *, from_: str | None = None) -> None:
        for number in numbers:
            assert self.place.get(number) == from_, f"step {number} goes from {self.place.get(number)} to {place}"
            self.place[number] = place

    def drop_pending(self, place: str, *, but: Sequence[Identity] = ()) -> None:
        """The learner drops all that waits for the update, or all but these."""
        pending = {number for number, where in self.place.items() if where == "pending"}
        assert pending >= set(but), "a step is kept that was not pending"
        self.put(sorted(pending - set(but)), place, from_="pending")

    def known_sealed(self, process: Process) -> int:
        """Return how many steps this learner knows to have been sealed."""
        incarnation = process.incarnation
        arrived = process.shipped_steps(self.watermark[incarnation])
        return max(self.told_sealed[incarnation], arrived + self.told_dropped[incarnation])

    def add_tally(self, process: Process, tally: Tally) -> None:
        incarnation = process.incarnation
        self.told_sealed[incarnation] = max(self.told_sealed.get(incarnation, 0), tally.sealed_steps)
        before = self.told_dropped.get(incarnation, 0)
        self.put(process.dropped[before : tally.dropped_steps], "stop_partial")
        self.told_dropped[incarnation] = max(before, tally.dropped_steps)

    def add_message(
        self,
        process: Process,
        message: FromActor,
        *,
        is_known: bool,  # before the message
        is_joined: bool,  # after it
        accepted: Segment | None,
        sent: Sequence[Message],
    ) -> None:
        """Book a message of an actor with the learner's answers to it."""
        incarnation = process.incarnation
        match message:
            case Hello():
                if is_joined:
                    self.add_tally(process, message.tally)
                    before = self.watermark.setdefault(incarnation, 0)
                    for numbers in process.shipped[before : message.tally.acked_upto]:
                        self.put(numbers, "learner_crash")
                    self.watermark[incarnation] = max(before, message.tally.acked_upto)
            case Ping() | Stopped() | Bye() if is_known:
                self.add_tally(process, message.tally)
            case Rollout() if is_known:
                refused = [m for m in sent if isinstance(m, Nack)]
                if message.seq <= self.watermark[incarnation]:
                    assert accepted is None
                    assert not refused
                    assert any(isinstance(m, Ack) and m.upto == self.watermark[incarnation] for m in sent)
                elif message.seq > self.watermark[incarnation] + 1:
                    assert all(isinstance(m, Who) for m in sent)  # asked once in a while
                else:
                    assert (accepted is not None) + len(refused) == 1
                    place = "pending" if accepted is not None else refused[0].reason.partition(":")[0]
                    self.put(process.shipped[message.seq - 1], place)
                    self.watermark[incarnation] = message.seq
                    if accepted is not None:
                        assert numbers_of(accepted) == process.shipped[message.seq - 1]
            case _ if not is_known:
                assert sent in ([Who()], [])  # asked once in a while

    def disposal_of(self, process: Process, entry: Entry) -> Disposal:
        """Return what an entry of the journal stands for at this moment."""
        incarnation = entry.incarnation
        upto = self.watermark[incarnation]
        newest = process.shipped[upto - 1][:1] if upto else []
        place = self.place.get(newest[0], "") if newest else ""
        lost = entry.kind in ("told", "granted") or place in ("", "pending", "trained")
        return Disposal(
            incarnation,
            upto,
            "learner_crash" if lost else place,
            self.known_sealed(process),
            self.told_dropped.get(incarnation, 0),
        )

    def add_disposal(self, process: Process, disposal: Disposal) -> None:
        incarnation = disposal.incarnation
        before = self.watermark.setdefault(incarnation, 0)
        news = process.shipped[before : disposal.upto]
        if news:
            self.put(news.pop(), disposal.place)
        for numbers in news:  # entries about them are gone; this one has the sum of all steps that were disposed of
            self.put(numbers, "learner_crash")
        self.watermark[incarnation] = max(before, disposal.upto)
        self.add_tally(process, Tally(sealed_steps=disposal.told_sealed, dropped_steps=disposal.told_dropped))


class Withdrawn:
    """Steps that the learner has taken out of its batch."""

    def __init__(self) -> None:
        self._number = 0  # of the batch
        self._rollouts: list[Received] = []  # as last seen

    def look(self, learner: LearnerSession, books: Books) -> None:
        """Book what is not in the batch any more."""
        batch, before = learner.cycle.batch, self._rollouts
        kept = {id(received.segment) for received in batch.rollouts}
        if self._number == batch.number:
            for received in before:
                if id(received.segment) not in kept:
                    books.put(numbers_of(received.segment), "unfinished", from_="pending")
        self._number, self._rollouts = batch.number, list(batch.rollouts)


def in_hand(learner: LearnerSession) -> list[Received]:
    """Return all rollouts that were accepted and not trained on."""
    cycle = learner.cycle
    batches = cycle.in_hand if isinstance(cycle, AsynchronousCycle) else [cycle.batch]
    return [received for batch in batches for received in batch.rollouts]


def called_invalid(sent: Sequence[Message]) -> list[str]:
    """Return the reasons for which the learner refused a rollout other than its age."""
    return [m.reason for m in sent if isinstance(m, Nack) and m.reason.startswith("invalid")]


def check_ledger(
    learner: LearnerSession,
    books: Books,
    processes: dict[Incarnation, Process],
    watermarks: dict[Incarnation, int],
    *,
    is_torn: bool,
) -> None:
    """Compare the ledger with the books, for each incarnation and in sum.

    watermarks: those of the comparison before, which are brought up to date.
    """
    places = Counter(books.place.values())
    accounts = learner.ledger.accounts
    for incarnation, account in accounts.items():
        process = processes[incarnation]
        upto = books.watermark[incarnation]
        assert account.watermark == upto
        assert upto >= watermarks.get(incarnation, 0), "a watermark fell"
        watermarks[incarnation] = upto
        assert account.sealed == books.known_sealed(process) <= process.sealed_steps
        mine = [number for numbers in process.shipped[:upto] for number in numbers] + process.dropped
        own = Counter(books.place.get(number, "nowhere") for number in mine)
        assert account.trained == own["trained"]
        assert account.pending == own["pending"]
        if not account.over:
            assert account.disposed == process.shipped_steps(upto), "steps below the watermark are in no place"
        assert account.in_flight >= 0
    total = learner.ledger.total()
    forget_undelivered(learner, books)
    assert total.sealed == sum(books.known_sealed(processes[incarnation]) for incarnation in books.watermark)
    assert total.trained == places["trained"]
    assert total.pending == places["pending"] == sum(received.segment.steps for received in in_hand(learner))
    for reason in ("stale", "invalid", "learner_crash", "stop_partial", "unfinished"):
        assert total.dropped[reason] == places[reason], reason
    assert imbalance([learner.ledger.closed, *accounts.values()]) == ""
    if not is_torn:
        unheard = sum(process.sealed_steps for process in processes.values()) - total.sealed
        assert unheard <= total.unknown, "more steps are in no account than the ledger says there may be"
    assert json.loads(json.dumps(learner.ledger.to_state())) == Ledger.from_state(learner.ledger.to_state()).to_state()


def forget_undelivered(learner: LearnerSession, books: Books) -> None:
    """Drop reports of processes that are gone and never delivered a rollout: the ledger keeps nothing of them."""
    for incarnation, upto in books.watermark.items():
        if incarnation not in learner.ledger.accounts and incarnation not in learner.ledger.ended:
            assert not upto
            assert not books.told_dropped.get(incarnation)
            books.told_sealed[incarnation] = 0


def check_end(
    learner: LearnerSession, books: Books, processes: dict[Incarnation, Process], told_all: Sequence[Process]
) -> None:
    """Compare after the run: nothing is in flight, and only dead processes have steps that were never reported."""
    total = learner.ledger.total()
    places = Counter(books.place.values())
    assert total.pending == total.in_flight == 0
    assert total.sealed == total.trained + total.dropped.total()
    for process in told_all:
        assert books.known_sealed(process) == process.sealed_steps, f"{process.name} was not heard out"
        assert all(books.place[number] == "stop_partial" for number in process.dropped)
    lost = sum(books.known_sealed(processes[incarnation]) for incarnation in books.watermark) - sum(places.values())
    assert total.dropped["actor_lost"] + total.dropped["shutdown"] == lost + places["shutdown"]
    for incarnation, process in processes.items():
        upto = books.watermark.get(incarnation, 0)
        for numbers in process.shipped[:upto]:
            assert all(number in books.place for number in numbers)
        for numbers in process.shipped[upto:]:
            assert not any(number in books.place for number in numbers)


def check_shares(batch: Sequence[Received], settings: Settings) -> None:
    """Compare with what the rule `quota` promises: T rows of every slot, all of one life of it, without a hole."""
    if settings.rule != "quota":
        return
    T = math.ceil(settings.batch_steps / settings.slots)
    rows: dict[int, list[Received]] = {}
    for received in batch:
        for column in range(received.segment.counts.E):
            rows.setdefault(received.first_slot + column, []).append(received)
    assert sorted(rows) == list(range(settings.slots))
    for of_slot in rows.values():
        assert sum(received.segment.counts.T for received in of_slot) == T
        assert len({received.incarnation for received in of_slot}) == 1
        numbers = [received.seq for received in of_slot]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
