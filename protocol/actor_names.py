"""Names of the actors of a host: HOST-0, HOST-1 and so on. Pure; a name is no proof of where a process runs."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

_NUMBERED = re.compile(r"(?P<host>.+)-(?P<number>\d+)")


def numbered_name(host: str, number: int) -> str:
    """Return the name of one of a host's actors."""
    return f"{host}-{number}"


def host_of(name: str) -> str:
    """Return the host that an actor's name begins with; the name itself where no number follows."""
    match = _NUMBERED.fullmatch(name)
    return match["host"] if match else name


def in_order(name: str) -> tuple[str, int, str]:
    """Return a key that sorts names by host, and within a host by number: lab-2 before lab-10."""
    match = _NUMBERED.fullmatch(name)
    return (match["host"], int(match["number"]), name) if match else (name, -1, name)


def hosts_text(names: Iterable[str], most: int = 20) -> str:
    """Return `lab1 (8), lab2 (8), laptop (1)`."""
    counted = sorted(Counter(map(host_of, names)).items())
    shown = ", ".join(f"{host} ({actors})" for host, actors in counted[:most])
    return shown + (f" and {len(counted) - most} more hosts" if len(counted) > most else "")


def waiting_text(names: Collection[str]) -> str:
    """Return which hosts have actors that wait for a learner which has ended, and how to end them."""
    who = "actor waits" if len(names) == 1 else "actors wait"
    return f"{len(names)} {who}, by host: {hosts_text(names)}; to end them, end `dppo actor` there (Ctrl-C, or SIGTERM)"
