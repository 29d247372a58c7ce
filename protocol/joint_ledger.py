"""One ledger of a run whose learners are several. Pure."""

from collections.abc import Sequence
from typing import Any

from dppo.protocol.ledger import Ledger


def joint(ledgers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the ledger of several learners of one run together, from those of each; all as `Ledger.to_state` has them.

    An actor is one learner's: no incarnation is in two of them.
    """
    whole = Ledger()
    for part in map(Ledger.from_state, ledgers):
        whole.closed.add(part.closed)
        whole.accounts |= part.accounts
        whole.ended |= part.ended
        whole.closed_incarnations += part.closed_incarnations
        whole.unaccounted.add(least=part.unaccounted.least, most=part.unaccounted.most)
    return whole.to_state()
