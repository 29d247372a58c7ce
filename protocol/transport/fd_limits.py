"""Limit of open files of this process: every connection is one. Knows the operating system's limit."""

import resource

RESERVE = 100  # files besides connections: checkpoints, libraries, the listener
SPARE = 1.2  # connections per actor, while one ends and its successor is there already


def actors_that_fit(files: int) -> int:
    """With so many open files at most."""
    return max(0, int((files - RESERVE) / SPARE))


def connections_that_fit() -> int:
    """Return how many connections this process may have as things are."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return actors_that_fit(2**20 if soft == resource.RLIM_INFINITY else soft)


def raise_limit() -> int:
    """Allow as many open files as the system lets us have; returns how many. Never lowers anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 2**20
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else 2**20
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a lower one of its own
        return soft
    return wanted
