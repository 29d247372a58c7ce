"""The experiments on staleness, stragglers' scores, noise and slow simulators: what they run, and their tables."""

from pathlib import Path
from typing import Any

import pytest

from scripts.experiments import noise_colours, sample_reuse, speeds, staleness, staleness_figure, straggler_scores
from scripts.experiments.learning import config_of
from scripts.experiments.sample_reuse import Reached
from scripts.experiments.staleness import Way


def test_without_staleness_there_is_nothing_to_correct() -> None:
    found = staleness.ways([0, 2], ["none", "vtrace"])
    assert found == [Way(0, "none"), Way(2, "none"), Way(2, "vtrace")]
    assert staleness.ways([0, 1], ["none"], 0.5) == [Way(0, "none"), Way(1, "none", 0.5)]


@pytest.mark.slow
def test_steps_are_as_old_as_they_may_be_and_time_is_saved() -> None:
    waits, _ = staleness.trained("CartPole-v1", Way(0, "none"), 1, 4_000)
    goes_on, seconds = staleness.trained("CartPole-v1", Way(2, "none"), 1, 4_000)
    assert {point.staleness for point in waits.points} == {0.0}
    assert goes_on.points[-1].staleness == pytest.approx(2.0, abs=0.1)
    steps, later = goes_on.points[-1].steps, goes_on.points[-1].seconds
    assert later == pytest.approx(seconds * steps / 4_000, rel=0.15), "the learner never waits, but for the first batch"
    assert waits.points[-1].seconds == pytest.approx(1.5 * seconds * waits.points[-1].steps / 4_000, rel=0.05)


@pytest.mark.slow
def test_a_stale_run_in_simulated_time_is_the_same_each_time() -> None:
    one, other = (staleness.trained("CartPole-v1", Way(4, "vtrace"), 1, 4_000)[0] for _ in range(2))
    assert [point[:5] for point in one.points] == [point[:5] for point in other.points]


@pytest.mark.slow
@pytest.mark.parametrize("rule", straggler_scores.RULES)
def test_every_rule_trains_among_stragglers(rule: str) -> None:
    curve = straggler_scores.trained(rule, "environments", 1, environments=32, steps=1_000)
    assert curve.points[-1].steps >= 1_000
    slow = rule in ("even_shares", "quota")
    assert (curve.points[-1].seconds / curve.points[-1].steps > 0.002) == slow, "these wait for the slowest"


@pytest.mark.slow
def test_slow_states_of_a_task_cost_what_they_take() -> None:
    curve = straggler_scores.trained("minimum", "leaning", 1, environments=32, steps=1_000)
    made = [speeds.REGISTRY[slot] for slot in range(32)]
    steps, slow = sum(one.steps for one in made), sum(one.slow_steps for one in made)
    assert steps == curve.points[-1].steps, "all that is made is trained on"
    assert 0 < slow < steps
    busy = speeds.FAST_SECONDS * (steps + (speeds.SLOWER - 1) * slow) / 32
    assert busy < curve.points[-1].seconds < 2 * busy


@pytest.mark.parametrize("env", noise_colours.TASKS)
def test_the_tasks_of_noise_have_numbers_and_settings_that_fit(env: str) -> None:
    task = noise_colours.TASKS[env]
    config = config_of(env, (*task.flags.split(), "--network.noise-colour", "0.5"), task.preset)
    assert config.network.noise_colour == 0.5
    assert task.simulators % noise_colours.ACTORS == 0


@pytest.mark.parametrize("env", sample_reuse.TASKS)
def test_variants_with_reuse_have_a_quarter_of_the_batch(env: str) -> None:
    task = sample_reuse.TASKS[env]
    plain = config_of(env, task.flags.split(), task.preset)
    flags = sample_reuse.variants(plain)["a quarter, reuse 4"]
    reused = config_of(env, (*task.flags.split(), *flags), task.preset)
    assert (4 * reused.collect.batch_steps, reused.ppo.reuse) == (plain.collect.batch_steps, 4)


def test_minutes_are_rows_messages_and_updates() -> None:
    run = Reached(steps=16_000, rows=1_000, updates=10, update_seconds=0.5)
    assert run.minutes(100) * 60 == pytest.approx(100 + 10 * 0.5 + 10 * 2 * sample_reuse.MESSAGE_SECONDS)
    assert run.idle(1) == pytest.approx(1 - 5 / 6.004)
    found = sample_reuse.figures_of(run)
    assert (found["steps"], found["minutes_1"]) == (16_000, run.minutes(1))
    assert set(sample_reuse.figures_of(None)) == set(found)
    assert set(sample_reuse.figures_of(None).values()) == {None}


def values(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 1, "high": mean + 1}


def file_of(env: str, *names: str) -> dict[str, Any]:
    rows = {
        name: {"return_up_to_steps": values(float(place)), "return_within_seconds": values(10.0 + place)}
        for place, name in enumerate(names)
    }
    return {"env": env, "rows": rows}


def test_the_table_has_a_row_a_way_and_dashes_where_it_was_not_run() -> None:
    files = [file_of("A", "8 vtrace", "0 none", "8 none"), file_of("B", "0 none")]
    lines = staleness_figure.table(files).splitlines()
    assert lines[2:] == [
        "| 0 | none | 1 (0 to 2) | 11 (10 to 12) | 0 (-1 to 1) | 10 (9 to 11) |",
        "| 8 | none | 2 (1 to 3) | 12 (11 to 13) | - | - |",
        "| 8 | vtrace | 0 (-1 to 1) | 10 (9 to 11) | - | - |",
    ]
    assert staleness_figure.series(files[0]["rows"], "vtrace", "return_up_to_steps") == [(0, 1, 0, 2), (8, 0, -1, 1)]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    staleness_figure.draw([file_of("A", "0 none", "2 none", "2 decoupled")], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
