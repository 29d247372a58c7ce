"""To whom an actor's name belongs: to the token that its owner came by, and to one process at a time. Pure.

A HELLO for a name that another process has may be a dead process's, delayed, or a living successor's. No clock of
another host decides that: the newcomer is given a number and must say HELLO again with it, which only a living process
can. An owner is known for as long as its account is open, OWNED_SECONDS at most while it is away.
"""

from dppo.learner.session.admission import of_another_token, to_be_proven
from dppo.protocol.account import Account
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Hello, Reject

MAX_CHALLENGES = 4096
OWNED_SECONDS = 3600.0


class Names:
    """The names of one run's actors."""

    def __init__(self, ledger: Ledger, start: int) -> None:
        """start: tells this start's numbers from those of other starts."""
        self._ledger = ledger
        self._lives: dict[str, set[bytes]] = {}  # by actor: incarnations whose account may be open
        for incarnation, account in ledger.accounts.items():
            self._lives.setdefault(account.actor, set()).add(incarnation)
        self._challenges: dict[bytes, int] = {}  # by incarnation
        self._next = (start % 2**32) * 2**20 + 1

    def refusal(self, hello: Hello, token: str) -> Reject | None:
        """Return why this process may not have its name, None where it may. token: by which it came."""
        others = self._others(hello)
        own = self._ledger.accounts.get(hello.incarnation)
        known = [*others.values(), *([own] if own is not None else [])]
        owners = [account for account in known if account.token and owner(account.token) != owner(token)]
        if owners:  # one that has delivered nothing owns no name for longer than it is connected
            return of_another_token(hello.actor, for_good=any(account.watermark for account in owners))
        if not others or (hello.answer and hello.answer == self._challenges.get(hello.incarnation)):
            self._challenges.pop(hello.incarnation, None)
            return None
        challenge = self._challenges.setdefault(hello.incarnation, self._next)
        self._next += challenge == self._next
        while len(self._challenges) > MAX_CHALLENGES:
            del self._challenges[next(iter(self._challenges))]
        return to_be_proven(hello.actor, challenge)

    def take(self, hello: Hello) -> None:
        """The process has its name from now on: close the accounts of those before it."""
        for incarnation in self._others(hello):
            self._ledger.close(incarnation, "actor_lost")
        self._lives[hello.actor] = {hello.incarnation}

    def free(self, now: float, absent_since: dict[bytes, float]) -> None:
        """Forget owners that have been away for long, and names of which no account is open."""
        for incarnation, since in absent_since.items():
            account = self._ledger.accounts.get(incarnation)
            if account is not None and now - since >= OWNED_SECONDS and not account.pending:
                account.token = ""
        for name in [name for name, lives in self._lives.items() if not lives & self._ledger.accounts.keys()]:
            del self._lives[name]

    def __contains__(self, name: str) -> bool:
        return name in self._lives

    def _others(self, hello: Hello) -> dict[bytes, Account]:
        """Open accounts of that name, of other processes."""
        found = {key: self._ledger.accounts.get(key) for key in self._lives.get(hello.actor, ())}
        return {
            key: account
            for key, account in found.items()
            if account is not None and not account.over and key != hello.incarnation
        }


def owner(token: str) -> str:
    """The token's name: rotation gives it another id."""
    return token.partition(".")[0]
