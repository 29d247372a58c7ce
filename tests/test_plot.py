"""Learning curves: what is read, how seeds are summed up, and that a picture comes out."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from protocol.errors import UsageError
from scripts.plot import band, plot, read_curve


def run_directory(path: Path, returns: list[float | None], env: str = "Pendulum-v1", seconds: float = 0.5) -> str:
    path.mkdir()
    (path / "config.yaml").write_text(f"env: {{id: {env}}}\n")
    rows = [
        {"update": i, "steps": 100 * i, "elapsed_seconds": seconds * i, "mean_return": value, "target_return": -200.0}
        for i, value in enumerate(returns, start=1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_curve_starts_with_the_first_mean_return_and_ignores_a_torn_line(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "a", [None, -900.0, -500.0])
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write('{"update": 4, "ste')
    curve = read_curve(Path(run))
    assert (curve.env, curve.target) == ("Pendulum-v1", -200.0)
    np.testing.assert_array_equal(curve.steps, [200, 300])
    np.testing.assert_array_equal(curve.seconds, [1.0, 1.5])
    np.testing.assert_array_equal(curve.returns, [-900, -500])


def test_a_run_without_settings_is_named_by_its_directory(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "mine", [1.0])
    (tmp_path / "mine" / "config.yaml").unlink()
    assert read_curve(Path(run)).env == "mine"


def test_the_band_is_worst_median_and_best_and_a_solved_run_keeps_its_last_value(tmp_path: Path) -> None:
    runs = [[0.0, 10.0, 20.0], [0.0, 20.0, 40.0], [0.0, 30.0]]
    curves = [read_curve(Path(run_directory(tmp_path / str(i), values))) for i, values in enumerate(runs)]
    grid, low, median, high = band(curves, "steps")
    assert (grid[0], grid[-1]) == (100, 300)
    assert (low[-1], median[-1], high[-1]) == (20, 30, 40)
    middle = np.searchsorted(grid, 200)
    np.testing.assert_allclose([low[middle], median[middle], high[middle]], [10, 20, 30], rtol=0.01)


@pytest.mark.parametrize("x", ["steps", "time"])
def test_several_runs_become_one_picture_in_the_first_of_them(tmp_path: Path, x: Literal["steps", "time"]) -> None:
    runs = [run_directory(tmp_path / name, [-900.0, -500.0, -190.0]) for name in "ab"]
    runs.append(run_directory(tmp_path / "c", [20.0, 475.0], env="CartPole-v1"))
    written = plot(runs, x=x)
    assert written == tmp_path / "a" / "curve.png"
    assert written.read_bytes().startswith(b"\x89PNG")


def test_other_formats_by_name(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "a", [1.0])
    assert b"<svg" in plot([run], str(tmp_path / "c.svg")).read_bytes()


@pytest.mark.parametrize(
    ("output", "complaint"), [("c.bmp", "known picture format"), ("/nowhere/c.png", "cannot write /nowhere/c.png")]
)
def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path, output: str, complaint: str) -> None:
    run = run_directory(tmp_path / "a", [1.0])
    with pytest.raises(UsageError, match=complaint):
        plot([run], output)


def test_a_run_without_a_curve_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        plot([run_directory(tmp_path / "a", [None])])
    with pytest.raises(UsageError, match="cannot read"):
        plot([str(tmp_path / "b")])
