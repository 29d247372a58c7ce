"""Backends of several learners: what goes over gloo, what over NCCL, and settings that one learner has no use for."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from group_threads import on_all, place, store

from dppo.learner.devices import check_nccl
from dppo.learner.group import reduce as reduce_module
from dppo.learner.group.group import Group
from dppo.learner.group.torch_stores import Store, Work, gloo, prefixed
from dppo.learner.transport.listener import Listening
from dppo.local import learner_command
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import Resolved

NCCL = {"run.backend": "nccl", "run.device": "cuda"}


@pytest.fixture
def shared() -> Iterator[Store]:
    with store() as made:
        yield made


@pytest.mark.parametrize(("device", "by_nccl"), [("cpu", True), ("cuda", False)])
def test_what_is_on_a_gpu_is_added_up_by_nccl_and_what_is_on_the_host_by_gloo(
    shared: Store, monkeypatch: pytest.MonkeyPatch, device: str, by_nccl: bool
) -> None:
    """The host's memory stands for a GPU's, and a group of gloo's for one of NCCL's: there are none here."""
    added = dict.fromkeys((0, 1), 0)

    class InPlaceOfNccl:
        def __init__(self, store: Store, rank: int, ranks: int, timeout: timedelta) -> None:
            self._rank, self._group = rank, gloo(store, rank, ranks, timeout)

        def allreduce(self, tensors: list[torch.Tensor]) -> Work:
            added[self._rank] += 1
            return self._group.allreduce(tensors)

    monkeypatch.setattr(reduce_module, "nccl", InPlaceOfNccl)
    monkeypatch.setattr(reduce_module, "GPU", device)
    made = [Group(place(rank), prefixed("test", shared.clone()), uses_nccl=True) for rank in range(2)]

    def reduce(rank: int) -> torch.Tensor:
        made[rank].reduce.among(range(2))
        numbers = torch.full((3, 5), float(rank)).T  # not contiguous, as a gradient may be
        made[rank].reduce.mean(numbers)
        return numbers

    assert all(torch.equal(mean, torch.full((5, 3), 0.5)) for mean in on_all(2, reduce))
    assert added == {0: by_nccl, 1: by_nccl}


def test_nccl_that_is_not_there_or_lacks_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: False)
    with pytest.raises(UsageError, match=r"run.backend=nccl is not there: PyTorch .* was built without NCCL"):
        check_nccl(2)
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_nccl(2)
    with pytest.raises(UsageError, match="needs a GPU of its own for each learner, and there are 2 here for 3"):
        check_nccl(3)


def test_nccl_is_between_gpus_of_each_learner() -> None:
    for device in ("cpu", "cuda:1"):
        with pytest.raises(UsageError, match=f"run.backend=nccl adds up between GPUs.* and run.device={device}:"):
            build(TrainConfig, {**NCCL, "run.device": device, "learners": 2})
    assert build(TrainConfig, {**NCCL, "learners": 2}).learners == 2


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"collect.late_learners": 1}, "collect.late_learners=1 is for several learners, and there is one"),
        (NCCL, "run.backend=nccl is for several learners, and there is one"),
    ],
)
def test_settings_of_several_learners_are_refused_where_there_is_one(
    values: dict[str, object], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also of a learner that is started by itself, where a launcher's variables say how many there are."""
    with pytest.raises(UsageError, match=text):
        build(TrainConfig, values)
    alone = build(LearnerProcessConfig, {**values, "run.directory": str(tmp_path / "run")})
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=text):
        learner_command.run(Resolved(alone, {}, "", False), Listening(alone.bind))
    assert not (tmp_path / "run").exists()
