"""Records of a run that a kill, a power failure or an editor has damaged: readers go on without, or are one line."""

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import dppo
from dppo.learner.telemetry.json_lines import json_objects, read_object, read_objects
from dppo.ops.diagnose.command import DiagnoseArguments, diagnose
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import dump_yaml
from dppo.tune.objective import read_curve
from dppo.watch.evaluation_lines import lines
from dppo.watch.record_episode import steps_trained
from dppo.watch.report import ReportArguments, report
from dppo.watch.runs_command import RunsArguments, show_runs

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half of it": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "zeros behind it": lambda content: content + bytes(100),
    "no text": lambda content: random.Random(1).randbytes(300),
    "a hole": lambda content: content[: len(content) // 3] + b"\xff}\n{}\n[1]\n" + content[len(content) // 2 :],
    "null": lambda content: b"null\n",
    "a list": lambda content: b"[1, 2]\n",
    "nothing in it": lambda content: b"{}\n",
    "words for numbers": lambda content: b'{"update": "first", "steps": "many", "elapsed_seconds": null}\n',
}
RECORDS = ("metrics.jsonl", "summary.json", "ledger.json", "eval.jsonl", "evaluation.json", "status.json")
READERS: dict[str, Callable[[Path], object]] = {
    "runs": lambda run: show_runs(RunsArguments(str(run.parent))),
    "runs as JSON": lambda run: show_runs(RunsArguments(str(run.parent), json=True)),
    "dppo.runs": lambda run: dppo.runs(run.parent),
    "dppo.plot": lambda run: dppo.plot(run, output=run.parent / "curve.png"),
    "diagnose": lambda run: diagnose(DiagnoseArguments(str(run))),
    "report": lambda run: report(ReportArguments(str(run), str(run.parent / "report.html"))),
    "evaluations": lines,
    "film": steps_trained,
    "tune": lambda run: read_curve(run / "metrics.jsonl"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.yaml").write_text(dump_yaml(build(TrainConfig, {"env": "CartPole-v1"})))
    (directory / "policy.onnx").write_bytes(b"")
    rows = [
        {"update": n, "steps": 100 * n, "elapsed_seconds": 0.5 * n, "mean_return": 9.0 + n, "episodes": n}
        for n in range(1, 7)
    ]
    (directory / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name in RECORDS[1:]:
        (directory / name).write_text(json.dumps({"updates": 6, "steps": 600, "reason": "600 steps"}) + "\n")
    return directory


def blank(figure: Figure, file: Any, *, format: str, **options: object) -> None:
    """Write an empty picture in place of this one, whose drawing takes most of the time of a reader."""
    file.write("<svg></svg>" if format == "svg" else b"")


@pytest.mark.fast(4)
@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record_costs_no_more_than_itself(
    run: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Figure, "savefig", blank)
    (run / name).write_bytes(DAMAGE[how]((run / name).read_bytes()))
    before = {path: path.read_bytes() for path in run.iterdir()}
    for reader in READERS.values():
        with contextlib.suppress(DppoError):
            reader(run)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.fast(3)
@pytest.mark.parametrize("name", RECORDS)
def test_a_folder_in_the_place_of_a_record_is_one_line(run: Path, name: str) -> None:
    (run / name).unlink()
    (run / name).mkdir()
    for reader in READERS.values():
        with contextlib.suppress(DppoError):
            reader(run)


def test_whole_lines_are_kept_in_their_order(tmp_path: Path) -> None:
    content = b'{"steps": 1}\n{"ste\n\0\0{"steps": 2}\n[3]\n{"steps": "4"}\n{"steps": null}\n{"steps": 5, "a": "b"}\n'
    assert json_objects(content, ("steps",)) == [{"steps": 1}, {"steps": 5, "a": "b"}]
    assert json_objects(content) == [{"steps": 1}, {"steps": "4"}, {"steps": None}, {"steps": 5, "a": "b"}]
    assert read_objects(tmp_path / "none") == []
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_objects(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\0\0", b"{", b"\xff"])
def test_a_file_without_its_object_has_nothing_in_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "summary.json").write_bytes(content)
    assert read_object(tmp_path / "summary.json") == {}
    assert read_object(tmp_path) == {}
    (tmp_path / "summary.json").write_text('{"steps": 1}')
    assert read_object(tmp_path / "summary.json") == {"steps": 1}


@pytest.mark.parametrize("how", ["empty", "zeros", "no text", "a list"])
def test_a_damaged_policy_is_named_with_what_to_do(run: Path, how: str) -> None:
    (run / "policy.onnx").write_bytes(DAMAGE[how](bytes(range(256))))
    with pytest.raises(UsageError, match=r"policy\.onnx is no policy of dppo, or damaged: .*writes it anew$"):
        dppo.evaluate(run, episodes=1)
    with pytest.raises(UsageError, match=r"policy\.onnx: "):
        dppo.load_policy(run)
