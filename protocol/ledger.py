"""The account of every environment step: sealed = trained + pending + dropped[reason] + in flight, per incarnation.

Pure bookkeeping. A step is sealed when its actor cut the segment it is in; from then on it is in exactly one place.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from dppo.protocol.account import Account, DropReason, account_from, account_state
from dppo.protocol.unaccounted import Unaccounted

MAX_AWAY = 1024  # accounts that are kept open for actors that have gone without a word
MAX_ENDED = 4096  # remembered incarnations that may not come back


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

    def keep_pending(self, kept: Mapping[bytes, Counter[int]]) -> None:
        """Number the pending steps of a saved ledger, which a checkpoint keeps; drop the others.

        kept: steps by incarnation and number of their batch. Raises ValueError where there are not so many.
        """
        pending = {key: account.pending for key, account in self.accounts.items()}
        for key, steps in kept.items():
            if steps.total() > pending.get(key, 0):
                raise ValueError(f"{steps.total()} steps are kept where {pending.get(key, 0)} are pending")
        for key, account in self.accounts.items():
            account.keep_pending(kept.get(key, Counter()))
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
            "total": account_state(self.total()),
            "closed": account_state(self.closed),
            "unaccounted": {"least": self.unaccounted.least, "most": self.unaccounted.most},
            "closed_incarnations": self.closed_incarnations,
            "ended": [key.hex() for key in self.ended],
            "accounts": {key.hex(): account_state(account) for key, account in self.accounts.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Ledger":
        """The ledger that `to_state` described."""
        ledger = cls()
        ledger.closed = account_from(state["closed"])
        ledger.closed_incarnations = state["closed_incarnations"]
        ledger.unaccounted = Unaccounted(**state.get("unaccounted", {}))
        ledger.ended = {bytes.fromhex(key): None for key in state["ended"]}
        ledger.accounts = {bytes.fromhex(key): account_from(value) for key, value in state["accounts"].items()}
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
