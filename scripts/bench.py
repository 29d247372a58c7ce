"""Measures real runs from outside: time until solved over seeds, and steady throughput. Reports; never judges."""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from protocol.errors import DppoError
from protocol.release import RELEASE
from scripts.config import BenchSolve, BenchThroughput

SAMPLE_SECONDS = 0.5
WARM_UP_UPDATES = 3


@dataclass
class Observed:
    """One run of `dppo train`, watched from outside."""

    seed: int
    summary: dict[str, Any]
    curve: list[dict[str, Any]]
    actor_pss_bytes: list[int] = field(default_factory=list)  # peak of each actor process
    load_before: float = 0.0  # 1-minute load average when it was launched


def solve(arguments: BenchSolve) -> int:
    """Train until solved with several seeds; print a row a seed and the medians."""
    rows = []
    conditions = _conditions(arguments.env, arguments.actors, arguments.overrides)
    print(_conditions_line(conditions), flush=True)
    for seed in range(1, arguments.seeds + 1):
        observed = _observe(arguments.env, seed, arguments.actors, arguments.overrides)
        row = _solve_row(observed)
        rows.append(row)
        print(_solve_line(row), flush=True)
    result = {
        "bench": "solve",
        **conditions,
        "solved": sum(row["solved_seconds"] is not None for row in rows),
        "median": _medians(rows),
        "runs": rows,
    }
    print(_solve_line({**result["median"], "seed": "median", "load": None}))
    _write(result, arguments.output)
    return 0


def throughput(arguments: BenchThroughput) -> int:
    """Train for a fixed time without a target; print steady speed, memory and latencies."""
    conditions = _conditions(arguments.env, arguments.actors, arguments.overrides)
    print(_conditions_line(conditions), flush=True)
    overrides = ("--run.total-steps", str(10**12), "--run.stop-at-target", "false", *arguments.overrides)
    observed = _observe(arguments.env, 1, arguments.actors, overrides, seconds=arguments.seconds)
    steady = observed.curve[WARM_UP_UPDATES:]
    if len(steady) < 2:
        raise DppoError(
            f"only {len(observed.curve)} updates in {arguments.seconds:g} s: measure for longer (--seconds)"
        )
    first, last = steady[0], steady[-1]
    seconds = last["elapsed_seconds"] - first["elapsed_seconds"]
    result = {
        "bench": "throughput",
        **conditions,
        "window_seconds": seconds,
        "steps_per_second": (last["steps"] - first["steps"]) / seconds,
        "updates_per_second": (last["update"] - first["update"]) / seconds,
        "collecting_share": _share(steady, "collect_seconds"),
        "load": observed.load_before,
        **_process_figures(observed),
        "ledger": observed.summary["ledger"],
    }
    print(
        f"{result['steps_per_second']:,.0f} steps/s over {seconds:.1f} s ({result['updates_per_second']:.1f} updates/s)"
    )
    for label, text in (
        ("launch to first step", _seconds(result["first_step_seconds"])),
        ("STOP to the last actor stopped, median", _milliseconds(result["stop_seconds"])),
        ("POLICY to the first step under it, median", _milliseconds(result["policy_seconds"])),
        ("memory of one actor (PSS)", _megabytes(result["actor_pss_bytes"])),
    ):
        print(f"{label}: {text}")
    _write(result, arguments.output)
    return 0


def _observe(env: str, seed: int, actors: int, overrides: Sequence[str], seconds: float | None = None) -> Observed:
    """Run `dppo train` in a directory of its own, to its end or interrupted after that many seconds."""
    with tempfile.TemporaryDirectory(prefix="dppo-bench-") as directory:
        run = Path(directory) / "run"
        command = [sys.executable, "-m", "scripts.cli", "train", "--env", env, "--seed", str(seed)]
        command += ["--actors", str(actors), "--run.directory", str(run), "--evaluation-episodes", "0", *overrides]
        load = os.getloadavg()[0]
        with (Path(directory) / "output").open("w+") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
            try:
                pss = _watch(process, seconds)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
            output.seek(0)
            text = output.read().strip()
        if process.returncode not in (0, 130) or not (run / "summary.json").exists():
            raise DppoError(f"`{' '.join(command)}` failed: {text.splitlines()[-1] if text else 'it printed nothing'}")
        summary = json.loads((run / "summary.json").read_bytes())
        metrics = run / "metrics.jsonl"
        curve = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    return Observed(seed, summary, curve, pss, load)


