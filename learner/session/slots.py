"""Slots (logical environments), handed out to actors by name.

A slot keeps its number when its actor is replaced, and every new holder gets a higher `life`, so that no random stream
is ever used twice. Pure bookkeeping: ranges, so that what an actor announces costs no memory.
"""

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass

LIVES_PER_START = 2**31  # of one slot, more than a learner can hand out
MAX_GIVEN = 4096  # incarnations that are remembered
MAX_PAST = 1024  # ranges without a name whose lives are remembered one by one


@dataclass(frozen=True)
class Slots:
    """A contiguous range of slots in the hands of one incarnation."""

    first: int
    envs: int
    life: int

    @property
    def end(self) -> int:
        """The first slot behind it."""
        return self.first + self.envs

    def overlap(self, other: "Slots") -> bool:
        """Whether a slot is in both."""
        return self.first < other.end and other.first < self.end


class SlotTable:
    """All slots ever handed out."""

    def __init__(self, start: int = 1, *, limit: int = 0, first: int = 0) -> None:
        """start: counts the learner's starts. Each has lives of its own, whatever its predecessors saved.

        limit: slots that there are, 0: as many as actors bring. first: of them, where other learners have those before.
        """
        self.limit, self.first = limit, first
        self.most = 0  # slots, ever
        self._by_name: dict[str, Slots] = {}
        self._holders: dict[str, bytes] = {}
        self._given: dict[bytes, None] = {}  # the newest incarnations that have got slots
        self._past: deque[Slots] = deque()  # that were handed out, and no name holds
        self._first_life = (start - 1) * LIVES_PER_START  # of slots of which nothing is remembered

    def assign(self, name: str, incarnation: bytes, envs: int, in_use: Container[str]) -> Slots:
        """The slots of this incarnation: the ones it has, else those of its name, else free ones, else new ones.

        in_use: names whose slots must not be taken over.
        """
        known = self._by_name.get(name)
        if known is not None and known.envs == envs:
            if self._holders[name] == incarnation:
                return known
            return self._hand_out(name, incarnation, known.first, envs)
        self._release(name)
        first, end = self._gap(envs)
        if first + envs > end:
            free = ((s.first, other) for other, s in self._by_name.items() if s.envs == envs and other not in in_use)
            taken_over, other = min(free, default=(0, ""))
            if other:
                self._release(other)
                first = taken_over
        return self._hand_out(name, incarnation, first, envs)

    def has_room(self, name: str, envs: int, in_use: Container[str]) -> bool:
        """Whether `assign` stays within the limit. Where it would not, slots of names not in use are taken back."""
        known = self._by_name.get(name)
        if not self.limit or (known is not None and known.envs == envs):
            return True
        if self._gap(envs, besides=name)[0] + envs > self.limit:
            self.keep_only(lambda other: other == name or other in in_use)
        return self._gap(envs, besides=name)[0] + envs <= self.limit

    def were_taken_from(self, name: str, incarnation: bytes) -> bool:
        """Whether this incarnation had slots that it has no more: others go on with them."""
        return incarnation in self._given and self._holders.get(name) != incarnation

    def keep_only(self, is_known: Callable[[str], bool]) -> None:
        """Take back the slots of all other names."""
        for name in [name for name in self._by_name if not is_known(name)]:
            self._release(name)

    def _release(self, name: str) -> None:
        slots = self._by_name.pop(name, None)
        self._holders.pop(name, None)
        if slots is not None:
            self._remember(slots)

    def _remember(self, slots: Slots) -> None:
        self._past.append(slots)
        if len(self._past) > MAX_PAST:
            self._first_life = max(self._first_life, self._past.popleft().life + 1)

    def _gap(self, envs: int, besides: str = "") -> tuple[int, int]:
        """First of that many neighbouring slots that no name holds, and the end of those ever handed out.

        besides: a name whose slots do not count.
        """
        first = self.first
        of_others = (slots for name, slots in self._by_name.items() if name != besides)
        for held in sorted(of_others, key=lambda slots: slots.first):
            if held.first - first >= envs:
                break
            first = max(first, held.end)
        return first, max((slots.end for slots in (*self._past, *self._by_name.values())), default=self.first)

    def _hand_out(self, name: str, incarnation: bytes, first: int, envs: int) -> Slots:
        before = self._by_name.get(name)
        overlapping = [*self._past, *([before] if before is not None else [])]
        lives = [past.life + 1 for past in overlapping if past.first < first + envs and first < past.end]
        if before is None:  # what is covered needs no memory of its own
            self._past = deque(past for past in self._past if not (first <= past.first and past.end <= first + envs))
        self._by_name[name] = Slots(first, envs, max(self._first_life, *lives) if lives else self._first_life)
        self._holders[name] = incarnation
        self._given[incarnation] = None
        if len(self._given) > MAX_GIVEN:
            del self._given[next(iter(self._given))]
        self.most = max(self.most, first + envs - self.first)
        return self._by_name[name]
