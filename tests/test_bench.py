"""The benchmarks run real commands and write down what they saw."""

import json
from pathlib import Path
from typing import Any

import pytest

from dppo.cli import main

TINY = ("--", "--actors", "1", "--steps", "6000")


def bench(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    output = tmp_path / "result.json"
    with pytest.raises(SystemExit) as end:
        main(["bench", *arguments, "--output", str(output), *TINY])
    assert end.value.code == 0
    result: dict[str, Any] = json.loads(output.read_bytes())
    assert result["cores"] >= 1
    assert result["date"]
    return result


@pytest.mark.slow
def test_a_seed_that_did_not_solve_is_reported_as_such_and_leaves_no_median(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bench(tmp_path, "solve", "CartPole-v1", "--seeds", "1")
    (run,) = result["runs"]
    assert run["solved_seconds"] is None
    assert result["median"]["solved_seconds"] is None
    assert run["first_step_seconds"] > 0
    assert run["actor_pss_bytes"] > 10**7
    assert "not solved" in capsys.readouterr().out


@pytest.mark.slow
def test_a_preset_is_run_to_the_end_of_its_budget_and_its_curve_is_kept(tmp_path: Path) -> None:
    result = bench(tmp_path, "preset", "tutorial-tuned/dppo-discrete", "--seeds", "1")
    (run,) = result["runs"]
    assert run["steps"] >= 6000
    assert run["curve"][-1]["steps"] == run["steps"]
    assert run["stale_steps"] == 0
    assert run["first_pass_ratio_error"] < 1e-4
