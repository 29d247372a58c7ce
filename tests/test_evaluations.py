"""A run that evaluates itself while it trains: when, by which process, and what becomes of it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_child import FakeChild
from graphs import categorical_graph
from processes import SMALL, Place, RunFiles
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_progress import STATUS

from dppo.actor.envs.env_numbers import Place as Numbers
from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.local.inline import run_inline
from dppo.local.progress import Progress
from dppo.protocol.errors import DppoError
from dppo.settings.commands import TrainConfig
from dppo.watch import evaluate as evaluating
from dppo.watch import evaluator as evaluators
from dppo.watch.evaluate_newest import evaluate_newest, write_scalars
from dppo.watch.evaluation_lines import lines
from dppo.watch.evaluator import EvaluationPlan, Evaluator
from dppo.watch.policy_files import BEST_POLICY_FILE
from dppo.watch.side_processes import SideProcesses

PLAN = EvaluationPlan(episodes=4, envs=2, max_seconds=30.0)


def graph(version: int, *, action: int) -> bytes:
    """A CartPole policy: action 0 always pushes to the left, 1 against the pole's fall, which is better."""
    weights = np.zeros((4, 2))
    if action:
        weights[2] = weights[3] = (-1, 1)
    else:
        weights[:, 0] = 0
    return categorical_graph(weights, version=version)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run after one update."""
    (tmp_path / "config.yaml").write_text("env: {id: CartPole-v1}")
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"update": 1, "steps": 100}) + "\n")
    (tmp_path / "policy.onnx").write_bytes(graph(2, action=0))
    return tmp_path


def test_an_evaluation_is_a_line_and_the_best_policy_is_kept(run: Path) -> None:
    first = evaluate_newest(run, 4, 2, 30.0)
    assert (first["steps"], first["version"], first["episodes"], first["stopped"]) == (100, 2, 4, "")
    assert first["is_best"]
    assert first["return_min"] <= first["return_mean"] == first["length_mean"] <= first["return_max"]
    (run / "policy.onnx").write_bytes(graph(3, action=1))
    assert evaluate_newest(run, 4, 2, 30.0)["is_best"]
    better = (run / BEST_POLICY_FILE).read_bytes()
    assert better == graph(3, action=1)
    (run / "policy.onnx").write_bytes(graph(4, action=0))
    assert not evaluate_newest(run, 4, 2, 30.0)["is_best"]
    assert (run / BEST_POLICY_FILE).read_bytes() == better
    assert [line["version"] for line in lines(run)] == [2, 3, 4]
    assert not (run / "policy-evaluated.onnx").exists()


def test_one_that_was_stopped_is_never_the_best(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "policy.onnx").write_bytes(graph(2, action=1))
    times = iter(range(1_000_000))
    monkeypatch.setattr(evaluating.time, "monotonic", lambda: float(next(times)))
    line = evaluate_newest(run, 400, 1, 2000.0)
    assert 0 < line["episodes"] < 400
    assert line["stopped"] == "stopped after 2000 s"
    assert not line["is_best"]
    assert not (run / BEST_POLICY_FILE).exists()


def test_a_best_without_its_file_does_not_count(run: Path) -> None:
    (run / "eval.jsonl").write_text(json.dumps({"return_mean": 1e9, "is_best": True}) + '\n{"torn')
    assert evaluate_newest(run, 2, 2, 30.0)["is_best"]


def test_environments_and_seeds_are_neither_training_s_nor_the_final_evaluation_s(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Numbers] = []
    original = evaluating.make_environments

    def make(*args: Any, place: Numbers, **kwargs: Any) -> Any:
        made.append(place)
        return original(*args, place=place, **kwargs)

    monkeypatch.setattr(evaluating, "make_environments", make)
    during = evaluate_newest(run, 4, 2, 30.0)
    final = evaluating.evaluate(str(run), episodes=4, envs=2)
    assert [place.first_slot for place in made] == [1500, 1002]
    assert during["return_mean"] != final.mean or during["return_std"] != final.std


def test_a_policy_that_cannot_be_evaluated_leaves_nothing(run: Path) -> None:
    (run / "config.yaml").write_text("env: {id: Missing-v0}")
    with pytest.raises(DppoError, match="Missing-v0"):
        evaluate_newest(run, 2, 2, 30.0)
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "metrics.jsonl", "policy.onnx"]


def test_tensorboard_reads_the_figures_over_steps(run: Path) -> None:
    line = evaluate_newest(run, 2, 2, 30.0)
    for steps in (100, 200):
        write_scalars(run, {**line, "steps": steps, "success_rate": 0.5})
    accumulator = EventAccumulator(str(run / "tb" / "eval"))
    accumulator.Reload()
    events = accumulator.Scalars("eval/mean_reward")
    assert [(event.step, event.value) for event in events] == [
        (steps, pytest.approx(line["return_mean"])) for steps in (100, 200)
    ]
    assert [event.value for event in accumulator.Scalars("eval/success_rate")] == [0.5, 0.5]


Look = Callable[[float], int]


class Fake:
    """An evaluator whose processes are none."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self.notes: list[str] = []
        self.evaluator = Evaluator(RunConfig(evaluate_seconds=seconds), PLAN, directory, self.notes.append)

    def look(self, seconds: float, version: int = 3) -> int:
        """Return how many evaluations have been started."""
        self.evaluator.look(msgspec.structs.replace(STATUS, elapsed_seconds=seconds, version=version))
        return len(FakeChild.started)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """Children that were ended."""
    FakeChild.started = []
    monkeypatch.setattr(FakeChild, "error", "no simulator here")
    children: list[FakeChild] = []
    monkeypatch.setattr(evaluators, "Child", FakeChild)
    monkeypatch.setattr(evaluators, "end", lambda them, grace: children.extend(them))
    return children


