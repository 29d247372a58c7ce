"""The account of every environment step: sealed = trained + pending + dropped[reason] + in flight, per incarnation.

Pure bookkeeping. A step is sealed when its actor cut the segment it is in; from then on it is in exactly one place.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dppo.protocol.messages import Tally
from dppo.protocol.unaccounted import Unaccounted

DropReason = Literal[
    "stop_partial",  # thrown away by its actor at STOP (`on_stop=drop`)
    "stale",  # made under a policy that is no longer the current one
    "invalid",  # not what the spec says, or not finite
    "learner_crash",  # accepted by a learner that died before it trained on it
    "actor_lost",  # sealed by an actor that died before it could deliver
    "shutdown",  # undelivered or untrained when the run was ended
    "unfinished",  # of a share that its actor did not finish, where a batch holds whole shares only
]

MAX_AWAY = 1024  # accounts that are kept open for actors that have gone without a word
MAX_ENDED = 4096  # remembered incarnations that may not come back
OF_ANOTHER_START = 0  # number of the batch of steps that were pending in a saved ledger; a learner counts from 1


@dataclass
class Account:
    """One incarnation of one actor."""

    actor: str
    watermark: int = 0  # newest sequence number disposed of
    sealed: int = 0
    trained: int = 0
    waiting: Counter[int] = field(default_factory=Counter)  # steps accepted and not trained, by number of their batch
    dropped: Counter[str] = field(default_factory=Counter)  # by DropReason
    duplicates: int = 0  # rollouts, not steps
    missing: int = 0  # of those dropped as "actor_lost": written off, and in flight again if the actor comes back
    over: bool = False  # never comes back
    env_restarts: int = 0  # environments that its actor made again because they crashed
    away: bool = False  # written off; may come back
    may_hold: int = 0  # most steps that its actor may have sealed and not delivered, by its credit; 0: it sent BYE
    is_idle: bool = False  # it has reported all that it sealed, and seals nothing before it gets another policy
    unknown: int = 0  # of an account that is over or away: most steps sealed beyond those that it reports
    forgotten: int = 0  # steps in its own count that are in no open account: its first one was closed, or it lies
    token: str = ""  # by which its actor came

    @property
    def pending(self) -> int:
        """Steps accepted, waiting for the update of their batch."""
        return self.waiting.total()

    @property
    def in_flight(self) -> int:
        """Steps sealed and neither received nor given up."""
        return self.sealed - self.trained - self.pending - self.dropped.total()

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of its actor ever arrived."""
        return not (self.watermark or self.trained or self.pending or self.dropped.total() - self.missing)

    @property
    def disposed(self) -> int:
        """Steps of rollouts that arrived, or that a learner took along."""
        return self.trained + self.pending + self.dropped.total() - self.dropped["stop_partial"] - self.missing

    @property
    def most_unknown(self) -> int:
        """Most steps that its actor may have sealed beyond those in the account."""
        if self.over or self.away or self.is_idle:
            return self.unknown
        return self.unknown + max(0, self.may_hold - self.in_flight)

    def accept(self, seq: int, steps: int, *, batch: int) -> None:
        """Book a rollout that is in the learner's memory, in the batch of that number."""
        self._dispose(seq)
        self.waiting[batch] += steps
        self._at_least_what_arrived()

    def refuse(self, seq: int, steps: int, reason: DropReason) -> None:
        """The rollout arrived and is thrown away."""
        self._dispose(seq)
        self.dropped[reason] += steps
        self._at_least_what_arrived()

    def observe(self, tally: Tally) -> None:
        """The actor's own count. Counts only rise; an older one that arrives late changes nothing."""
        self.dropped["stop_partial"] = max(self.dropped["stop_partial"], tally.dropped_steps)
        self.sealed = max(self.sealed, tally.sealed_steps)
        self.env_restarts = max(self.env_restarts, tally.env_restarts)
        self._at_least_what_arrived()

    def reconcile(self, tally: Tally) -> int:
        """Book what a dead learner accepted and took along; returns those steps. For HELLO only."""
        self.back()
        self.observe(tally)
        lost = 0
        if tally.acked_upto >= self.watermark:
            lost = max(0, tally.acked_steps - self.disposed)
            self.dropped["learner_crash"] += lost
            self.watermark = tally.acked_upto
            self._at_least_what_arrived()
        return lost

    def back(self) -> None:
        """Take the actor up again: what was written off is in flight."""
        self.dropped["actor_lost"] -= self.missing
        self.missing = self.unknown = 0
        self.away = False

    def train(self, batch: int) -> None:
        """Book the steps of that batch as trained; those of other batches stay pending."""
        self.trained += self.waiting.pop(batch, 0)

    def withdraw(self, steps: int, *, batch: int) -> None:
        """Drop so many of the steps accepted for that batch: they are of a share that is not finished."""
        self.waiting[batch] -= steps
        self.dropped["unfinished"] += steps

    def drop_pending(self, reason: DropReason) -> None:
        """Drop accepted steps of all batches: they will never be trained on."""
        self.dropped[reason] += self.pending
        self.waiting.clear()

    def give_up(self, reason: DropReason) -> None:
        """Drop what is in flight, for that reason: the incarnation delivers no more."""
        self.unknown = self.most_unknown
        self.dropped[reason] += self.in_flight

    def write_off(self) -> None:
        """Write off what is in flight of a silent incarnation, which may come back to the next learner."""
        self.unknown = self.most_unknown
        self.missing += self.in_flight
        self.dropped["actor_lost"] += self.in_flight
        self.away = True

    def add(self, other: "Account") -> None:
        """Add the counts of another one."""
        self.sealed += other.sealed
        self.trained += other.trained
        self.waiting.update(other.waiting)
        self.dropped.update(other.dropped)
        self.duplicates += other.duplicates
        self.env_restarts += other.env_restarts
        self.unknown += other.most_unknown

    def _dispose(self, seq: int) -> None:
        if seq != self.watermark + 1:
            raise ValueError(f"rollout {seq} of {self.actor} after {self.watermark}: sequence numbers must not skip")
        self.watermark = seq

    def _at_least_what_arrived(self) -> None:
        self.sealed = max(self.sealed, self.trained + self.pending + self.dropped.total())


