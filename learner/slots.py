"""Which environments are which: hands out slots (logical environments) to actors by name.

A slot keeps its number when its actor is replaced, and every new holder gets a higher `life`, so that no random stream
is ever used twice. Pure bookkeeping.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slots:
    """A contiguous range of slots in the hands of one incarnation."""

    first: int
    envs: int
    life: int


class SlotTable:
    """All slots ever handed out."""

    def __init__(self) -> None:
        self._by_name: dict[str, Slots] = {}
        self._holders: dict[str, bytes] = {}
        self._lives: list[int] = []  # by slot: how often it was handed out
        self._first_life = 0  # of slots that were never handed out

    def assign(self, name: str, incarnation: bytes, envs: int, in_use: set[str]) -> Slots:
        """The slots of this incarnation: the ones it has, else those of its name, else free ones, else new ones.

        in_use: names whose slots must not be taken over.
        """
        known = self._by_name.get(name)
        if known is not None and known.envs == envs:
            if self._holders[name] == incarnation:
                return known
            return self._hand_out(name, incarnation, known.first, envs)
        self._by_name.pop(name, None)
        gap = self._gap(envs)
        if gap is not None:
            return self._hand_out(name, incarnation, gap, envs)
        for other, slots in sorted(self._by_name.items(), key=lambda item: item[1].first):
            if other not in in_use and slots.envs == envs:
                del self._by_name[other], self._holders[other]
                return self._hand_out(name, incarnation, slots.first, envs)
        return self._hand_out(name, incarnation, len(self._lives), envs)

    def _gap(self, envs: int) -> int | None:
        """First of that many neighbouring slots that were once handed out and that no name holds (after a restart)."""
        first = 0
        for held in sorted(self._by_name.values(), key=lambda slots: slots.first):
            if held.first - first >= envs:
                return first
            first = max(first, held.first + held.envs)
        return first if len(self._lives) - first >= envs else None

    def _hand_out(self, name: str, incarnation: bytes, first: int, envs: int) -> Slots:
        self._lives.extend([self._first_life] * (first + envs - len(self._lives)))
        life = max(self._lives[first : first + envs])
        self._lives[first : first + envs] = [life + 1] * envs
        self._by_name[name] = Slots(first, envs, life)
        self._holders[name] = incarnation
        return self._by_name[name]

    def to_state(self) -> dict[str, Any]:
        """Plain data for JSON. Only the lives matter after a restart; names are assigned again."""
        return {"lives": list(self._lives), "first_life": self._first_life}

    @classmethod
    def from_state(cls, state: dict[str, Any], skip_lives: int = 0) -> "SlotTable":
        """The table that `to_state` described, with nobody holding a slot.

        skip_lives: added to every life, for what a crashed learner handed out after its last checkpoint. Also to those
        of slots that this state does not know: the crashed learner may have been the first to hand them out.
        """
        table = cls()
        table._first_life = state.get("first_life", 0) + skip_lives
        table._lives = [life + skip_lives for life in state["lives"]]
        return table
