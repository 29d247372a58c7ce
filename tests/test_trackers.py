"""Curves handed to services: theirs, when they are slow or broken, and over a run that goes on."""

import importlib.util
import json
import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import dppo
from dppo.learner.config import LearnerConfig
from dppo.learner.telemetry import tracking as module
from dppo.learner.telemetry.metrics import writer_of
from dppo.learner.telemetry.trackers import TrackedRun, make_tracker
from dppo.learner.telemetry.tracking import Tracking
from dppo.protocol.errors import UsageError
from dppo.settings.fields import build


class Recording:
    """A user's tracker that keeps what it is told."""

    begun: ClassVar[list[TrackedRun]] = []
    told: ClassVar[list[tuple[int, Mapping[str, float]]]] = []
    ends: ClassVar[list[str]] = []

    def begin(self, run: TrackedRun) -> str:
        self.begun.append(run)
        return run.known_as or "first"

    def log(self, steps: int, values: Mapping[str, float]) -> None:
        self.told.append((steps, values))

    def end(self) -> None:
        self.ends.append("over")


class Broken(Recording):
    def log(self, steps: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("no route\nto host")


class Stuck(Recording):
    free: ClassVar[threading.Event] = threading.Event()

    def begin(self, run: TrackedRun) -> str:
        self.free.wait(20)
        return ""


class Unfinished:
    def begin(self, run: TrackedRun) -> str:
        return ""


@pytest.fixture(autouse=True)
def nothing_told_yet() -> None:
    for kept in (Recording.begun, Recording.told, Recording.ends):
        kept.clear()


def told_by(directory: Path) -> Callable[[str], TrackedRun]:
    return lambda known_as: TrackedRun("dppo", "run", directory, {"ppo.gamma": 0.99}, known_as)


def refuse(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def test_a_tracker_is_told_settings_and_curves_by_the_fields_names(tmp_path: Path) -> None:
    config = build(LearnerConfig, {"run.trackers": (f"{__name__}:Recording",), "run.project": "mine"})
    writer = writer_of(config, tmp_path, refuse)
    writer.write(1, 100, 0.1, {"update/kl": 0.25, "rollout/mean_return": math.nan, "time/steps_per_second": 9.0})
    writer.write(2, 200, 0.2, {"update/kl": 0.5})
    writer.close()
    assert Recording.told == [(100, {"train/kl": 0.25, "time/fps": 9.0}), (200, {"train/kl": 0.5})]
    (run,) = Recording.begun
    assert (run.project, run.name, run.settings["ppo.gamma"], run.known_as) == ("mine", tmp_path.name, 0.99, "")
    assert Recording.ends == ["over"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path: Path) -> None:
    for steps in (100, 200):
        tracking = Tracking([f"{__name__}:Recording"], told_by(tmp_path), refuse)
        tracking.log(steps, {"train/kl": 1.0})
        tracking.close()
    assert [run.known_as for run in Recording.begun] == ["", "first"]
    assert json.loads((tmp_path / "trackers.json").read_text()) == {f"{__name__}:Recording": "first"}


def test_a_broken_service_ends_nothing_and_hides_no_other(tmp_path: Path) -> None:
    warnings: list[str] = []
    names = [f"{__name__}:Broken", f"{__name__}:Recording", "no_such_module:Class"]
    tracking = Tracking(names, told_by(tmp_path), warnings.append)
    for steps in (1, 2, 3):
        tracking.log(steps, {})
    tracking.close()
    assert [steps for steps, _ in Recording.told] == [1, 2, 3]
    assert [warning.partition(" is told")[0] for warning in warnings] == ["no_such_module:Class", f"{__name__}:Broken"]
    assert "ConnectionError: no route to host; training goes on" in warnings[1]


def test_a_service_that_hangs_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    warnings: list[str] = []
    tracking = Tracking([f"{__name__}:Stuck"], told_by(tmp_path), warnings.append)
    for steps in range(10):
        tracking.log(steps, {})
    tracking.close()
    Stuck.free.set()
    assert "3 updates wait to be sent" in warnings[0]
    assert "not everything was sent" in warnings[1]
    assert "7 updates were left out" in warnings[2]


@pytest.mark.parametrize(
    ("name", "why"), [(f"{__name__}:Unfinished", "no method log"), (f"{__name__}:None_", "has no .None_.")]
)
def test_a_class_that_is_no_tracker_is_one_line(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        make_tracker(name)


@pytest.mark.parametrize("trackers", [("tensorflow",), ("wandb", "wandb"), ("a:b c",)])
def test_other_words_are_refused(trackers: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"run\.trackers"):
        build(LearnerConfig, {"run.trackers": trackers})


def test_a_service_that_is_not_installed_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mlflow" else find(name, *rest)
    )
    settings = {"run.directory": str(tmp_path / "run"), "run.trackers": ("mlflow",)}
    with pytest.raises(UsageError, match=r"dppo\[mlflow\]"):
        dppo.train("CartPole-v1", actors=0, verbose=False, **settings)
    assert list(tmp_path.iterdir()) == []


def curves_of_wandb(run: Path) -> Any:
    return list(run.glob("wandb/offline-run-*/run-*.wandb"))


def curves_of_mlflow(run: Path) -> Any:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{run.parent / 'mlflow.db'}")
    (found,) = mlflow.search_runs(experiment_names=["mine"], output_format="list")
    return "train/kl" in found.data.metrics and found.data.params["ppo.gamma"] == "0.99"


def curves_of_trackio(run: Path) -> Any:
    return list((run.parent / "trackio").rglob("mine*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of their own code
@pytest.mark.parametrize("service", ["wandb", "mlflow", "trackio"])
def test_a_service_takes_a_run_without_a_network(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(service) is None:
        pytest.skip(f"{service} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tmp_path / "run"
    warnings: list[str] = []
    config = build(LearnerConfig, {"run.trackers": (service,), "run.project": "mine"})
    for steps in (100, 200):
        run.mkdir(exist_ok=True)
        writer = writer_of(config, run, warnings.append)
        writer.resume_from(steps // 100 - 1)
        writer.write(steps // 100, steps, 0.1, {"update/kl": 0.25})
        writer.close()
    assert warnings == []
    found = {"wandb": curves_of_wandb, "mlflow": curves_of_mlflow, "trackio": curves_of_trackio}[service](run)
    assert found
