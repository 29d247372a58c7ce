"""Histories that actors have acted for: terms of this run, and of others that had the same directory once.

A directory that was put back to a backup, or copied while it ran, goes on as another history under the same run id.
Pure.
"""

from dppo.learner.session.records import Action, Note
from dppo.protocol.messages import Hello

MAX_NOTED = 4096


class Histories:
    """The terms of this run's starts, and the actors that came from elsewhere."""

    def __init__(self, term: int, former_terms: frozenset[int]) -> None:
        self._known = former_terms | {0, term}  # 0: no policy held yet
        self._noted: dict[bytes, None] = {}  # incarnations

    def joined(self, hello: Hello) -> list[Action]:
        """A line about an actor that holds a policy of another history, once."""
        if hello.term in self._known or hello.incarnation in self._noted:
            return []
        self._noted[hello.incarnation] = None
        while len(self._noted) > MAX_NOTED:
            del self._noted[next(iter(self._noted))]
        return [
            Note(
                f"{hello.actor} acted for another history of this run (its directory was put back to a backup, or "
                "copied): what it made there is dropped"
            )
        ]

    def why_stale(self, term: int) -> str:
        """Return why a rollout that was made under a policy of that term is of no use."""
        return "made under an older policy" if term in self._known else "made in another history of this run"
