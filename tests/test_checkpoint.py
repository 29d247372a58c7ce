"""Checkpoints: exact when whole, passed over aloud when not."""

import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.learner.storage import checkpoint
from dppo.learner.storage import checkpoint_format as checkpoint_document
from dppo.protocol.errors import CheckpointError, UsageError

TENSORS = {
    "policy.weight": torch.randn(5, 3, generator=torch.Generator().manual_seed(1)),
    "odd floats": torch.tensor([float("nan"), float("-inf"), -0.0, 1e-45]),
    "normaliser.mean": torch.tensor([1 / 3], dtype=torch.float64),
    "count": torch.tensor(2**53 + 1),
    "generator": torch.arange(7, dtype=torch.uint8),
    "empty": torch.zeros(0, 4),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}
STATE = {"steps": 2**60, "third": 1 / 3, "ledger": {"actor-ü": {"sealed": 7, "dropped": {"late": 0}}}, "none": None}


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.contiguous().numpy().tobytes() == right.contiguous().numpy().tobytes()
    )


def save_small(directory: Path, *updates: int) -> None:
    for update in updates:
        checkpoint.save(directory, update, {"w": torch.full((3,), float(update))}, {"update": update})


def damage(directory: Path, update: int, file: str = "state.safetensors") -> None:
    path = directory / f"{update:08d}" / file
    path.write_bytes(path.read_bytes()[:-1])


def killed_at_call(number: int, calls: Iterator[int], call: Callable[..., Any]) -> Callable[..., Any]:
    """Like SIGKILL, a KeyboardInterrupt runs none of save's own clean-up."""

    def counted(*arguments: Any, **keywords: Any) -> Any:
        if next(calls) >= number:
            raise KeyboardInterrupt
        return call(*arguments, **keywords)

    return counted


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint.save(tmp_path_factory.mktemp("saved"), 12, TENSORS, STATE)


def test_what_is_read_is_bit_for_bit_what_was_saved(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "checkpoints", 12, TENSORS, STATE)
    found = checkpoint.newest(tmp_path / "checkpoints", silent)
    assert path.name == "00000012"
    assert (found.path, found.update, found.state) == (path, 12, STATE)
    assert found.tensors.keys() == TENSORS.keys()
    assert all(same_bits(found.tensors[name], TENSORS[name]) for name in TENSORS)


def test_tensors_read_can_be_trained_further(saved: Path) -> None:
    tensor = checkpoint.read(saved).tensors["policy.weight"]
    tensor += 1
    assert torch.equal(tensor, TENSORS["policy.weight"] + 1)


def test_parts_of_one_flat_buffer_can_be_saved(tmp_path: Path) -> None:
    flat = torch.arange(10.0, requires_grad=True)
    path = checkpoint.save(tmp_path, 1, {"a": flat[:4], "b": flat[4:]}, {})
    assert torch.equal(checkpoint.read(path).tensors["b"], torch.arange(4.0, 10.0))


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "missing", silent) is None
    assert checkpoint.newest(tmp_path, silent) is None


def test_the_newest_is_the_one_of_the_highest_update(tmp_path: Path) -> None:
    save_small(tmp_path, 9, 10, 99_999_999, 100_000_000)
    assert checkpoint.newest(tmp_path, silent).update == 100_000_000


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_truncated_file_is_detected_wherever_it_ends(saved: Path, tmp_path: Path, file: str) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    content = (copy / file).read_bytes()
    for length in [*range(0, len(content), 10), len(content) - 1]:
        (copy / file).write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.read(copy)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), file=st.sampled_from(["state.safetensors", "state.json"]))
def test_a_flipped_bit_is_detected_wherever_it_is(saved: Path, data: st.DataObject, file: str) -> None:
    content = bytearray((saved / file).read_bytes())
    intact = bytes(content)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        (saved / file).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.read(saved)
    finally:
        (saved / file).write_bytes(intact)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_missing_or_longer_file_is_detected(saved: Path, tmp_path: Path, file: str) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content + b" ")
    with pytest.raises(CheckpointError, match=file):
        checkpoint.read(copy)
    (copy / file).unlink()
    with pytest.raises(CheckpointError, match=f"No such file or directory: {file}"):
        checkpoint.read(copy)


def test_an_unreadable_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    save_small(tmp_path, 1, 2, 3)
    damage(tmp_path, 3)
    damage(tmp_path, 2, "state.json")
    warnings: list[str] = []
    assert checkpoint.newest(tmp_path, warnings.append).update == 1
    assert [text.split(" cannot be read")[0] for text in warnings] == [
        f"checkpoint {tmp_path / '00000003'}",
        f"checkpoint {tmp_path / '00000002'}",
    ]


def test_none_readable_is_an_error_of_one_line_and_not_a_start_from_scratch(tmp_path: Path) -> None:
    save_small(tmp_path, 1, 2)
    damage(tmp_path, 1)
    damage(tmp_path, 2)
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints") as caught:
        checkpoint.newest(tmp_path, lambda text: None)
    assert "\n" not in str(caught.value)


def test_an_intact_checkpoint_of_another_format_stops_instead_of_falling_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_small(tmp_path, 1)
    monkeypatch.setattr(checkpoint_document, "FORMAT", 2)
    save_small(tmp_path, 2)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="has format 2, this release reads 1"):
        checkpoint.newest(tmp_path, silent)


