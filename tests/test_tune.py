"""The search for settings: what is compared, how it goes on, and what it leaves behind."""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dppo.cli import main
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import resolve
from dppo.settings.tune_arguments import TuneConfig
from dppo.tune.command import tune, verdict_of
from dppo.tune.objective import Curve, chance_of_luck, read_curve, value_of
from dppo.tune.search_space import DEFAULT, read_space
from dppo.tune.trial_run import Interrupted

BEST_RATE = 3e-4


def test_objectives_are_of_the_whole_run() -> None:
    curve = [(100, 0.0), (200, 10.0), (900, 50.0), (1_000, 30.0)]
    assert value_of(curve, "best") == 50.0
    assert value_of(curve, "final") == 40.0
    assert value_of(curve, "area") == (0 * 100 + 10 * 100 + 50 * 700 + 30 * 100) / 1_000
    with pytest.raises(ValueError, match="no episode"):
        value_of([], "area")


def test_curves_are_read_while_they_are_written(tmp_path: Path) -> None:
    rows = [{"steps": 10, "mean_return": None}, {"steps": 20, "mean_return": 1.5}]
    (tmp_path / "m").write_text("\n".join(map(json.dumps, rows)) + '\n{"steps": 3', encoding="utf-8")
    assert read_curve(tmp_path / "m") == [(20, 1.5)]
    assert read_curve(tmp_path / "none") == []


def test_luck_is_judged_by_permutations() -> None:
    assert chance_of_luck([4, 5, 6], [1, 2, 3]) == pytest.approx(1 / 20)  # one of 20 splits is as good
    assert chance_of_luck([1, 2, 3], [4, 5, 6]) == 1.0
    assert chance_of_luck([1, 1], [1, 1]) == 1.0
    many = [float(number) for number in range(12)]
    assert 0.3 < chance_of_luck(many[::2], many[1::2]) < 0.8
    assert "may be luck" in verdict_of({"best": [2.0, 3.0], "start": [1.0, 2.5]}, "area")
    assert "may be luck" not in verdict_of({"best": [4.0, 5.0, 6.0], "start": [1.0, 2.0, 3.0]}, "area")
    assert verdict_of({}, "area") == ""


WRONG_SPACES = {
    "ppo.gama: {low: 0, high: 1}": "did you mean ppo.gamma",
    "ppo.gamma: 0.9": "needs",
    "ppo.gamma: {low: 1, high: 0.5}": "low must be below high",
    "ppo.gamma: {low: 0, high: 0.5, log: true}": "no range: low must be above 0",
    "ppo.epochs: {choices: []}": "list of values",
    "ppo.epochs: {choices: [many]}": "ppo.epochs",
    "env.id: {choices: [a, b]}": "not searched",
    "[1, 2]": "expected settings",
    "a: [": "not valid YAML",
}


@pytest.mark.parametrize("text", WRONG_SPACES)
def test_a_wrong_space_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=WRONG_SPACES[text]):
        read_space(str(file))


def test_the_default_space_fits_together_and_holds_the_defaults() -> None:
    space = read_space("")
    assert len(space) == len(DEFAULT.splitlines())
    for largest in (True, False):
        chosen = {one.path: (max if largest else min)(one.choices or (one.low, one.high)) for one in space}
        build(TrainConfig, chosen)
    with pytest.raises(UsageError, match="cannot read"):
        read_space("none.yaml")


