"""Which environments are which: hands out slots (logical environments) to actors by name.

A slot keeps its number when its actor is replaced, and every new holder gets a higher `life`, so that no random stream
is ever used twice. Pure bookkeeping.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

LIVES_PER_START = 2**20  # of one slot, more than a learner can hand out


@dataclass(frozen=True)
class Slots:
    """A contiguous range of slots in the hands of one incarnation."""

    first: int
    envs: int
    life: int


class SlotTable:
    """All slots ever handed out."""

    def __init__(self, start: int = 1) -> None:
        """start: counts the learner's starts. Each has lives of its own, whatever its predecessors saved."""
        self._by_name: dict[str, Slots] = {}
        self._holders: dict[str, bytes] = {}
        self._lives: list[int] = []  # by slot: the next one
        self._first_life = (start - 1) * LIVES_PER_START

    def assign(self, name: str, incarnation: bytes, envs: int, in_use: Container[str]) -> Slots:
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
        free = ((s.first, other) for other, s in self._by_name.items() if s.envs == envs and other not in in_use)
        first, other = min(free, default=(len(self._lives), ""))
        if other:
            del self._by_name[other], self._holders[other]
        return self._hand_out(name, incarnation, first, envs)

    def _gap(self, envs: int) -> int | None:
        """First of that many neighbouring slots that were once handed out and that no name holds."""
        if len(self._lives) - sum(held.envs for held in self._by_name.values()) < envs:
            return None
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
        """Plain data for who reads a checkpoint. A restart needs none of it: names and lives are given out anew."""
        return {"lives": list(self._lives)}
