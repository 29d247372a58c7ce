"""Learners of one group tell each other where they listen and what they have, in a store over loopback."""

import threading
from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest
from group_threads import groups, store
from test_learner_group import status_of

from dppo.learner.group.errors import GroupError
from dppo.learner.group.notices import Notice, Notices
from dppo.learner.group.torch_stores import Store

WAIT = 10.0


@pytest.fixture
def shared() -> Iterator[Store]:
    with store() as made:
        yield made


class Rank:
    """One rank's notices, and what it has been told."""

    def __init__(self, shared: Store, rank: int) -> None:
        self.actors = 0
        self.told: Mapping[int, Notice] = {}
        self.came = threading.Condition()
        self.rank = rank
        self.notices = Notices(shared, rank, 3, own=self._own, take=self._take)
        self.notices.start()

    def _own(self) -> Notice:
        return Notice(f"tcp://host:{5555 + self.rank}", bytes([self.rank]) * 32, self.actors, [bytes(8)])

    def _take(self, told: Mapping[int, Notice]) -> None:
        with self.came:
            self.told = told
            self.came.notify_all()

    def wait_for(self, actors: dict[int, int]) -> bool:
        """Whether it is told these numbers of actors, by rank, within a while."""
        with self.came:
            return self.came.wait_for(lambda: {rank: it.actors for rank, it in self.told.items()} == actors, WAIT)


def in_a_while(condition: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(condition() or pause.wait(0.01) for _ in range(int(WAIT / 0.01)))


def test_each_rank_is_told_of_the_others_and_rank_0_of_their_status(shared: Store) -> None:
    ranks = [Rank(shared, rank) for rank in range(3)]
    assert ranks[0].wait_for({1: 0, 2: 0})
    for rank in ranks:
        rank.actors = 5 + rank.rank
        rank.notices.post(status_of(f"actor-{rank.rank}", 10 * rank.rank))
    assert ranks[0].wait_for({1: 6, 2: 7})
    assert ranks[1].wait_for({0: 5, 2: 7})
    notice = ranks[1].told[2]
    assert (notice.endpoint, notice.server_key, notice.newcomers) == ("tcp://host:5557", b"\x02" * 32, [bytes(8)])
    assert in_a_while(lambda: len(ranks[0].notices.statuses) == 2)
    assert [status.actors[0].name for status in ranks[0].notices.statuses] == ["actor-1", "actor-2"]
    assert ranks[1].notices.statuses == []
    for rank in ranks:
        rank.notices.close()


@pytest.mark.slow
def test_silence_grows_for_a_rank_that_is_gone_and_for_no_other(shared: Store) -> None:
    ranks = [Rank(shared, rank) for rank in range(3)]
    assert ranks[0].wait_for({1: 0, 2: 0})
    ranks[2].notices.close()
    assert in_a_while(lambda: ranks[0].notices.silence[2] >= 1.0)
    assert ranks[0].notices.silence[1] < ranks[0].notices.silence[2]
    for rank in ranks[:2]:
        rank.notices.close()


def test_a_wait_ends_where_the_one_that_is_waited_for_is_gone(shared: Store) -> None:
    waiting = groups(shared)[0]

    def gone() -> None:
        raise GroupError("rank 1 gave no sign of life")

    waiting.watch(gone)
    with pytest.raises(GroupError, match="rank 1 gave no sign of life"):
        waiting.join(5)


def test_a_notice_is_small(shared: Store) -> None:
    notice = Notice("tcp://host:5555", bytes(32), 4000, [bytes(8)] * 4000)
    assert len(msgspec.msgpack.encode(notice)) < 2**16
