"""The actors of a machine: started a few at a time while there is memory, and again when they die. Knows no training.

What an end means is decided by the command that has them: `dppo train` gives up the run where another actor would only
repeat it, `dppo actor --count` gives up that actor.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

from dppo.local.actor_memory import memory_for_another
from dppo.local.processes import Child, end, wait
from dppo.protocol.process.resources import MB, usable_cores

AT_A_TIME = 8  # actors that are started before the first of them has joined
FIRST_SECONDS = 1.0  # at most, for a learner to get as far as listening


class ActorProcesses:
    """Actors of one command. `ended` is called with each that has ended, and its exit code; it may `give_up` on it."""

    def __init__(
        self,
        planned: Sequence[Child],
        *,
        note: Callable[[str], None],
        ended: Callable[[Child, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.started: list[Child] = []
        self.joined: set[str] = set()  # names, as far as the command has seen
        self._planned = deque(planned)
        self._note = note
        self._ended = ended
        self._given_up: set[str] = set()
        self._clock = clock
        self._start_at = 0.0  # the first, on this clock

    @property
    def pids(self) -> set[int]:
        """Process ids of those that run."""
        return {child.process.pid for child in self.started if child.process is not None}

    @property
    def none_left(self) -> bool:
        """Whether each has ended and is not to be started again."""
        return not self._planned and all(child.name in self._given_up for child in self.started)

    def let_first(self, others: int) -> None:
        """Let so many other processes come first for a while, where there are not cores for all; 0: not any more."""
        waits = others and usable_cores() < others + len(self._planned)
        self._start_at = self._clock() + FIRST_SECONDS if waits else 0.0

    def start_more(self) -> None:
        """Start some of the actors that are left: a few at a time, and only while there is memory for them."""
        if self._clock() < self._start_at:
            return
        while self._planned:
            starting = [child for child in self.started if child.process is not None and child.name not in self.joined]
            if len(starting) >= AT_A_TIME:
                return
            enough, needed, available = memory_for_another(self.started, len(starting))
            if not enough:
                first, left = self._planned[0].name, len(self._planned)
                self._planned.clear()
                self._note(
                    f"memory is short ({available // MB:,} MB available, an actor takes {needed // MB:,} MB): "
                    f"{first} and later ones, {left} in all, are not started"
                )
                return
            child = self._planned.popleft()
            child.start()
            self.started.append(child)

    def look(self) -> None:
        """Look which have ended."""
        for child in self.started:
            code = child.died()
            if code is not None:
                self._ended(child, code)

    def revive(self) -> None:
        """Look which have ended, and start those again whose delay is over."""
        self.look()
        for child in self.started:
            if child.name not in self._given_up and child.restart_if_due():
                self._note(f"{child.name} is back")

    def give_up(self, child: Child) -> None:
        """Do not start it again."""
        self._given_up.add(child.name)

    def end(self, grace_seconds: float) -> None:
        """SIGTERM, wait, SIGKILL; returns when all are gone, with what they have started."""
        end(self.started, grace_seconds)

    def wait(self, seconds: float) -> None:
        """Wait until all have ended by themselves, at most that long."""
        wait(self.started, seconds)


def actors_text(actors: int, cores: int) -> str:
    """Return what more actors than cores mean."""
    return (
        f"{actors} actors on {cores} core{'s' if cores != 1 else ''}: they take turns, which pays where environments "
        "wait (for a simulator, a network), and else only costs memory"
    )
