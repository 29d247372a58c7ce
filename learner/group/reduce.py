"""Means over the learners of a group, by torch.distributed. Knows process groups; knows no training."""

from collections.abc import Sequence
from datetime import timedelta

from torch import Tensor

from dppo.learner.group.store import GROUP_SECONDS, lost_as
from dppo.learner.group.torch_stores import ProcessGroup, Store, gloo, nccl, prefixed

GPU = "cuda"  # type of the devices that NCCL adds up on


class GroupReduce:
    """All-reduce among the ranks that take part in an update; each sum is made once, so all hold the same bits.

    By gloo, from the host's memory; with uses_nccl what is on a GPU (gradients) by NCCL, and what is on the host
    (moments, KLs that decide) by gloo all the same.
    """

    def __init__(
        self, store: Store, rank: int, ranks: int, seconds: float = GROUP_SECONDS, *, uses_nccl: bool = False
    ) -> None:
        self.ranks, self.weight = ranks, 1.0
        self._store, self._rank, self._seconds = store, rank, timedelta(seconds=seconds)
        self._uses_nccl = uses_nccl
        self._groups: dict[tuple[int, ...], ProcessGroup] = {}
        self._groups_of_gpus: dict[tuple[int, ...], ProcessGroup] = {}
        self._members: tuple[int, ...] = tuple(range(ranks))

    def among(self, members: Sequence[int]) -> None:
        """Reduce among these ranks from now on, of which this one is one. All of them call this."""
        self._members = tuple(members)
        self.ranks = len(members)
        if self.ranks == 1 or self._members in self._groups:
            return
        named, place = "-".join(map(str, members)), self._members.index(self._rank)
        with lost_as(f"the learners cannot connect with each other (ranks {named}, gloo)"):
            own = prefixed(f"gloo/{named}", self._store)
            self._groups[self._members] = gloo(own, place, self.ranks, self._seconds)
        if self._uses_nccl:
            with lost_as(f"the learners cannot connect with each other (ranks {named}, nccl)"):
                own = prefixed(f"nccl/{named}", self._store)
                self._groups_of_gpus[self._members] = nccl(own, place, self.ranks, self._seconds)

    def mean(self, numbers: Tensor) -> None:
        """Replace numbers by their mean over the members, in place. Raises GroupError where one of them is gone."""
        if self.ranks == 1:
            return
        between_gpus = self._groups_of_gpus.get(self._members) if numbers.device.type == GPU else None
        added = (numbers if between_gpus is not None else numbers.cpu()).contiguous()
        group = self._groups[self._members] if between_gpus is None else between_gpus
        with lost_as(f"{self._others()} did not take part in a mean"):
            group.allreduce([added]).wait(self._seconds)
        added /= self.ranks
        if added is not numbers:
            numbers.copy_(added)

    def _others(self) -> str:
        others = [str(member) for member in self._members if member != self._rank]
        return f"rank{'s' if len(others) > 1 else ''} {', '.join(others)}"
