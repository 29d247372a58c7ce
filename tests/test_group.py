"""Learners of one group hold the same weights after every update, whichever of them take part, and fail in one line."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from group_threads import groups, on_all, place, store
from trainer_batches import CONTINUOUS, DISCRETE, PPO, SMALL, acted, assert_bit_equal

from dppo.learner.config import LearnerConfig
from dppo.learner.group import group as group_module
from dppo.learner.group import store as group_store
from dppo.learner.group.errors import GroupError, PartedError
from dppo.learner.group.group import Group, digest_of
from dppo.learner.group.reduce import GroupReduce
from dppo.learner.group.store import Words, open_store
from dppo.learner.group.torch_stores import Store, prefixed
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.signals import Interrupted
from dppo.learner.storage import checkpointer, journal
from dppo.learner.storage.journal_records import Entry
from dppo.learner.storage.run_directory import RunDirectory
from dppo.protocol.errors import UsageError
from dppo.protocol.rollout import Segment
from scripts.ports import free_port


@pytest.fixture
def shared() -> Iterator[Store]:
    with store() as made:
        yield made


def trainer_of(group: Group | None, seed: int = 1, minibatch_steps: int = 16) -> Trainer:
    ppo = replace(PPO, minibatch_steps=minibatch_steps)
    reduce = None if group is None else group.reduce
    return Trainer(CONTINUOUS, ppo=ppo, network=SMALL, seed=seed, total_steps=2_000, reduce=reduce)


def batch_of(rank: int, *segments: Segment) -> list[Received]:
    return [Received(f"a{rank}", bytes([rank]), n, 4 * rank, segment) for n, segment in enumerate(segments)]


def test_means_are_the_same_bits_on_all_ranks(shared: Store) -> None:
    parts = [torch.randn(1001, generator=torch.Generator().manual_seed(rank)) for rank in range(3)]
    made = groups(shared, 3)

    def reduce(rank: int) -> list[torch.Tensor]:
        of = made[rank].reduce
        of.among(range(3))
        numbers, scalar = parts[rank].clone(), torch.tensor(float(rank), dtype=torch.float64)
        of.mean(numbers)
        of.mean(scalar)
        return [numbers, scalar]

    found = on_all(3, reduce)
    assert all(torch.equal(mean, found[0][0]) for mean, _ in found)
    torch.testing.assert_close(found[0][0], sum(parts) / 3)
    assert [scalar.item() for _, scalar in found] == [1.0, 1.0, 1.0]


def test_a_group_trains_as_one_learner_on_the_batches_of_all(shared: Store) -> None:
    whole = trainer_of(None, minibatch_steps=0)
    segments = [acted(whole, rank, T=6 + 4 * rank) for rank in range(2)]
    made = groups(shared)
    trainers = [trainer_of(group, seed=1 + group.place.rank, minibatch_steps=0) for group in made]

    def train(rank: int) -> tuple[int, int]:
        group = made[rank]
        assert group.share_state(trainers[rank], 3 + rank) == 4
        group.reduce.among(range(2))
        assert group.join(segments[rank].steps)
        report, gained = group.update(trainers[rank], batch_of(rank, segments[rank]))
        assert len(gained.episodes) == 2
        return report.steps, gained.steps

    assert on_all(2, train) == [(sum(s.steps for s in segments),) * 2] * 2
    whole.update([part for rank in range(2) for part in batch_of(rank, segments[rank])])
    assert_bit_equal(trainers[0].tensors(), trainers[1].tensors())
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(trainers[0].tensors()[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


def test_a_late_rank_is_left_out_and_goes_on_with_the_weights_of_the_others(shared: Store) -> None:
    """W - D of W: three of which one may be late; the result is that of the two others alone."""
    maker = trainer_of(None)
    segments = [acted(maker, rank, T=8) for rank in range(3)]
    made = groups(shared, 3)
    trainers = [trainer_of(group) for group in made]

    def train(rank: int) -> tuple[bool, int]:
        group = made[rank]
        group.share_state(trainers[rank], 1)
        takes_part = group.join(32 if rank != 1 else 5, late=1, share=32)
        _, gained = group.update(trainers[rank], batch_of(rank, segments[rank]))
        assert len(gained.episodes) == 3, "episodes of the late one are real, too"
        return takes_part, gained.steps

    assert on_all(3, train) == [(True, 64), (False, 64), (True, 64)]
    for trainer in trainers[1:]:
        assert_bit_equal(trainer.tensors(), trainers[0].tensors())
    assert not torch.equal(trainers[1].tensors()["policy.body.0.weight"], maker.tensors()["policy.body.0.weight"])


def test_a_rank_without_a_single_step_is_left_out_of_a_batch_of_all(shared: Store) -> None:
    made = groups(shared)
    assert on_all(2, lambda rank: made[rank].join(100 * rank)) == [False, True]


def test_ranks_that_part_end_the_run_in_one_line(shared: Store) -> None:
    made = groups(shared)
    trainers = [trainer_of(group) for group in made]
    segments = [acted(trainers[0], rank) for rank in range(2)]

    def train(rank: int) -> str:
        made[rank].reduce.among(range(2))
        made[rank].join(segments[rank].steps)
        if rank:
            next(trainers[1].policy.parameters()).data.view(-1)[0] += 1e-6
        with pytest.raises(PartedError, match="rank 1 has other weights than rank 0") as error:
            made[rank].update(trainers[rank], batch_of(rank, segments[rank]))
        return str(error.value)

    assert all("\n" not in line for line in on_all(2, train))


def test_digests_differ_where_weights_or_moments_do() -> None:
    one, other = trainer_of(None), trainer_of(None)
    assert digest_of(one) == digest_of(other)
    one.update(batch_of(0, acted(one, 1)))
    assert digest_of(one) != digest_of(other)


def test_each_rank_of_a_host_has_a_gpu_of_its_own(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    made = groups(shared, 3)
    assert [group.device("cuda") for group in made] == ["cuda:0", "cuda:1", "cuda:0"]
    assert made[1].device("cpu") == "cpu"


def open_as(rank: int, port: int) -> None:
    open_store(replace(place(rank), port=port), lambda: None)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"^rank 0 cannot listen on .* 127.0.0.1:{port}: Address already in use. "):
            open_as(0, port)


def test_the_store_listens_at_its_address_alone() -> None:
    found = open_store(replace(place(0), port=free_port()), lambda: None)
    found.set("word", b"x")
    ours = [c.laddr for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert ours
    assert {address.ip for address in ours} == {"127.0.0.1"}


def test_a_rank_0_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_store, "JOIN_SECONDS", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        port = free.getsockname()[1]
        with pytest.raises(GroupError, match=f"^rank 0 did not come: nothing listens at MASTER_ADDR .*:{port} "):
            open_as(1, port)


def test_a_rank_that_is_gone_ends_a_mean_in_one_line(shared: Store) -> None:
    reduce = GroupReduce(shared, 0, 2, seconds=0.2)
    with pytest.raises(
        GroupError, match=r"^the learners cannot connect with each other \(ranks 0-1, gloo\) \("
    ) as error:
        reduce.among(range(2))
    assert "\n" not in str(error.value)


def test_learners_of_other_settings_are_refused(monkeypatch: pytest.MonkeyPatch, shared: Store) -> None:
    monkeypatch.setattr(group_module, "open_store", lambda place, check: prefixed("open", shared.clone()))

    def open_group(rank: int) -> None:
        with pytest.raises(UsageError, match="rank 1 was started with other settings than rank 0"):
            Group.open(place(rank), lambda: None, b"a" if rank else b"b")

    on_all(2, open_group)


def test_actors_of_other_spaces_are_refused(shared: Store) -> None:
    made = groups(shared)

    def compare(rank: int) -> None:
        with pytest.raises(UsageError, match="actors of rank 1 have environments with other spaces"):
            made[rank].same_spaces((CONTINUOUS, DISCRETE)[rank])

    on_all(2, compare)


def test_a_run_keeps_its_number_of_learners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_two = SimpleNamespace(state={"ranks": [{}]})
    monkeypatch.setattr(checkpointer, "newest_checkpoint", lambda directory: by_two)
    with RunDirectory.open(tmp_path) as directory:
        for ranks, would in ((1, "1 would"), (3, "3 would")):
            with pytest.raises(UsageError, match=f"was trained by 2 learners, and now {would}: a run keeps"):
                checkpointer.resume(directory, LearnerConfig(), ranks)


def test_a_journal_whose_checkpoints_are_another_learners_keeps_its_newest_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LONG_RECORDS", 1)
    kept = journal.Journal(tmp_path, lambda text: None)
    for number in range(6):
        kept.append(Entry("published", number))
        kept.turn_over(keeps=2)
    kept.append(Entry("published", 6))
    assert sorted(path.name for path in (tmp_path / "journal").glob("0*")) == ["00000005", "00000006", "00000007"]
    kept.close()


def test_a_rank_that_does_not_come_is_named_within_the_deadline(shared: Store) -> None:
    words = Words(shared, 0, 3)
    with pytest.raises(GroupError, match=r"^batch: ranks 1, 2 did not come within 0.1 s$"):
        words.exchange("batch", b"", seconds=0.1)


def test_waiting_for_others_asks_whether_to_go_on(shared: Store) -> None:
    def check() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        Words(shared, 0, 2).exchange("batch", b"", check)


def test_words_of_any_length_arrive_and_old_ones_are_deleted(shared: Store) -> None:
    words = [Words(shared.clone(), rank, 2) for rank in range(2)]
    rng = np.random.default_rng(0)
    long = [rng.bytes(9 * 2**20), b""]
    assert on_all(2, lambda rank: words[rank].exchange("long", long[rank])) == [long, long]
    keys = shared.num_keys()
    for _ in range(5):
        on_all(2, lambda rank: words[rank].exchange("short", b"x"))
    assert shared.num_keys() < keys + 6


def test_one_rank_that_ends_ends_all(shared: Store) -> None:
    made = groups(shared)

    def end(rank: int) -> bool:
        with pytest.raises(Interrupted):
            made[rank].join(7, ending=rank == 1)
        return made[rank].has_ended

    assert on_all(2, end) == [True, True]
