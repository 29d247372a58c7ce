"""Means over the learners of a group, by torch.distributed. Knows process groups; knows no training."""

from collections.abc import Sequence
from datetime import timedelta

from torch import Tensor

from dppo.learner.group.store import GROUP_SECONDS, lost_as
from dppo.learner.group.torch_stores import ProcessGroup, Store, gloo, prefixed


class GroupReduce:
    """All-reduce among the ranks that take part in an update; each sum is made once, so all hold the same bits."""

    def __init__(self, store: Store, rank: int, ranks: int, seconds: float = GROUP_SECONDS) -> None:
        self.ranks, self.weight = ranks, 1.0
        self._store, self._rank, self._seconds = store, rank, timedelta(seconds=seconds)
        self._groups: dict[tuple[int, ...], ProcessGroup] = {}
        self._members: tuple[int, ...] = tuple(range(ranks))

    def among(self, members: Sequence[int]) -> None:
        """Reduce among these ranks from now on, of which this one is one. All of them call this."""
        self._members = tuple(members)
        self.ranks = len(members)
        if self.ranks > 1 and self._members not in self._groups:
            named = "-".join(map(str, members))
            with lost_as(f"the learners cannot connect with each other (ranks {named}, gloo)"):
                own = prefixed(f"gloo/{named}", self._store)
                place = self._members.index(self._rank)
                self._groups[self._members] = gloo(own, place, self.ranks, self._seconds)

    def mean(self, numbers: Tensor) -> None:
        """Replace numbers by their mean over the members, in place. Raises GroupError where one of them is gone."""
        if self.ranks == 1:
            return
        on_host = numbers.cpu().contiguous()
        with lost_as(f"{self._others()} did not take part in a mean"):
            self._groups[self._members].allreduce([on_host]).wait(self._seconds)
        on_host /= self.ranks
        if on_host is not numbers:
            numbers.copy_(on_host)

    def _others(self) -> str:
        others = [str(member) for member in self._members if member != self._rank]
        return f"rank{'s' * (len(others) > 1)} {', '.join(others)}"
