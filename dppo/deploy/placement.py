"""Placement of actors on hosts: where most slots are free. Pure."""

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