def _watch(process: subprocess.Popen[bytes] | subprocess.Popen[str], seconds: float | None) -> list[int]:
    """Wait for its end, or interrupt it once it has trained that long; returns the peak PSS of each actor."""
    peaks: dict[int, int] = {}
    deadline = None
    started = time.monotonic()
    while process.poll() is None:
        for child in _actors_of(process.pid):
            try:
                peaks[child.pid] = max(peaks.get(child.pid, 0), child.memory_full_info().pss)
            except (psutil.Error, AttributeError):  # it ended; or a system that does not count PSS
                continue
        if seconds is not None and deadline is None and peaks:
            deadline = started + seconds + 5.0  # the start is not measured
        if deadline is not None and time.monotonic() > deadline:
            process.send_signal(signal.SIGINT)
            deadline = None
            seconds = None
        time.sleep(SAMPLE_SECONDS)
    return sorted(peaks.values())


def _actors_of(pid: int) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(pid).children() if "actor" in child.cmdline()]
    except psutil.Error:
        return []


def _solve_row(observed: Observed) -> dict[str, Any]:
    summary = observed.summary
    return {
        "seed": observed.seed,
        "solved_seconds": summary["solved_seconds"],
        "solved_steps": summary["solved_steps"],
        "best_mean_return": max(
            (row["mean_return"] for row in observed.curve if row["mean_return"] is not None), default=None
        ),
        "updates": summary["updates"],
        "load": observed.load_before,
        **_process_figures(observed),
    }


def _process_figures(observed: Observed) -> dict[str, Any]:
    summary = observed.summary
    return {
        "first_step_seconds": summary["first_step_seconds"],
        "stop_seconds": summary["median_seconds"]["stop"],
        "policy_seconds": summary["median_seconds"]["policy"],
        "update_seconds": summary["median_seconds"]["update"],
        "actor_pss_bytes": max(observed.actor_pss_bytes, default=None),
    }


def _solve_line(row: dict[str, Any]) -> str:
    solved = "not solved" if row["solved_seconds"] is None else f"solved in {row['solved_seconds']:6.2f} s"
    steps = "" if row["solved_steps"] is None else f", {row['solved_steps']:>9,.0f} steps"
    load = "" if row["load"] is None else f", load {row['load']:.1f}"
    return (
        f"seed {row['seed']!s:>6}: {solved}{steps}, first step {_seconds(row['first_step_seconds'])}, "
        f"stop {_milliseconds(row['stop_seconds'])}, policy {_milliseconds(row['policy_seconds'])}, "
        f"actor {_megabytes(row['actor_pss_bytes'])}{load}"
    )


def _medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of every figure; of the solving time only if every seed solved, since a median over the lucky ones would lie."""
    medians: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        complete = len(values) == len(rows) or not name.startswith("solved")
        medians[name] = median(values) if values and complete else None
    return medians


def _share(curve: Sequence[dict[str, Any]], name: str) -> float:
    part = sum(row[name] for row in curve)
    return float(part / sum(row["collect_seconds"] + row["update_seconds"] for row in curve))


def _conditions(env: str, actors: int, overrides: Sequence[str]) -> dict[str, Any]:
    from learner.provenance import cpu_model

    return {
        "env": env,
        "actors": actors,
        "overrides": list(overrides),
        "date": datetime.now(UTC).date().isoformat(),
        "release": RELEASE,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }


def _conditions_line(conditions: dict[str, Any]) -> str:
    return (
        f"{conditions['env']}, {conditions['actors']} actors; {conditions['cores']} cores ({conditions['cpu']}), "
        f"load {conditions['load_before']:.1f}"
    )


def _write(result: dict[str, Any], output: str) -> None:
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {path}")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.1f} ms"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f} MB"
