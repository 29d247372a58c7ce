"""The end of a run, as a user reads it: digits, the two ways to act, what to do next."""

import dataclasses
import json
import logging
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.local import run_summary as closing
from dppo.local.final_evaluation import Evaluated
from dppo.local.run_summary import close_run, closing_text, place_of_programs, saved_evaluation, say_what_is_next
from dppo.local.run_summary_text import differ, next_steps, sampled_text, training_text
from dppo.number_text import mean_and_spread, numbers, return_number
from dppo.watch.episode_results import EvaluationResult

LEDGER = {"sealed": 20, "trained": 20, "pending": 0, "in_flight": 0, "dropped": {}}
SUMMARY = {
    "env": "Walker2d-v5",
    "reason": "1,000 of 1,000 steps are done",
    "updates": 3,
    "steps": 1000,
    "episodes": 12,
    "elapsed_seconds": 4.0,
    "mean_return": 3820.4,
    "best_mean_return": 3901.6,
    "best_update": 2,
    "target_return": 4000.0,
    "solved_steps": None,
    "ledger": LEDGER,
}


def result(mean: float, *, deterministic: bool = True, std: float = 180.5) -> EvaluationResult:
    low, high = mean - 2 * std, mean + 2 * std
    return EvaluationResult("Walker2d-v5", 7, 20, deterministic, mean, std, low, high, (mean,) * 20, (1000,) * 20)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (0.0123, "0.0123"),
        (-0.0123, "-0.0123"),
        (1.0, "1.0"),
        (9.99996, "10.0"),
        (21.5, "21.5"),
        (-154.83, "-154.8"),
        (500.0, "500.0"),
        (3510.24, "3,510"),
        (1234567.0, "1,234,567"),
        (1e12, "1e+12"),
        (1.234e-9, "1.234e-09"),
        (math.inf, "inf"),
    ],
)
def test_a_return_has_four_digits(value: float, text: str) -> None:
    assert return_number(value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.0123, 0.0, 0.0123, 0.0123), "0.0123 +- 0.0000 (0.0123 to 0.0123)"),
        ((0.87, 0.336, 0.0, 1.0), "0.870 +- 0.336 (0.000 to 1.000)"),
        ((500.0, 0.0, 500.0, 500.0), "500.0 +- 0.0 (500.0 to 500.0)"),
        ((2182.0, 1805.3, 100.0, 4100.0), "2,182 +- 1,805 (100 to 4,100)"),
        ((1000.0051, 0.0032, 1000.0, 1000.01), "1,000.005 +- 0.003 (1,000.000 to 1,000.010)"),
    ],
)
def test_numbers_side_by_side_have_the_same_decimals(values: tuple[float, float, float, float], text: str) -> None:
    mean, std, low, high = values
    assert mean_and_spread(mean=mean, std=std, low=low, high=high) == text


@given(st.floats(-1e300, 1e300))
def test_no_return_is_shown_as_another_one(value: float) -> None:
    shown = float(return_number(value).replace(",", ""))
    assert math.isclose(shown, value, rel_tol=1e-3)


@given(st.lists(st.floats(-1e8, 1e8), min_size=1, max_size=4))
def test_side_by_side_nothing_is_off_by_more_than_a_thousandth_of_the_largest(values: list[float]) -> None:
    largest = max(map(abs, values))
    for value, text in zip(values, numbers(values), strict=True):
        assert abs(float(text.replace(",", "")) - value) <= 1e-3 * largest


def test_the_summary_of_small_returns_tells_them_from_zero() -> None:
    assert "return 0.0123 +- 0.0000" in result(0.0123, std=0.0).summary()


def test_the_end_says_how_training_went() -> None:
    line = "training: mean return 3,820 of the newest episodes (target 4000); best 3,902 at update 2"
    assert training_text(SUMMARY) == line
    assert closing_text(SUMMARY).splitlines()[2] == line
    assert training_text({**SUMMARY, "mean_return": None}) == ""
    assert len(closing_text({**SUMMARY, "mean_return": None}).splitlines()) == 3
    assert "best" not in training_text({**SUMMARY, "best_mean_return": 3000.0})


