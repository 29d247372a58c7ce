"""Book from the journal what a dead learner did after its newest checkpoint, holes included. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from dppo.learner.storage.journal_records import Entry, Record
from dppo.protocol.account import DropReason
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Tally


@dataclass(frozen=True)
class Hole:
    """Records that the journal must have had and has not."""

    first: int  # number of the first one
    records: int
    steps: int  # in them

    def __str__(self) -> str:
        numbers = f"record {self.first} is" if self.records == 1 else f"records {self.first} to {self.last} are"
        return f"{numbers} damaged or missing ({self.steps:,} steps)"

    @property
    def last(self) -> int:
        """Number of the last one."""
        return self.first + self.records - 1


def holes_between(number: int, steps_upto: int, records: Sequence[Record], end: tuple[int, int] | None) -> list[Hole]:
    """Return the holes in the records from `number` on, before which there were `steps_upto` steps.

    records: what is there, by rising number. end: number and steps that the next record would have, as the writer noted
    them apart; None where it is not known.
    """
    holes = []
    for record in records:
        before = record.steps_upto - record.entry.steps
        if record.number > number:
            holes.append(Hole(number, record.number - number, max(0, before - steps_upto)))
        number, steps_upto = record.number + 1, record.steps_upto
    if end is not None and end[0] > number:
        holes.append(Hole(number, end[0] - number, max(0, end[1] - steps_upto)))
    return holes


@dataclass
class Replayed:
    """Sums that replayed entries added to a ledger."""

    rollouts: int = 0
    steps: int = 0
    version: int = 0  # the newest policy published
    found: int = 0  # steps of entries that are missing, as later ones show

    def plus(self, other: "Replayed") -> "Replayed":
        """Return the sums of this journal and another learner's."""
        return Replayed(
            self.rollouts + other.rollouts,
            self.steps + other.steps,
            max(self.version, other.version),
            self.found + other.found,
        )


def replay(ledger: Ledger, entries: Iterable[Entry], holes: Sequence[Hole] = ()) -> Replayed:
    """Book what a dead learner did after its newest checkpoint; what it had accepted is lost with it.

    Steps of missing entries are booked as "learner_crash" where a later entry of the same account shows them; the
    rest are in no account (`ledger.unaccounted`), unless they arrived once more.
    """
    replayed = Replayed()
    reasons = get_args(DropReason)
    told_since = arrived_again = 0
    for entry in entries:
        if entry.kind == "published":
            replayed.version = max(replayed.version, entry.seq)
            for account in ledger.accounts.values():
                account.is_idle = False
            continue
        if entry.kind == "noticed" or entry.incarnation in ledger.ended:
            continue  # folded into the checkpoint's total
        account = ledger.open(entry.incarnation, entry.actor)
        account.back()
        if entry.seq > account.watermark or entry.kind in ("told", "granted"):
            found = max(0, entry.disposed - entry.steps - account.disposed)
            account.dropped["learner_crash"] += found
            replayed.found += found
        if entry.seq > account.watermark:
            steps = entry.steps
            if entry.kind == "learner_crash":  # of any number of rollouts; the checkpoint may know some of them
                steps = min(steps, max(0, entry.disposed - account.disposed))
            account.watermark = entry.seq
            account.dropped[entry.kind if entry.kind in reasons else "learner_crash"] += steps
            told_since += steps if entry.kind == "learner_crash" else 0
            arrived_again += steps if entry.kind == "stale" else 0
            replayed.rollouts += 1
            replayed.steps += steps
        # of an account that was forgotten and begun anew, later entries know less than earlier ones
        account.may_hold = 0 if entry.kind == "told" else max(account.may_hold, entry.may_hold)
        account.observe(Tally(sealed_steps=entry.sealed, dropped_steps=entry.dropped))
    most = max(0, sum(hole.steps for hole in holes) - replayed.found - told_since)
    if holes:
        ledger.unaccounted.add(least=max(0, most - arrived_again), most=most)
    return replayed