class Ledger:
    """All incarnations of a run. Those that are over for good are folded into one total."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self.closed = Account("closed")
        self.closed_incarnations = 0
        self.unaccounted = Unaccounted()
        self.ended: dict[bytes, None] = {}  # the newest closed incarnations: they are in `closed`, so none may return

    def open(self, incarnation: bytes, actor: str) -> Account:
        """The account of this incarnation, new or known."""
        return self.accounts.setdefault(incarnation, Account(actor))

    def forget(self, incarnation: bytes) -> None:
        """Keep nothing of an actor that is gone and never delivered; what it may have sealed is unknown."""
        account = self.accounts.pop(incarnation)
        self.closed.unknown += account.in_flight + account.most_unknown

    def train(self, batch: int) -> None:
        """Close the batch of that number: an update has consumed it. Others stay pending."""
        for account in self.accounts.values():
            account.train(batch)
        self._fold()

    def withdraw(self, incarnation: bytes, steps: int, *, batch: int) -> None:
        """Drop steps of that incarnation that were accepted for that batch, and not trained on."""
        self.accounts[incarnation].withdraw(steps, batch=batch)
        self._fold()

    def drop_pending(self, reason: DropReason) -> None:
        """Drop everything pending, for that reason."""
        for account in self.accounts.values():
            account.drop_pending(reason)
        self._fold()

    def close(self, incarnation: bytes, reason: DropReason) -> None:
        """The incarnation never comes back: what is in flight is lost for that reason."""
        account = self.accounts[incarnation]
        account.give_up(reason)
        account.over = True
        self.ended[incarnation] = None
        while len(self.ended) > MAX_ENDED:
            del self.ended[next(iter(self.ended))]
        self._fold()

    def write_off(self, incarnation: bytes) -> None:
        """Write off what is in flight of an incarnation that is away, unless it comes back.

        Of those that have been away for longest only MAX_AWAY may still come back: every pid makes an account.
        """
        self.accounts[incarnation].write_off()
        away = [key for key, account in self.accounts.items() if account.away and not account.over]
        for key in away[: max(0, len(away) - MAX_AWAY)]:
            self.close(key, "actor_lost")

    def _fold(self) -> None:
        """Sum up accounts that cannot change any more: a run of weeks must not remember every dead process."""
        done = [key for key, account in self.accounts.items() if account.over and account.pending == 0]
        for key in done:
            account = self.accounts.pop(key)
            self.closed.sealed += account.sealed
            self.closed.trained += account.trained
            self.closed.dropped.update(account.dropped)
            self.closed.duplicates += account.duplicates
            self.closed.env_restarts += account.env_restarts
            self.closed.unknown += account.unknown
        self.closed_incarnations += len(done)

    def total(self) -> Account:
        """The sum over all incarnations."""
        total = Account("total")
        for account in (self.closed, *self.accounts.values()):
            total.add(account)
        return total

    @property
    def env_restarts(self) -> int:
        """Sum over all actors. May be read beside another thread that writes, and is then exact a moment later."""
        return self.closed.env_restarts + sum(account.env_restarts for account in list(self.accounts.values()))

    def to_state(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "total": _account_state(self.total()),
            "closed": _account_state(self.closed),
            "unaccounted": {"least": self.unaccounted.least, "most": self.unaccounted.most},
            "closed_incarnations": self.closed_incarnations,
            "ended": [key.hex() for key in self.ended],
            "accounts": {key.hex(): _account_state(account) for key, account in self.accounts.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Ledger":
        """The ledger that `to_state` described."""
        ledger = cls()
        ledger.closed = _account_from(state["closed"])
        ledger.closed_incarnations = state["closed_incarnations"]
        ledger.unaccounted = Unaccounted(**state.get("unaccounted", {}))
        ledger.ended = {bytes.fromhex(key): None for key in state["ended"]}
        ledger.accounts = {bytes.fromhex(key): _account_from(value) for key, value in state["accounts"].items()}
        return ledger


def imbalance(accounts: Iterable[Account]) -> str:
    """One line that names the first account that does not close; empty if all do."""
    reasons = set(get_args(DropReason))
    for account in accounts:
        if account.in_flight < 0 or account.pending < 0 or account.dropped.keys() - reasons:
            return (
                f"{account.actor}: sealed {account.sealed} is not trained {account.trained} + pending {account.pending}"
                f" + dropped {dict(account.dropped)} + in flight"
            )
    return ""


def _account_state(account: Account) -> dict[str, Any]:
    return {
        "actor": account.actor,
        "watermark": account.watermark,
        "sealed": account.sealed,
        "trained": account.trained,
        "pending": account.pending,
        "in_flight": account.in_flight,
        "dropped": {reason: steps for reason, steps in sorted(account.dropped.items()) if steps},
        "duplicates": account.duplicates,
        "missing": account.missing,
        "may_hold": account.may_hold,
        "is_idle": account.is_idle,
        "unknown": account.unknown,
        "over": account.over,
        "env_restarts": account.env_restarts,
        "away": account.away,
        "forgotten": account.forgotten,
        "token": account.token,
    }


def _account_from(state: dict[str, Any]) -> Account:
    fields = {key: value for key, value in state.items() if key not in ("in_flight", "pending", "dropped", "born")}
    waiting = Counter({OF_ANOTHER_START: state["pending"]} if state["pending"] else {})
    return Account(**fields, waiting=waiting, dropped=Counter(state["dropped"]))