def test_evaluation_and_training_are_explained_where_they_differ() -> None:
    text = sampled_text(result(2182.0), result(3510.0, deterministic=False), SUMMARY)
    first, *rest = text.splitlines()
    assert first.startswith("  with sampled actions, as in training: return 3,510 +- 180")
    assert "2,182 with most likely actions, 3,510 sampled; training's 3,820 was sampled" in " ".join(rest)
    assert "\n" not in sampled_text(result(3700.0), result(3710.0, deterministic=False), SUMMARY)
    late = sampled_text(result(500.0), result(496.9, deterministic=False), {**SUMMARY, "mean_return": 107.5})
    assert late.splitlines()[1:] == ["  training's 107.5 is over its newest episodes, which began under older policies"]
    assert "\n" not in sampled_text(result(0.0), result(3510.0), {**SUMMARY, "mean_return": None})


@pytest.mark.parametrize(
    ("wrapper", "reason"),
    [
        ("NormalizeReward", "  training's 3,820 has another unit: gymnasium's NormalizeReward divides rewards by"),
        ("NormalizeObservation", "  in evaluation the policy sees other observations than in training: gymnasium's"),
        ("mine:Scaled", "  mine:Scaled changes rewards: where it keeps statistics of its own, they begin anew"),
    ],
)
def test_wrappers_are_named_where_they_may_be_the_reason(wrapper: str, reason: str) -> None:
    sampled = dataclasses.replace(result(20.0, deterministic=False), wrappers=(wrapper,))
    _, line = sampled_text(result(20.0), sampled, SUMMARY).splitlines()
    assert line.startswith(reason)
    same = dataclasses.replace(result(3820.0, deterministic=False), wrappers=(wrapper,))
    assert "\n" not in sampled_text(result(3820.0), same, SUMMARY)


def test_a_crashing_environment_is_not_said_to_have_episodes_without_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dppo.watch.plot.plot", lambda runs, output, x: tmp_path / "curve.png")
    (tmp_path / "policy.onnx").write_bytes(b"x")
    for environments, text in ((4, False), (5, True)):
        crashed = {**SUMMARY, "episodes": 0, "env_restarts": 4, "environments": environments}
        (tmp_path / "summary.json").write_text(json.dumps(crashed))
        close_run(tmp_path, episodes=5)
        assert ("no evaluation: no episode ended" in capsys.readouterr().out) is text


def test_one_is_not_many() -> None:
    one = {**SUMMARY, "updates": 1, "steps": 1, "episodes": 1, "env_restarts": 1}
    assert "1 update, 1 step, 1 episode; 4.0 s since launch; 1 environment crashed and was made" in closing_text(one)
    many = {**SUMMARY, "updates": 1203, "env_restarts": 22}
    assert "1,203 updates, 1,000 steps, 12 episodes; 4.0 s since launch; 22 environments crashed" in closing_text(many)
    assert "crashed" not in closing_text(SUMMARY)


def test_a_run_without_an_update_has_no_curve_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({**SUMMARY, "updates": 0, "steps": 0, "episodes": 0}))
    close_run(tmp_path, episodes=0)
    assert "no learning curve: no update is done yet\n" in capsys.readouterr().out


def test_what_is_near_does_not_differ() -> None:
    assert differ(2182, 3510)
    assert differ(0.0, 0.1)
    assert not differ(0.0, 0.0)
    assert not differ(-200.0, -205.0)
    assert not differ(math.inf, 1.0)


def test_what_is_next_fits_the_run() -> None:
    text = next_steps(Path("runs/my runs/x"), SUMMARY, has_best=True)
    assert "dppo evaluate 'runs/my runs/x' --video episode.mp4" in text
    assert "--best" in text
    assert "... --run.total-steps 2000 " in text
    assert "--best" not in next_steps(Path("runs/x"), SUMMARY, has_best=False)
    short = {**SUMMARY, "target_return": 475.0, "best_mean_return": 200.0}
    assert "dppo diagnose 'runs/my runs/x'" in next_steps(Path("runs/my runs/x"), short, has_best=False)
    assert "diagnose" not in next_steps(Path("r"), {**short, "best_mean_return": 480.0}, has_best=False)
    solved = {**SUMMARY, "solved_steps": 5, "reason": "solved: mean return of 100 episodes reached 4000"}
    assert "--run.stop-at-target false" in next_steps(Path("r"), solved, has_best=False)
    went_on = {**SUMMARY, "solved_steps": 5}  # and used up its steps
    assert "--run.total-steps 2000 " in next_steps(Path("r"), went_on, has_best=False)
    assert "--run.total-steps 86000 " in next_steps(Path("r"), {**SUMMARY, "steps": 42543}, has_best=False)