def line(*, is_best: bool, steps: int = 2048) -> str:
    figures = {"return_mean": 20.0, "return_std": 2.0, "return_min": 17.0, "return_max": 23.0, "length_mean": 20.0}
    return json.dumps({"steps": steps, **figures, "episodes": 4, "stopped": "", "is_best": is_best}) + "\n"


def test_evaluations_are_started_at_intervals_and_never_two_at_a_time(tmp_path: Path, ended: list[FakeChild]) -> None:
    fake = Fake(tmp_path, 10.0)
    assert [fake.look(seconds) for seconds in (0.0, 9.9, 10.1, 19.0, 25.0)] == [0, 0, 1, 1, 1]  # the first goes on
    FakeChild.started[0].code = 0
    (tmp_path / "eval.jsonl").write_text(line(is_best=True))
    assert [fake.look(seconds) for seconds in (26.0, 30.0)] == [2, 2]
    (note,) = fake.notes
    assert note.startswith("evaluation after 2,048 steps, 4 episodes: return 20")
    assert note.endswith(", the best so far")
    assert FakeChild.started[0].arguments == (
        "-m", "dppo.watch.evaluate_newest", str(tmp_path), "events", "4", "2", "30.0", "gently",
    )  # fmt: skip
    fake.evaluator.close()
    fake.evaluator.close()  # before the evaluation at the end, and with the run
    assert ended == [FakeChild.started[1]]
    assert fake.look(1000.0) == 2


