"""Learners of one group in threads of this process: real stores and process groups, over loopback."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from dppo.learner.group.group import Group
from dppo.learner.group.membership import Membership
from dppo.learner.group.torch_stores import Store, host_store, prefixed

Answer = TypeVar("Answer")


def place(rank: int, ranks: int = 2) -> Membership:
    return Membership(
        rank=rank,
        ranks=ranks,
        address="127.0.0.1",
        port=1,
        local_rank=rank,
        hosts_store=rank == 0,
        attempt="0",
        first_slot=100 * rank,
    )


@contextmanager
def store() -> Iterator[Store]:
    """A store of its own, on a port that the system chooses."""
    yield host_store("127.0.0.1", 0, 10.0)


def groups(of: Store, ranks: int = 2) -> list[Group]:
    return [Group(place(rank, ranks), prefixed("test", of.clone())) for rank in range(ranks)]


def on_all(ranks: int, work: Callable[[int], Answer]) -> list[Answer]:
    """Run work(rank) in a thread each. Raises what the first of them raises."""
    with ThreadPoolExecutor(ranks) as pool:
        return [done.result() for done in [pool.submit(work, rank) for rank in range(ranks)]]
