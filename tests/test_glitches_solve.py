"""With a glitching simulator the presets are solved all the same, for the right reason. Whole runs: slow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import RunFiles

SECONDS = 240


@pytest.mark.thin(5)
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("what", "value"), [("observation", "1e12"), ("reward", "1e6"), ("reward", "1e9")])
@pytest.mark.parametrize(("preset", "target", "most"), [("CartPole-v1", 475, 500), ("Pendulum-v1", -200, -100)])
def test_a_preset_is_solved_with_glitches_and_not_by_them(
    preset: str, target: float, most: float, what: str, value: str, seed: int, tmp_path: Path
) -> None:
    """Once, or every 10,000 steps: ten times as often as one in 100,000."""
    every = 10_000 * (seed % 2)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "dppo", "train", "--preset", preset, "--actors", "0", "--run.seed", str(seed)),
            *("--env", "glitch_env:Glitch-v0", "--run.directory", str(tmp_path), "--evaluation-episodes", "0"),
            "--env.kwargs",
            f'{{"base": "{preset}", "what": "{what}", "value": {value}, "at": {3000 * seed}, "every": {every}}}',
        ],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stderr
    summary = RunFiles(tmp_path).summary()
    assert summary["solved_steps"] is not None
    assert target <= summary["mean_return"] <= most
    assert summary["median_return"] >= target - 50
    assert summary["outliers"] >= 1
    assert "deviations from what came before" in run.stdout + run.stderr
    assert "absurd number" in run.stdout
