"""Rows of a timeline: an actor each, or a host each and the actors that stand out. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from dppo.protocol.actor_names import in_order
from dppo.watch.timeline.lanes import Doing, Lane

MOST_ROWS = 40
MOST_HOSTS = 24
MOST_NAMED = 10  # actors by name, beside hosts
ALIKE = 1.25  # times slower than the median actor, below which no actor is called slow
ALONE = 0.05  # of all that learners waited for single actors, below which one is not worth a name
ABSENT = 0.5  # share of the longest presence of any, below which an actor is called absent


@dataclass(frozen=True)
class Row:
    """One lane, or all lanes of a host."""

    name: str
    group: str  # rows of one group stand together
    lanes: tuple[Lane, ...]

    @property
    def columns(self) -> np.ndarray:
        """[activities, columns] seconds, the mean of all lanes."""
        mean: np.ndarray = np.mean([lane.columns for lane in self.lanes], axis=0)
        return mean

    def share(self, doing: Doing) -> float:
        """Return the share of the time in which they were there."""
        here = sum(lane.here_seconds for lane in self.lanes)
        return sum(lane.seconds[doing] for lane in self.lanes) / here if here else 0.0

    @property
    def steps(self) -> int:
        """Return the steps that arrived."""
        return sum(lane.steps for lane in self.lanes)


def hosts_of(actors: Sequence[Lane]) -> list[Row]:
    """Return a row for each host, with all its actors."""
    by_host: dict[str, list[Lane]] = {}
    for lane in in_order_of_hosts(actors):
        by_host.setdefault(lane.host, []).append(lane)
    return [
        Row(f"{host} ({len(lanes)})" if len(lanes) > 1 else lanes[0].name, host, tuple(lanes))
        for host, lanes in by_host.items()
    ]


def rows_of(actors: Sequence[Lane]) -> list[Row]:
    """Return an actor a row; where they do not fit, hosts (or all actors as one), then the actors that stand out."""
    if len(actors) <= MOST_ROWS:
        return [Row(lane.name, lane.host, (lane,)) for lane in in_order_of_hosts(actors)]
    hosts = [replace(row, group="") for row in hosts_of(actors)]
    if len(hosts) > MOST_HOSTS:
        hosts = [Row(f"all actors ({len(actors)})", "", tuple(actors))]
    worst = [Row(lane.name, "\0by name", (lane,)) for lane in standing_out(actors)[:MOST_NAMED]]
    return [*hosts, *worst]


def in_order_of_hosts(actors: Sequence[Lane]) -> list[Lane]:
    """Return them host by host, and within a host by number."""
    return sorted(actors, key=lambda lane: in_order(lane.name))


def standing_out(actors: Sequence[Lane]) -> list[Lane]:
    """Return actors for which learners waited, the longest first, then slow and absent ones."""
    speeds = [lane.speed for lane in actors if math.isfinite(lane.speed)]
    usual = median(speeds) if speeds else math.nan
    waited = sum(lane.lost_seconds for lane in actors)
    longest = max((lane.here_seconds for lane in actors), default=0.0)

    def is_odd(lane: Lane) -> bool:
        is_slow = usual / lane.speed >= ALIKE if math.isfinite(lane.speed) else lane.here_seconds > 0
        is_absent = lane.here_seconds < ABSENT * longest
        return lane.lost_seconds > ALONE * waited or is_slow or is_absent

    def badness(lane: Lane) -> tuple[float, float, float]:
        return -lane.lost_seconds, lane.speed if math.isfinite(lane.speed) else 0.0, lane.here_seconds

    return sorted(filter(is_odd, actors), key=badness)


def slowest_of(actors: Sequence[Lane]) -> tuple[Lane, float] | None:
    """Return the slowest actor, and how many times slower than the median one it steps; None where there is one."""
    known = [lane for lane in actors if math.isfinite(lane.speed)]
    if len(known) < 2:
        return None
    slowest = min(known, key=lambda lane: lane.speed)
    return slowest, median(lane.speed for lane in known) / slowest.speed
