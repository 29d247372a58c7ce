"""policy-best.onnx: the policy of the best update, whatever happens to the run."""

import errno
from pathlib import Path

import pytest
from onnx import ModelProto

from dppo.learner.models.onnx_export import with_metadata
from dppo.learner.storage import best_policy
from dppo.learner.storage.best_policy import BEST_POLICY_FILE, BestPolicy
from dppo.learner.storage.run_directory import FILES
from dppo.learner.telemetry.log_backoff import LogBackoff


def graph(version: int) -> bytes:
    model = ModelProto(producer_name="x")
    model.metadata_props.add(key="dppo.version", value=str(version))
    return bytes(model.SerializeToString())


def metadata(directory: Path) -> dict[str, str]:
    model = ModelProto.FromString((directory / BEST_POLICY_FILE).read_bytes())
    return {entry.key: entry.value for entry in model.metadata_props}


def best_of(directory: Path, mean_return: float | None = None, update: int = 0) -> BestPolicy:
    return BestPolicy(directory, LogBackoff(lambda *_: None), mean_return, update)


def test_the_best_update_is_kept_with_its_return(tmp_path: Path) -> None:
    best = best_of(tmp_path)
    for update, mean_return in enumerate([None, -5.0, 3.0, 3.0, 1.0], start=1):
        best.offer(update, mean_return, graph(update + 1))
    best.write()
    assert metadata(tmp_path) == {"dppo.version": "4", "dppo.update": "3", "dppo.mean_return": "3.0"}
    assert best.written == (3.0, 3)


def test_without_enough_episodes_there_is_no_best(tmp_path: Path) -> None:
    best = best_of(tmp_path)
    best.offer(1, None, graph(2))
    best.write()
    assert list(tmp_path.iterdir()) == []
    assert best.written == (None, 0)


def test_a_run_that_goes_on_keeps_its_best(tmp_path: Path) -> None:
    (tmp_path / BEST_POLICY_FILE).write_bytes(graph(4))
    best = best_of(tmp_path, 3.0, 3)
    best.offer(9, 2.9, graph(10))
    best.write()
    assert metadata(tmp_path) == {"dppo.version": "4"}
    best.offer(10, 3.1, graph(11))
    best.write()
    assert metadata(tmp_path)["dppo.update"] == "10"


def test_it_is_written_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    best = best_of(tmp_path)
    for update, now in enumerate([10.0, 10.2, 10.9, 11.1, 11.2]):
        best.offer(update, float(update), graph(update))
        best.write(now)
        assert best.written == (float(update // 3 * 3), update // 3 * 3)
    best.write()
    assert best.written == (4.0, 4)
    assert metadata(tmp_path)["dppo.update"] == "4"


def test_a_record_without_its_file_does_not_count(tmp_path: Path) -> None:
    best = best_of(tmp_path, 3.0, 3)
    best.offer(9, -1.0, graph(10))
    best.write()
    assert metadata(tmp_path)["dppo.mean_return"] == "-1.0"


def test_a_full_disk_is_tried_again_and_not_taken_for_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    best = best_of(tmp_path)
    best.offer(1, 1.0, graph(2))
    with monkeypatch.context() as patched:
        patched.setattr(best_policy, "replace_file", full)
        best.write()
    assert best.written == (None, 0)
    best.write()
    assert best.written == (1.0, 1)


def test_metadata_is_added_to_a_graph_that_stays_what_it_was() -> None:
    before = graph(7)
    after = ModelProto.FromString(with_metadata(before, {"a": "b"}))
    assert after.metadata_props.pop().value == "b"
    assert after.SerializeToString() == before


def test_the_file_is_one_of_the_run_directory() -> None:
    assert BEST_POLICY_FILE in FILES