class FakeTraining:
    """Trains in no time: the nearer the learning rate to the best one, the higher the returns."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.seeds: list[int] = []
        self.error: DppoError | None = None
        self.fail_at = -1

    def __call__(
        self, config: TrainConfig, directory: Path, ended: threading.Event, is_hopeless: Callable[[Curve], bool]
    ) -> Curve:
        if ended.is_set() or len(self.rates) == self.fail_at:
            raise Interrupted
        if self.error is not None:
            raise self.error
        directory.mkdir(parents=True, exist_ok=True)
        rate, total = config.learner.ppo.learning_rate, config.learner.run.total_steps
        self.rates.append(rate)
        self.seeds.append(config.learner.run.seed)
        assert not config.learner.run.stop_at_target
        curve: list[tuple[int, float]] = []
        for part in range(1, 21):
            curve.append((part * total // 20, part * (10 - abs(math.log10(rate / BEST_RATE)))))
            if is_hopeless(curve):
                break
        return curve


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    pytest.importorskip("optuna")
    fake = FakeTraining()
    monkeypatch.setattr("dppo.tune.study.train", fake)
    return fake


def config_of(directory: Path, **settings: Any) -> TuneConfig:
    file = directory.parent / "space.yaml"
    file.write_text("ppo.learning_rate: {low: 1.0e-6, high: 1.0e-1, log: true}\n", encoding="utf-8")
    flags = {"env.id": "CartPole-v1", "run.directory": str(directory), "run.total_steps": 10_000, "space": str(file)}
    return resolve(TuneConfig, flags={"trials": 12, "check_seeds": 3, **flags, **settings}).config


def trials(folder: Path) -> Sequence[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    return found


def test_a_search_finds_checks_and_writes(
    tmp_path: Path, training: FakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "search"
    assert tune(config_of(folder)) == 0
    records = trials(folder)
    assert len(records) == 12
    assert {record["state"] for record in records} == {"complete", "pruned"}
    best = max((record for record in records if record["value"] is not None), key=lambda record: record["value"])
    written = resolve(TrainConfig, flags={}, file=str(folder / "best.yaml"), preset="none").config.learner
    assert written.ppo.learning_rate == best["settings"]["ppo.learning_rate"]
    assert (written.env.id, written.collect.envs_per_actor) == ("CartPole-v1", 16)  # as its preset says
    assert (written.run.total_steps, written.run.target_return) == (1_000_000, 475)
    assert training.seeds[-6:] == [2, 3, 4, 2, 3, 4]  # none of which chose the settings
    out = capsys.readouterr().out
    assert "better than the settings it began with" in out or "not better than" in out
    assert "trial 11 (12 of 12)" in out
    assert (folder / "trials.png").stat().st_size > 10_000
    kept = sorted(path.name for path in folder.iterdir() if path.name.startswith("trial-"))
    assert kept == [f"trial-{best['number']}"]


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_ended(
    tmp_path: Path, training: FakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "search"
    training.fail_at = 4
    assert tune(config_of(folder, check_seeds=0, prune=False)) == 130
    assert "after 4 of 12 trials" in capsys.readouterr().out
    training.fail_at = -1
    first = list(training.rates)
    assert tune(config_of(folder, check_seeds=0, prune=False)) == 0
    assert len(training.rates) == 12
    assert not set(first) & set(training.rates[4:])  # no trial is drawn twice
    assert tune(config_of(folder, check_seeds=0, prune=False)) == 0
    assert len(training.rates) == 12
    assert tune(config_of(folder, check_seeds=2, prune=False)) == 0
    assert len(training.rates) == 16
    assert tune(config_of(folder, check_seeds=2, prune=False)) == 0
    assert len(training.rates) == 16  # what is over is not trained again
    with pytest.raises(UsageError, match=r"other settings \(ppo\.gamma\)"):
        tune(config_of(folder, check_seeds=0, prune=False, **{"ppo.gamma": 0.5}))


@pytest.mark.slow
def test_a_trial_that_was_cut_off_is_tried_again_and_leaves_no_folder(tmp_path: Path, training: FakeTraining) -> None:
    folder = tmp_path / "search"
    training.fail_at = 2
    assert tune(config_of(folder, check_seeds=0, prune=False)) == 130
    cut_off = folder / "trial-2" / "seed-1"
    cut_off.mkdir(parents=True)  # as a run that was ended leaves it
    training.fail_at = -1
    assert tune(config_of(folder, check_seeds=0, prune=False)) == 0
    records = trials(folder)
    assert [record["state"] for record in records[:4]] == ["complete", "complete", "fail", "complete"]
    assert records[3]["settings"] == records[2]["settings"]
    assert len(training.rates) == 12
    assert not cut_off.exists()
    training.fail_at = 12
    assert tune(config_of(folder, trials=14, check_seeds=0, prune=False)) == 130
    assert tune(config_of(folder, check_seeds=0, prune=False)) == 0  # with a trial that is not tried again
    assert {record["state"] for record in trials(folder)} == {"complete", "fail"}


@pytest.mark.slow
def test_jobs_share_the_comparison_at_the_end(
    tmp_path: Path, training: FakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2, timeout=60)
    one_after_the_other = training.__call__

    def together(config: TrainConfig, directory: Path, *others: Any) -> Curve:
        if directory.parent.name.startswith("check-"):
            meeting.wait()  # breaks where one job trains them all
        return one_after_the_other(config, directory, *others)

    monkeypatch.setattr("dppo.tune.study.train", together)
    assert tune(config_of(tmp_path / "search", trials=4, check_seeds=3, jobs=2)) == 0
    assert sorted(training.seeds[4:]) == [2, 2, 3, 3, 4, 4]


def test_choices_may_be_lists(tmp_path: Path, training: FakeTraining) -> None:
    config = config_of(tmp_path / "search", trials=3, check_seeds=1)
    Path(config.space).write_text("network.policy_hidden: {choices: [[64, 64], [256]]}\n", encoding="utf-8")
    assert tune(config) == 0
    assert {record["settings"]["network.policy_hidden"] for record in trials(tmp_path / "search")} <= {
        "[64, 64]",
        "[256]",
    }
    written = resolve(TrainConfig, flags={}, file=str(tmp_path / "search" / "best.yaml"), preset="none").config
    assert written.learner.network.policy_hidden in ((64, 64), (256,))


@pytest.mark.slow
def test_hopeless_trials_are_ended_early(tmp_path: Path, training: FakeTraining) -> None:
    folder = tmp_path / "search"
    tune(config_of(folder, trials=20, check_seeds=0))
    pruned = [record for record in trials(folder) if record["state"] == "pruned"]
    assert pruned
    assert all(record["value"] is None and len(record["returns"]) < 20 for record in pruned)


@pytest.mark.slow
def test_seeds_of_a_trial_count_together(tmp_path: Path, training: FakeTraining) -> None:
    tune(config_of(tmp_path / "search", trials=2, trial_seeds=3, check_seeds=1))
    assert training.seeds == [1, 2, 3, 1, 2, 3, 4, 4]


def test_where_nothing_works_the_search_ends_with_the_reason(tmp_path: Path, training: FakeTraining) -> None:
    training.error = DppoError("the simulator has no licence")
    with pytest.raises(
        DppoError, match="3 trials failed and none has worked; the newest: the simulator has no licence"
    ):
        tune(config_of(tmp_path / "search"))


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["CartPole-v1", "--trials", "0"], "trials=0"),
        (["CartPol-v1"], "CartPole-v1"),
        ([], "env is missing"),
        (["CartPole-v1", "--space", "none.yaml"], "cannot read"),
        (["CartPole-v1", "--objective", "x"], "objective"),
    ],
)
def test_wrong_usage_writes_nothing(
    flags: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as end:
        main(["tune", *flags])
    assert end.value.code == 2
    assert why in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_search_of_two_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    folder = tmp_path / "search"
    settings = {"actors": 0, "run.total_steps": 2_500, "trials": 2, "check_seeds": 0}
    assert tune(config_of(folder, **settings)) == 0
    assert [record["state"] for record in trials(folder)] == ["complete", "complete"]
    assert "trial 1 (2 of 2): area" in capsys.readouterr().out