@pytest.mark.parametrize(
    ("code", "note"),
    [
        (0, "evaluation after 2,048 steps, 4 episodes: return 20.0 +- 2.0 (17.0 to 23.0), the best so far"),
        (2, "the last policy was not evaluated: no simulator here"),
        (None, "the last policy was not evaluated: it takes more than 30 s"),
    ],
)
def test_the_last_policy_is_evaluated_too_at_once_and_within_its_time(
    code: int | None, note: str, tmp_path: Path, ended: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, waits = Fake(tmp_path, 10.0), []

    def wait(children: list[FakeChild], seconds: float) -> None:
        waits.append(seconds)
        children[0].code = code

    now = iter(float(second) for second in range(100))
    monkeypatch.setattr(evaluators, "wait", wait)
    monkeypatch.setattr(evaluators.time, "monotonic", lambda: next(now))
    assert fake.look(11.0) == 1  # and goes on when the run is over
    (tmp_path / "eval.jsonl").write_text(line(is_best=True))
    fake.evaluator.stop()
    fake.evaluator.evaluate_the_end(lambda: False)
    assert FakeChild.started[1].arguments[-1] == "now"
    assert fake.notes == [note]
    assert len(waits) == (1 if code is not None else 46)
    assert ended == FakeChild.started[: 2 if code is None else 1]


def test_the_last_policy_is_not_evaluated_where_nothing_was_or_could_be(
    tmp_path: Path, ended: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted, without_policy, failed, interrupted = (Fake(tmp_path, seconds) for seconds in (0.0, 9.0, 9.0, 9.0))
    unwanted.look(1.0)
    without_policy.look(100.0, version=0)
    failed.look(11.0)
    FakeChild.started[0].code = 2
    failed.look(12.0)
    for fake in (unwanted, without_policy, failed):
        assert not fake.evaluator.may_evaluate
        fake.evaluator.evaluate_the_end(lambda: False)
    assert len(FakeChild.started) == 1
    interrupted.look(1.0)
    interrupted.evaluator.evaluate_the_end(lambda: True)
    assert ended == [FakeChild.started[1]]
    assert interrupted.notes == []


def test_there_are_no_evaluations_unless_asked_for_and_none_before_a_policy(
    tmp_path: Path, ended: list[FakeChild]
) -> None:
    assert Fake(tmp_path, 0.0).look(1000.0) == 0
    assert Fake(tmp_path, 1.0).look(1000.0, version=0) == 0


def test_after_a_failure_there_are_no_more(tmp_path: Path, ended: list[FakeChild]) -> None:
    fake = Fake(tmp_path, 10.0)
    fake.look(11.0)
    FakeChild.started[0].code = 2
    assert [fake.look(seconds) for seconds in (22.0, 33.0)] == [1, 1]
    assert fake.notes == ["no more evaluations while this run trains: no simulator here"]


def test_one_that_hangs_is_ended(tmp_path: Path, ended: list[FakeChild]) -> None:
    fake = Fake(tmp_path, 10.0)
    fake.look(11.0)
    fake.look(11.0 + 90.0)
    assert ended == []
    fake.look(11.0 + 90.1)
    assert ended == FakeChild.started
    assert fake.notes == ["no more evaluations while this run trains: one takes longer than 90 s"]


def trained(directory: Path, *, evaluate_seconds: float, total_steps: int) -> RunFiles:
    """Train in this process, so shortly that no evaluation is due."""
    config = LearnerConfig(
        env=EnvConfig("CartPole-v1"),
        collect=CollectConfig(batch_steps=256, envs_per_actor=4),
        ppo=PpoConfig(epochs=1, minibatch_steps=128),
        network=NetworkConfig(policy_hidden=(8,), critic_hidden=(8,)),
        run=RunConfig(
            str(directory),
            total_steps=total_steps,
            return_window=5,
            tensorboard=False,
            evaluate_seconds=evaluate_seconds,
        ),
    )
    progress = Progress()
    train = TrainConfig(config, actors=0)
    with SideProcesses(train, directory, progress.note) as sides:
        assert not run_inline(train, progress, sides)
    return RunFiles(directory)


def test_the_best_policy_follows_training_only_without_evaluations(tmp_path: Path) -> None:
    files = trained(tmp_path / "run", evaluate_seconds=0.0, total_steps=512)
    best = files.path / BEST_POLICY_FILE
    assert best.is_file()
    assert files.summary()["best_mean_return"] is not None
    best.write_bytes(b"an evaluation's")
    files = trained(tmp_path / "run", evaluate_seconds=1e6, total_steps=2048)
    assert best.read_bytes() == b"an evaluation's"
    assert files.summary()["best_mean_return"] is None
    files = trained(tmp_path / "run", evaluate_seconds=0.0, total_steps=3072)
    assert best.read_bytes() != b"an evaluation's"
    assert files.summary()["best_mean_return"] is not None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_evaluates_itself_and_leaves_no_process() -> None:
    with Place() as place:
        command = place.start(
            "train", *SMALL, "--env", "CartPole-v1", "--run.directory", "run", "--actors", "1",
            *("--run.total-steps", "100000000", "--run.evaluate-seconds", "1", "--evaluation-episodes", "0"),
        )  # fmt: skip
        run = place.path / "run"
        place.until(lambda: len(lines(run)) >= 2, "two evaluations", during=command)
        time.sleep(0.3)
        command.signal(2)
        place.ends(command, code=130)
        place.leaves_nothing()
        assert (run / BEST_POLICY_FILE).is_file()
        assert "evaluation after " in command.said()
        summary = RunFiles(run).summary()
        assert summary["best_mean_return"] is None  # training's, which policy-best.onnx does not follow
