"""The learners of one run as a group: one start, one batch, one update, one state. Knows the trainer and books of this
rank, and the words of the others; knows no sockets of actors and no session.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import safetensors.torch
import torch

from dppo.learner.config import LearnerConfig
from dppo.learner.gained import Gained
from dppo.learner.group.errors import PartedError
from dppo.learner.group.membership import Membership
from dppo.learner.group.reduce import GroupReduce
from dppo.learner.group.store import GROUP_SECONDS, JOIN_SECONDS, Words, open_store
from dppo.learner.group.torch_stores import Store
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.epochs import UpdateReport
from dppo.learner.ppo.reward_scaling import CARRIED
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.signals import Interrupted
from dppo.learner.storage.books import Books
from dppo.learner.storage.checkpointer import Resumed, resume, resumed_from
from dppo.learner.storage.run_directory import RunDirectory
from dppo.learner.telemetry.joint_status import joint_status
from dppo.learner.telemetry.status import Status
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec


class Start(NamedTuple):
    """Rank 0's decisions for the start of the group."""

    run_id: str
    term: int
    start: int
    former_terms: tuple[int, ...]
    state: bytes  # of the checkpoint that all go on from, as JSON; b"": there is none


class _Done(NamedTuple):
    """One rank's word after an update."""

    steps: int
    episodes: list[Any]  # of Gained
    digest: bytes  # of the weights
    report: UpdateReport | None  # None: it took no part


