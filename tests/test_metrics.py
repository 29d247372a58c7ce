"""Curves: strict JSON lines without duplicates, events that TensorBoard reads, and nothing that stops a run."""

import builtins
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from dppo.learner.config import LearnerConfig, settings_by_path
from dppo.learner.telemetry import metrics
from dppo.learner.telemetry import tensorboard_records as event_files
from dppo.learner.telemetry.metrics import MetricsWriter
from dppo.learner.telemetry.tags import tag_of


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def write_updates(directory: Path, *updates: int, resumed: int = 0, kl: float = 0.5) -> None:
    """100 steps an update."""
    writer = MetricsWriter(directory, True, silent)
    writer.resume_from(resumed)
    for update in updates:
        writer.write(update, 100 * update, 1.5 * update, {"update/kl": kl, "rollout/mean_return": -float(update)})
    writer.close()


def lines(directory: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (directory / "metrics.jsonl").read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def scalars(directory: Path, tag: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(directory / "tb"))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_tensorboard_has_the_settings_as_text_and_as_hparams(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    settings = {**settings_by_path(LearnerConfig()), "env.id": "a|b"}
    writer = MetricsWriter(tmp_path, True, silent, settings)
    writer.write(1, 100, 0.1, {"update/kl": 0.25})
    writer.close()
    accumulator = EventAccumulator(str(tmp_path / "tb"))
    accumulator.Reload()
    (text,) = accumulator.Tensors("settings/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "| ppo.gamma | 0.99 |" in shown
    assert r"| env.id | a\|b |" in shown
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["ppo.gamma"].number_value == 0.99
    assert hparams["ppo.normalise_values"].bool_value
    assert hparams["env.id"].string_value == "a|b"
    assert scalars(tmp_path, "train/kl") == [(100, 0.25)]


def test_curves_have_the_names_of_the_field() -> None:
    known = {"rollout/mean_return": "rollout/ep_rew_mean", "time/steps_per_second": "time/fps", "update/kl": "train/kl"}
    assert {name: tag_of(name) for name in known} == known
    assert [tag_of(name) for name in ("rollout/batch_steps", "metrics/update/x")] == [
        "rollout/batch_steps",
        "metrics/update/x",
    ]


def test_an_update_is_one_line_of_ungrouped_names(tmp_path: Path) -> None:
    write_updates(tmp_path, 1, 2)
    assert lines(tmp_path) == [
        {"update": 1, "steps": 100, "elapsed_seconds": 1.5, "kl": 0.5, "mean_return": -1.0},
        {"update": 2, "steps": 200, "elapsed_seconds": 3.0, "kl": 0.5, "mean_return": -2.0},
    ]


def test_tensorboard_reads_back_what_was_written_by_grouped_name_over_steps(tmp_path: Path) -> None:
    write_updates(tmp_path, 1, 2, 3)
    assert scalars(tmp_path, "train/kl") == [(100, 0.5), (200, 0.5), (300, 0.5)]
    assert scalars(tmp_path, "rollout/ep_rew_mean") == [(100, -1.0), (200, -2.0), (300, -3.0)]


def test_a_line_can_be_read_before_the_writer_is_closed(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, True, silent)
    writer.write(1, 100, 0.1, {"update/kl": 0.25})
    assert lines(tmp_path)[0]["kl"] == 0.25
    assert scalars(tmp_path, "train/kl") == [(100, 0.25)]
    writer.close()


def test_values_that_are_not_finite_are_null(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, True, silent)
    writer.write(1, 100, 0.1, {"a/x": float("nan"), "a/y": float("-inf"), "a/z": 0.0})
    writer.close()
    assert [lines(tmp_path)[0][key] for key in "xyz"] == [None, None, 0.0]
    assert scalars(tmp_path, "a/y") == [(100, float("-inf"))]


@pytest.mark.parametrize("names", [("rollout/length", "eval/length"), ("time/steps",), ("update",)])
def test_two_names_that_end_alike_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    writer = MetricsWriter(tmp_path, False, silent)
    with pytest.raises(ValueError, match=r"two metrics end in '(length|steps|update)'"):
        writer.write(1, 100, 0.1, dict.fromkeys(names, 1.0))


def test_without_tensorboard_there_are_no_events(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, False, silent)
    writer.write(1, 100, 0.1, {"update/kl": 0.25})
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_after_a_resume_no_update_is_in_either_curve_twice(tmp_path: Path) -> None:
    write_updates(tmp_path, 1, 2, 3, 4)
    write_updates(tmp_path, 3, 4, 5, resumed=2, kl=0.75)
    write_updates(tmp_path, 5, 6, resumed=4, kl=1.0)
    assert [(line["update"], line["kl"]) for line in lines(tmp_path)] == [
        (1, 0.5),
        (2, 0.5),
        (3, 0.75),
        (4, 0.75),
        (5, 1.0),
        (6, 1.0),
    ]
    expected = [(100, 0.5), (200, 0.5), (300, 0.75), (400, 0.75), (500, 1.0), (600, 1.0)]
    assert scalars(tmp_path, "train/kl") == expected


def test_a_resume_takes_updates_away_from_tensorboard_that_are_never_reached_again(tmp_path: Path) -> None:
    write_updates(tmp_path, 1, 2, 3, 4)
    write_updates(tmp_path, 3, resumed=2)
    assert [step for step, _ in scalars(tmp_path, "train/kl")] == [100, 200, 300]


def test_a_start_from_scratch_forgets_everything(tmp_path: Path) -> None:
    write_updates(tmp_path, 1, 2)  # died before its first checkpoint
    write_updates(tmp_path, 1, kl=0.75)
    assert [(line["update"], line["kl"]) for line in lines(tmp_path)] == [(1, 0.75)]
    assert scalars(tmp_path, "train/kl") == [(100, 0.75)]


@pytest.mark.parametrize("torn", [b'{"update": 3, "ste', b'{"update": 3, "steps": 300}', b"\n", b"\0\0\0\n"])
def test_a_line_torn_by_a_crash_is_taken_away(tmp_path: Path, torn: bytes) -> None:
    write_updates(tmp_path, 1, 2)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    write_updates(tmp_path, 3, resumed=2)
    assert [line["update"] for line in lines(tmp_path)] == [1, 2, 3]


def test_a_line_torn_at_every_byte_loses_that_line_and_no_other(tmp_path: Path) -> None:
    write_updates(tmp_path, 1, 2)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    writer = MetricsWriter(tmp_path, False, silent)
    for length in range(first, len(whole)):
        (tmp_path / "metrics.jsonl").write_bytes(whole[:length])
        writer.resume_from(9)
        assert (tmp_path / "metrics.jsonl").read_bytes() == whole[:first]


def test_a_full_disk_is_reported_once_for_each_file_and_leaves_no_torn_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    writer = MetricsWriter(tmp_path, True, warnings.append)
    writer.write(1, 100, 0.1, {"update/kl": 0.25})
    write = os.write
    free = [20]

    def nearly_full(descriptor: int, data: memoryview) -> int:
        if not free[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: free[0]])
        free[0] -= written
        return written

    monkeypatch.setattr(metrics.os, "write", nearly_full)
    for update in (2, 3):
        writer.write(update, 100 * update, 0.1, {"update/kl": 0.25})
        free[0] = 20
    monkeypatch.undo()
    writer.write(4, 400, 0.1, {"update/kl": 0.25})
    writer.close()
    assert [line["update"] for line in lines(tmp_path)] == [1, 4]
    assert scalars(tmp_path, "train/kl") == [(100, 0.25), (400, 0.25)]
    assert [text.split(" in ")[0] for text in warnings] == ["metrics.jsonl", "TensorBoard events"]
    assert all("No space left on device" in text and "Training goes on" in text for text in warnings)


def test_a_disk_full_at_the_start_of_the_events_leaves_one_readable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(metrics.os, "write", full)
    writer = MetricsWriter(tmp_path, True, lambda text: None)
    for update in (1, 2):
        writer.write(update, 100 * update, 0.1, {"update/kl": 0.25})
    monkeypatch.undo()
    writer.write(3, 300, 0.1, {"update/kl": 0.25})
    writer.close()
    assert scalars(tmp_path, "train/kl") == [(300, 0.25)]
    assert len(list((tmp_path / "tb").iterdir())) == 1


def test_files_that_cannot_be_opened_do_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "tb").write_text("")
    (tmp_path / "metrics.jsonl").mkdir()
    warnings: list[str] = []
    writer = MetricsWriter(tmp_path, True, warnings.append)
    writer.resume_from(0)
    writer.write(1, 100, 0.1, {"update/kl": 0.25})
    writer.close()
    assert [text.split(" in ")[0] for text in warnings] == ["metrics.jsonl", "TensorBoard events"]


def test_a_missing_tensorboard_is_reported_once_and_the_lines_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without_tensorboard(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("tensorboard"):
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_tensorboard)
    warnings: list[str] = []
    writer = MetricsWriter(tmp_path, True, warnings.append)
    for update in (1, 2):
        writer.write(update, 100 * update, 0.1, {"update/kl": 0.25})
    writer.close()
    assert len(lines(tmp_path)) == 2
    assert warnings == [
        "no TensorBoard events: No module named 'tensorboard'. Install dppo[learner] or set run.tensorboard to false."
    ]


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 3])
def test_the_checksum_is_the_one_that_tensorboard_computes(data: bytes) -> None:
    assert event_files.crc32c(data) == pywrap_tensorflow.crc32c(data)
    assert event_files.crc32c(b"123456789") == 0xE3069283  # RFC 3720