@pytest.mark.parametrize("killed_at", range(1, 12))
@pytest.mark.parametrize("update", [2, 1])
def test_a_writer_killed_anywhere_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: int, killed_at: int
) -> None:
    save_small(tmp_path, 1)
    calls = itertools.count(1)
    for owner, name in [(Path, "mkdir"), (Path, "rename"), (os, "fsync"), (os, "write"), (shutil, "rmtree")]:
        monkeypatch.setattr(owner, name, killed_at_call(killed_at, calls, getattr(owner, name)))
    with contextlib.suppress(KeyboardInterrupt):
        checkpoint.save(tmp_path, update, {}, {"update": "new"})
    reached = next(calls) - 1
    monkeypatch.undo()
    found = checkpoint.newest(tmp_path, silent)
    assert found.state == {"update": "new"} if reached < killed_at else found.state["update"] in (1, "new")
    monkeypatch.setattr(checkpoint, "_WRITER", "another")
    save_small(tmp_path, 2)
    checkpoint.prune(tmp_path, keep=2, best=None)
    assert [name.removesuffix(".old") for name in names(tmp_path)] == ["00000001", "00000002"]


def test_saving_the_same_update_again_replaces_it(tmp_path: Path) -> None:
    save_small(tmp_path, 1)
    checkpoint.save(tmp_path, 1, {}, {"again": True})
    assert checkpoint.newest(tmp_path, silent).state == {"again": True}
    assert names(tmp_path) == ["00000001"]


def test_a_checkpoint_being_replaced_is_readable_between_the_two_renames(tmp_path: Path) -> None:
    save_small(tmp_path, 1)
    (tmp_path / "00000001").rename(tmp_path / "00000001.old")
    assert checkpoint.newest(tmp_path, silent).state == {"update": 1}
    checkpoint.prune(tmp_path, keep=1, best=None)
    assert names(tmp_path) == ["00000001.old"]
    save_small(tmp_path, 1)
    checkpoint.prune(tmp_path, keep=1, best=None)
    assert names(tmp_path) == ["00000001"]


def test_a_damaged_future_is_neither_read_nor_kept_again_after_the_fallback(tmp_path: Path) -> None:
    save_small(tmp_path, 1, 50)
    damage(tmp_path, 50)
    save_small(tmp_path, 2)  # resumed from 1
    checkpoint.prune(tmp_path, keep=1, best=None)
    assert checkpoint.newest(tmp_path, silent).update == 2
    assert names(tmp_path) == ["00000002", "00000050.damaged"]


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    save_small(tmp_path, *range(1, 8))
    checkpoint.prune(tmp_path, keep=2, best=3)
    assert names(tmp_path) == ["00000003", "00000006", "00000007"]


def test_prune_deletes_what_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    save_small(tmp_path, 1)
    own = tmp_path / f".writing-{checkpoint._WRITER}-2"
    dead = tmp_path / ".writing-0123456789abcdef-2"
    foreign = tmp_path / "notes"
    for directory in (own, dead, foreign):
        directory.mkdir()
        (directory / "state.json").write_text("{")
    checkpoint.prune(tmp_path, keep=1, best=None)
    assert names(tmp_path) == sorted([own.name, "00000001", "notes"])


def test_prune_never_deletes_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep=0"):
        checkpoint.prune(tmp_path, keep=0, best=None)
    checkpoint.prune(tmp_path / "missing", keep=1, best=None)


def test_the_best_is_the_one_of_the_highest_mean_return(tmp_path: Path) -> None:
    save_small(tmp_path, 1, 2, 3, 4)
    assert checkpoint.offer_best(tmp_path, 1, None) is None  # no episode has ended yet
    assert checkpoint.offer_best(tmp_path, 2, -5.0) == 2
    assert checkpoint.offer_best(tmp_path, 3, -5.0) == 2
    assert checkpoint.offer_best(tmp_path, 4, 7.0) == 4
    assert checkpoint.offer_best(tmp_path, 4, None) == 4
    assert json.loads((tmp_path / "best.json").read_text()) == {"update": 4, "mean_return": 7.0}


def test_a_best_that_is_gone_or_unreadable_does_not_stand_in_the_way(tmp_path: Path) -> None:
    save_small(tmp_path, 1, 2)
    checkpoint.offer_best(tmp_path, 1, 100.0)
    shutil.rmtree(tmp_path / "00000001")
    assert checkpoint.offer_best(tmp_path, 2, 1.0) == 2
    (tmp_path / "best.json").write_text('{"upd')
    assert checkpoint.offer_best(tmp_path, 2, 0.5) == 2


def test_a_full_disk_is_a_checkpoint_error_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_small(tmp_path, 1)

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(checkpoint, "write_durably", full)
    with pytest.raises(CheckpointError, match=r"checkpoint 2 could not be written to .*: No space left on device"):
        save_small(tmp_path, 2)
    assert names(tmp_path) == ["00000001"]
    assert checkpoint.newest(tmp_path, silent).update == 1


def test_a_file_in_the_place_of_the_directory_is_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        save_small(tmp_path / "checkpoints", 1)
    with pytest.raises(CheckpointError, match="cannot be listed: Not a directory"):
        checkpoint.newest(tmp_path / "checkpoints", silent)
    with pytest.raises(CheckpointError, match=r"best\.json could not be written"):
        checkpoint.offer_best(tmp_path / "checkpoints", 1, 1.0)


@pytest.mark.parametrize("value", [float("nan"), b"bytes", torch.zeros(1)])
def test_state_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        checkpoint.save(tmp_path, 1, {}, {"value": value})
    assert names(tmp_path) == []
