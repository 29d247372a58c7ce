"""A small run in one process that ends, goes on, is evaluated and filmed; the working directory is the test's own."""

import json
from pathlib import Path
from typing import Any

import dppo
from dppo.watch.episode_results import EvaluationResult
from dppo.watch.evaluate import ViewOptions, evaluate

FILM = Path("film.gif")


def gone_on(env: dict[str, Any]) -> tuple[list[dict[str, Any]], EvaluationResult]:
    """Train in ./run in two starts, then play and film. Return the lines of metrics.jsonl, and the evaluation."""
    settings: dict[str, Any] = {
        "env": env,
        "actors": 0,
        "directory": "run",
        "verbose": False,
        "evaluation_episodes": 2,
        "collect": {"batch_steps": 256, "envs_per_actor": 2},
    }
    dppo.train(**settings, total_steps=512)
    dppo.train(**settings, total_steps=1024)
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [1, 2, 3, 4]
    assert max(line["first_pass_ratio_error"] for line in lines) < 1e-4
    result = evaluate("run", episodes=3, watching=ViewOptions(video=str(FILM.absolute())))
    assert result.episodes == 3
    assert FILM.stat().st_size > 0
    return lines, result