def test_what_is_next_keeps_commands_whole_on_narrow_terminals() -> None:
    wide = next_steps(Path("runs/x"), SUMMARY, has_best=True)
    longest = max(len(line) for line in wide.splitlines())
    assert next_steps(Path("runs/x"), SUMMARY, has_best=True, columns=longest) == wide
    narrow = next_steps(Path("runs/x"), SUMMARY, has_best=True, columns=longest - 1).splitlines()
    assert narrow[1:3] == ["  dppo evaluate runs/x --video episode.mp4", "      watch it"]


def test_what_is_next_is_found_by_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `make train` nobody has activated .venv."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "dppo").write_text("")
    (programs / "dppo").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert place_of_programs() == ".venv/bin/"
    text = next_steps(Path("runs/x"), SUMMARY, has_best=True, place=".venv/bin/")
    assert "  .venv/bin/dppo evaluate runs/x --best" in text
    assert "  .venv/bin/tensorboard --logdir runs " in text
    monkeypatch.setenv("PATH", str(programs))
    assert place_of_programs() == ""


def test_what_is_next_is_not_said_to_another_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    monkeypatch.delenv("DPPO_LIFELINE_FD", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    say_what_is_next(tmp_path, seeds="--seeds 5")
    assert capsys.readouterr().out.startswith("\nnext:\n  dppo evaluate ")
    monkeypatch.setenv("DPPO_LIFELINE_FD", "5")
    say_what_is_next(tmp_path, seeds="--seeds 5")
    assert capsys.readouterr().out == ""


def test_both_ways_to_act_are_evaluated_within_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[bool, float]] = []

    def evaluate(directory: Path, *, deterministic: bool = True, max_seconds: float, **rest: int) -> Evaluated:
        asked.append((deterministic, max_seconds))
        return Evaluated(result(2182.0 if deterministic else 3510.0, deterministic=deterministic), "", False)

    monkeypatch.setattr("dppo.local.final_evaluation.evaluate_at_the_end", evaluate)
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "policy.onnx").write_bytes(b"x")
    monkeypatch.setattr("dppo.watch.plot.plot", lambda runs, output, x: tmp_path / "curve.png")
    assert closing.close_run(tmp_path, 20, max_seconds=60.0) is False
    assert [deterministic for deterministic, _ in asked] == [True, False]
    assert 0 < asked[1][1] <= asked[0][1] == 60.0
    out = capsys.readouterr().out
    assert out.index("most likely actions: return 2,182") < out.index(
        "with sampled actions, as in training: return 3,510"
    )
    kept = saved_evaluation(tmp_path)
    assert kept is not None
    assert (kept.mean, kept.deterministic) == (2182.0, True)


def test_libraries_do_not_speak_below_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    from dppo.local.status_channel import NoteRecord  # noqa: F401 -- the module that a learner's log goes through

    for name in ("local/actor_command.py", "local/learner_alone.py"):
        source = (Path(closing.__file__).parent.parent / name).read_text()
        assert "basicConfig(level" not in source
        assert 'getLogger("dppo").setLevel(logging.INFO)' in source
    assert not logging.getLogger("matplotlib").isEnabledFor(logging.INFO)


def test_a_benchmark_says_why_a_run_failed_in_the_words_of_the_run() -> None:
    from dppo.bench.observed_run import _failure
    from dppo.protocol.errors import DppoError, UsageError

    wrong = _failure(2, "preset x\ndppo: error: no environment 'X-v0'\n", "dppo train --env X-v0")
    assert type(wrong) is UsageError
    assert str(wrong) == "no environment 'X-v0' (said by `dppo train --env X-v0`)"
    assert type(_failure(1, "dppo: error: training diverged", "c")) is DppoError
    assert str(_failure(-9, "", "c")) == "it was killed by SIGKILL and printed nothing (said by `c`)"


def test_seeds_are_offered_as_the_command_takes_them() -> None:
    assert "... --seeds 5" in next_steps(Path("runs/x"), SUMMARY, has_best=False)
    assert "... --run.new --seeds 5" in next_steps(Path("x"), SUMMARY, has_best=False, seeds="--run.new --seeds 5")
    assert "seeds" not in next_steps(Path("runs/x"), SUMMARY, has_best=False, seeds="")
