"""The experiments' simulated time, their stragglers and their intervals."""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scripts.experiments import actor_counts, rule_costs, speeds, stragglers
from scripts.experiments.intervals import interval
from scripts.experiments.learning import Curve, Point
from scripts.experiments.row_files import Figures, add_options, fill, line, write_rows, write_runs


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten environments, of which the last one is slow, and batches of 10 steps each."""
    monkeypatch.setattr(stragglers, "ENVIRONMENTS", 10)
    monkeypatch.setattr(stragglers, "BATCH_STEPS", 100)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_in_simulated_time_a_slow_environment_has_the_share_of_its_speed_and_under_quota_its_own() -> None:
    *_, free = stragglers.batches("minimum", "environments", 1, 3)
    *_, exact = stragglers.batches("quota", "environments", 1, 3)
    assert exact.steps.tolist() == [10] * 10
    assert exact.slow.tolist() == [0] * 9 + [10], "the reward says which steps were slow"
    assert exact.seconds == pytest.approx(10 * speeds.FAST_SECONDS * speeds.SLOWER)
    assert exact.made.tolist() == [100, 10], "all that is made is trained on"
    assert free.steps[9] <= 2
    assert free.steps[:9].min() >= 10
    assert free.seconds < 0.21, "the slow row that STOP finds is waited for"


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_run_in_simulated_time_is_the_same_each_time() -> None:
    one, other = (
        [(batch.seconds, batch.steps.tolist(), batch.action) for batch in stragglers.batches("minimum", "states", 2, 2)]
        for _ in range(2)
    )
    assert one == other


def test_the_figures_of_a_run_are_shares_of_what_is_ideal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "WARM_UP", 0)
    steps = np.full(32, 32)
    batch = stragglers.Batch(seconds=0.32, steps=steps, slow=np.full(32, 4), action=0.25, made=np.array([1024, 256]))
    found = stragglers.figures([batch], "equal")
    shares = {"made_slow_share": 0.25, "slow_share": 0.125, "weighted_slow_share": 0.125, "learned_share": 0.25}
    traces = {"slow_trace_steps": 32.0, "fast_trace_steps": 32.0}
    assert found == pytest.approx({"rate": 1.0, "batch_steps": 1.0, **shares, **traces})


def test_a_leaning_pole_makes_the_next_step_slow() -> None:
    env = speeds.Leaning(slot=3)
    env.reset(seed=1)
    pushes, angles, terminated = 0, [0.0], False
    while not terminated:
        observation, _, terminated, truncated, _ = env.step(np.int64(1))
        pushes, angles = pushes + 1, [*angles, abs(float(observation[2]))]
        slow = angles[-1] > speeds.LEAN
        assert speeds.seconds_of(range(3, 4)) == pytest.approx(speeds.FAST_SECONDS * (speeds.SLOWER if slow else 1))
        assert not truncated
    made = speeds.REGISTRY[3]
    assert (made.steps, made.slow_steps) == (pushes, sum(angle > speeds.LEAN for angle in angles[:-1]))
    assert made.slow_steps > 0
    env.reset(seed=1)
    assert speeds.seconds_of(range(3, 4)) == speeds.FAST_SECONDS


@pytest.mark.slow
def test_each_rule_is_compared_with_minimum_in_the_same_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_costs, "BATCHES", 1)
    found = rule_costs.figures(rule_costs.Way("quota", 16, 0.1), 1)
    plain = rule_costs.figures(rule_costs.Way("minimum", 16, 0.1), 1)
    assert (found["batch_steps"], plain["rate_to_minimum"]) == (1024, 1)
    assert found["rate"] / plain["rate"] == found["rate_to_minimum"]
    assert 0.5 < found["rate"] < 1, "messages and the slowest are waited for"


def test_an_interval_holds_the_mean_and_widens_with_the_spread() -> None:
    narrow, wide = interval([1.0, 1.1, 0.9, 1.0, 1.0]), interval([0.0, 2.0, 1.0, 0.5, 1.5])
    assert narrow["mean"] == pytest.approx(1.0)
    assert narrow["low"] < 1.0 < narrow["high"]
    assert wide["high"] - wide["low"] > 5 * (narrow["high"] - narrow["low"])


def test_a_curve_is_averaged_over_the_steps_that_it_took() -> None:
    points = [Point(100, 1.0, float("nan"), 100), Point(200, 2.0, 50.0, 100), Point(400, 3.0, 100.0, 200)]
    curve = Curve(points, None)
    assert curve.return_up_to(300) == pytest.approx((50 * 100 + 100 * 100) / 200), "from the first return on"
    assert curve.return_within(2.5) == pytest.approx((50 * 1 + 100 * 0.5) / 1.5)
    assert np.isnan(Curve(points[:1], None).return_up_to(300))


def test_sixteen_environments_are_divided_among_any_number_of_actors() -> None:
    assert [actor_counts.ENVIRONMENTS % actors for actors in (1, 2, 4, 8)] == [0] * 4


def test_rows_of_an_experiment_stay_where_others_are_run_again(tmp_path: Path) -> None:
    output = str(tmp_path / "rows.json")
    write_rows(output, {"kind": "states", "date": "yesterday"}, {"quota": 1, "minimum": 2})
    write_rows(output, {"kind": "states", "date": "today"}, {"minimum": 3})
    written = json.loads(Path(output).read_bytes())
    assert written == {"kind": "states", "date": "today", "rows": {"quota": 1, "minimum": 3}}
    write_rows(output, {"kind": "steps", "date": "today"}, {"minimum": 4})
    assert json.loads(Path(output).read_bytes())["rows"] == {"minimum": 4}


def test_runs_of_other_seeds_are_beside_those_that_the_file_has(tmp_path: Path) -> None:
    output = str(tmp_path / "runs.json")
    write_runs(output, {"env": "A", "date": "yesterday"}, "white", {2: {"steps": 3.0, "best": None}})
    row = write_runs(output, {"env": "A", "date": "today"}, "white", {1: {"steps": 1.0, "best": 5.0}})
    assert (row["seeds"], row["steps"]["mean"], row["steps"]["seeds"]) == (2, 2.0, [1.0, 3.0])
    assert (row["best"]["of"], row["best"]["mean"]) == (1, 5.0)
    write_runs(output, {"env": "A", "date": "today"}, "pink", {1: {"steps": None, "best": None}})
    written = json.loads(Path(output).read_bytes())
    assert written["rows"]["white"] == row
    assert written["rows"]["pink"] == {"seeds": 1, "steps": None, "best": None}
    assert line("pink", written["rows"]["pink"]).endswith("(1 seeds): steps -, best -")
    assert list(written["runs"]["white"]) == ["1", "2"]


def test_what_a_file_has_is_not_run_again_and_seeds_come_one_after_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    made = list[tuple[str, int]]()

    def run(name: str, seed: int) -> Figures:
        made.append((name, seed))
        return {"steps": float(seed)}

    rows = {"white": partial(run, "white"), "pink": partial(run, "pink")}
    output = str(tmp_path / "runs.json")
    for given in (["--seeds", "1"], ["--seeds", "1", "2"], ["--seeds", "3", "--seconds", "-1"]):
        fill(parser.parse_args([*given, "--output", output]), {"env": "A", "date": given[-1]}, rows)
    assert made == [("white", 1), ("pink", 1), ("white", 2), ("pink", 2)]
    assert json.loads(Path(output).read_bytes())["rows"]["pink"]["steps"]["seeds"] == [1.0, 2.0]
    assert "2 of 2 runs are left" in capsys.readouterr().out
    fill(parser.parse_args(["--seeds", "1", "--output", output]), {"env": "B"}, rows)
    assert made[4:] == [("white", 1), ("pink", 1)], "another experiment"