class Group:
    """One learner's view of the group. Used by the training thread alone."""

    def __init__(
        self, place: Membership, store: Store, check: Callable[[], None] = lambda: None, *, uses_nccl: bool = False
    ) -> None:
        """check: called while others are waited for, where that may take long. uses_nccl: between GPUs."""
        self.place = place
        self.store = store
        self.reduce = GroupReduce(store, place.rank, place.ranks, uses_nccl=uses_nccl)
        self.began = False  # whether all have the same weights
        self.has_ended = False  # whether one of them ends, and all know
        self._members: tuple[int, ...] = ()  # whose batches are trained on
        self._words = Words(store, place.rank, place.ranks)
        self._check = check

    @classmethod
    def open(cls, place: Membership, check: Callable[[], None], settings: bytes, *, uses_nccl: bool = False) -> "Group":
        """Find the other learners. Raises GroupError where one does not come, UsageError where settings differ."""
        group = cls(place, open_store(place, check), check, uses_nccl=uses_nccl)
        found = group._words.exchange("start", settings, check, JOIN_SECONDS)
        other = [rank for rank, theirs in enumerate(found) if theirs != found[0]]
        if other:
            raise UsageError(f"rank {other[0]} was started with other settings than rank 0: give all learners the same")
        group.reduce.among(range(place.ranks))
        return group

    def watch(self, call: Callable[[], None]) -> None:
        """Have `call` be called in each wait for others. It raises GroupError where one of them is gone."""
        self._words.watch = call

    def resume(self, directory: RunDirectory, config: LearnerConfig) -> tuple[RunDirectory, Resumed]:
        """Return the directory with the identity of the run, and the state that this rank goes on from.

        The identity and the checkpoint are rank 0's; the checkpoint has the books of all. Raises as `resume`.
        """
        if not self.place.rank:
            _, resumed = resume(directory, config, self.place.ranks)
            state = b"" if resumed.state is None else msgspec.json.encode(resumed.state)
            own = Start(directory.run_id, directory.term, directory.start, tuple(directory.former_terms), state)
            self._words.exchange("checkpoint", msgspec.msgpack.encode(own))
            return directory, resumed
        start = msgspec.msgpack.decode(self._words.exchange("checkpoint", b"")[0], type=Start)
        directory = replace(
            directory,
            run_id=start.run_id,
            term=start.term,
            start=start.start,
            former_terms=frozenset(start.former_terms),
        )
        saved = msgspec.json.decode(start.state) if start.state else None
        if saved is not None:
            own_books = saved["ranks"][self.place.rank - 1]
            saved |= {name: own_books[name] for name in ("ledger", "journal")}
        return directory, resumed_from(directory, config, saved, None)

    def tokens_of_first(self, own: Callable[[], bytes]) -> bytes:
        """Return rank 0's list of tokens, b"" at rank 0: it has them. own: reads that of this rank."""
        is_first = not self.place.rank
        found = self._words.exchange("tokens", own() if is_first else b"")
        return b"" if is_first else found[0]

    def device(self, device: str) -> str:
        """Return the device of this rank: of several GPUs of its host, cuda is the one of its number there."""
        return f"cuda:{self.place.local_rank % torch.cuda.device_count()}" if device == "cuda" else device

    def same_spaces(self, spec: Spec) -> None:
        """Wait until all ranks have actors. Raises UsageError where their environments have other spaces."""
        found = self._words.exchange("spaces", msgspec.msgpack.encode(spec), self._check, float("inf"))
        other = [rank for rank, theirs in enumerate(found) if theirs != found[0]]
        if other:
            raise UsageError(f"actors of rank {other[0]} have environments with other spaces than those of rank 0")

    def from_first(self, answer: bool) -> bool:
        """Return rank 0's answer to a question that all are asked."""
        return self._words.exchange("answer", b"1" if answer else b"")[0] == b"1"

    def share_state(self, trainer: Trainer, version: int, of: int = 0) -> int:
        """Go on with that rank's weights, moments and counters. Return the newest version of any rank."""
        word = b""
        if self.place.rank == of:
            counters = msgspec.json.encode(trainer.counters())
            word = len(counters).to_bytes(4, "little") + counters + safetensors.torch.save(trainer.tensors())
        word = self._words.exchange("weights", word)[of]
        if self.place.rank != of:
            end = 4 + int.from_bytes(word[:4], "little")
            own = {name: tensor for name, tensor in trainer.tensors().items() if name.startswith(CARRIED)}
            trainer.load(safetensors.torch.load(word[end:]) | own, msgspec.json.decode(word[4:end]))
        self.began = True
        return max(int(v) for v in self._words.exchange("version", str(version).encode()))

    def join(
        self, steps: int, *, ending: bool = False, late: int = 0, share: int = 1, seconds: float = GROUP_SECONDS
    ) -> bool:
        """Wait until all have stopped collecting; return whether the batch of this rank is trained on.

        late: D, how many may be left out where they have less than their share. Raises Interrupted where one ends.
        """
        found = self._words.exchange("batch", f"{steps} {int(ending)}".encode(), seconds=seconds)
        counts = [int(word.split()[0]) for word in found]
        self.has_ended = any(word.endswith(b"1") for word in found)
        if self.has_ended:
            raise Interrupted
        whole = [rank for rank, count in enumerate(counts) if count >= share]
        if not late or len(whole) < self.place.ranks - late:  # cut short by bytes: all of what there is
            whole = [rank for rank, count in enumerate(counts) if count]
        self._members = tuple(whole)
        return self.place.rank in whole

    def update(self, trainer: Trainer, batch: Sequence[Received]) -> tuple[UpdateReport, Gained]:
        """Train on all batches together; return how that went, and what all ranks have gained. `join` comes before.

        Raises PartedError where ranks that must be equal are not.
        """
        report, members = None, self._members
        if self.place.rank in members:
            self.reduce.among(members)
            report = trainer.update(batch)
        if len(members) < self.place.ranks:
            self.share_state(trainer, 0, of=members[0])
        own = Gained.of(batch)
        done = _Done(own.steps if report is not None else 0, own.episodes, digest_of(trainer), report)
        words = self._words.exchange("update", msgspec.msgpack.encode(done, enc_hook=_as_list))
        every = [msgspec.msgpack.decode(word, type=_Done) for word in words]
        for rank, other in enumerate(every):
            if other.digest != every[0].digest:
                raise PartedError(
                    f"rank {rank} has other weights than rank 0 after an update: a bug, or hosts whose arithmetic "
                    "differs. The checkpoint before it is whole; --learners 1 goes on from it in a run of its own"
                )
        steps = sum(other.steps for other in every)
        gained = Gained(steps, [_columns(episodes) for other in every for episodes in other.episodes])
        return _joint_report([other.report for other in every if other.report is not None], steps), gained

    def with_others(self, books: Books) -> Books:
        """Return the books of rank 0 with those of the others in it."""
        words = self._words.exchange("books", msgspec.json.encode(books))
        first, *others = (msgspec.json.decode(word, type=Books) for word in words)
        return replace(first, others=tuple(others))

    def joint(self, status: Status) -> Status:
        """Return the last status of the run from those of all ranks; that of this rank where they lack a start."""
        if not self.began:
            return status
        words = self._words.exchange("status", msgspec.json.encode(status))
        return joint_status([msgspec.json.decode(word, type=Status) for word in words])


def digest_of(trainer: Trainer) -> bytes:
    """Return a digest of what all ranks must have alike: weights, Adam's moments, moments of the normalisers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(trainer.tensors().items()):
        if not name.startswith(CARRIED):
            digest.update(tensor.contiguous().view(-1).numpy().tobytes())
    return digest.digest()


def _columns(episodes: list[Any]) -> list[Any]:
    *columns, metrics = episodes
    return [*columns, np.array(metrics, np.float32)]


def _joint_report(reports: Sequence[UpdateReport], steps: int) -> UpdateReport:
    """Return the report on an update of several ranks: figures are means over all rows already, counts are not."""
    return replace(
        reports[0],
        steps=steps,
        ratio_error_by_actor={name: error for report in reports for name, error in report.ratio_error_by_actor.items()},
        outliers=sum(report.outliers for report in reports),
        steps_left_out=sum(report.steps_left_out for report in reports),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


def _as_list(value: object) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(type(value).__name__)
