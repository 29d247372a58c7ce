"""The account of one incarnation: where each of its steps is. Pure bookkeeping."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from dppo.protocol.messages import Tally

DropReason = Literal[
    "stop_partial",  # thrown away by its actor at STOP (`on_stop=drop`)
    "stale",  # made under a policy that is no longer the current one
    "invalid",  # not what the spec says, or not finite
    "learner_crash",  # accepted by a learner that died before it trained on it
    "actor_lost",  # sealed by an actor that died before it could deliver
    "shutdown",  # undelivered or untrained when the run was ended
    "unfinished",  # of a share that its actor did not finish, where a batch holds whole shares only
]

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

    def keep_pending(self, kept: Counter[int]) -> None:
        """Keep these accepted steps, by number of their batch; the others died with their learner."""
        self.dropped["learner_crash"] += self.pending - kept.total()
        self.waiting = Counter(kept)

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


def account_state(account: Account) -> dict[str, Any]:
    """Return plain data for JSON."""
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


def account_from(state: dict[str, Any]) -> Account:
    """Return the account that `account_state` described; which batches its pending steps are of is not known."""
    fields = {key: value for key, value in state.items() if key not in ("in_flight", "pending", "dropped", "born")}
    waiting = Counter({OF_ANOTHER_START: state["pending"]} if state["pending"] else {})
    return Account(**fields, waiting=waiting, dropped=Counter(state["dropped"]))
