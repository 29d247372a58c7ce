"""Rows of the live table: an actor each, or a host each where there are too many. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dppo.learner.telemetry.status import ActorStatus
from dppo.protocol.actor_names import host_of, in_order


@dataclass(frozen=True)
class HostRow:
    """One actor, or all of a host."""

    name: str
    actors: tuple[ActorStatus, ...]

    @property
    def is_host(self) -> bool:
        """Whether there are several actors in it."""
        return len(self.actors) > 1

    @property
    def states(self) -> list[tuple[str, int]]:
        """Return how many actors are in which state, the rarest first."""
        return sorted(Counter(actor.state for actor in self.actors).items(), key=lambda item: item[1])

    def total(self, field: str) -> int:
        """Return the sum over the actors."""
        return sum(getattr(actor, field) for actor in self.actors)

    def mean(self, field: str) -> float:
        """Return the mean over the actors."""
        values: list[float] = [getattr(actor, field) for actor in self.actors]
        return sum(values) / len(values)


def rows_of(actors: Sequence[ActorStatus], most: int) -> list[HostRow]:
    """Return the rows: actors host by host; hosts where the actors of several are more than `most`."""
    ordered = sorted(actors, key=lambda actor: in_order(actor.name))
    by_host: dict[str, list[ActorStatus]] = {}
    for actor in ordered:
        by_host.setdefault(host_of(actor.name), []).append(actor)
    if len(ordered) <= most or not 1 < len(by_host) < len(ordered):
        return [HostRow(actor.name, (actor,)) for actor in ordered]
    return [
        HostRow(f"{host} ({len(group)})" if len(group) > 1 else group[0].name, tuple(group))
        for host, group in by_host.items()
    ]
