"""Placement of actors on hosts, where most slots are free, and with learners, in turn. Pure."""

from collections.abc import Mapping


def placed(actors: int, slots: Mapping[str, int]) -> dict[str, int]:
    """Return how many of the actors each host gets; slots: of the hosts that can be reached.

    Each goes to the host with the smallest share of its slots in use. Beyond all slots hosts are filled alike.
    """
    found = dict.fromkeys(slots, 0)
    for _ in range(actors if slots else 0):
        least = min(slots, key=lambda host: ((found[host] + 1) / slots[host], list(slots).index(host)))
        found[least] += 1
    return found


def shares_of(actors: int, learners: int) -> list[int]:
    """Return how many of the actors each learner has: number i is of learner i mod M."""
    return [len(range(rank, actors, learners)) for rank in range(learners)]


def divided(placed: Mapping[str, int], learners: int) -> dict[str, list[int]]:
    """Return how many actors of each learner each host gets, where it gets so many; they are numbered through."""
    found, first = {}, 0
    for host, actors in placed.items():
        ranks = [number % learners for number in range(first, first + actors)]
        found[host] = [ranks.count(rank) for rank in range(learners)]
        first += actors
    return found
