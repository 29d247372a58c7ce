"""Measures real runs from outside: time until solved over seeds, and steady throughput. Reports; never judges."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from dppo.bench.observed_run import Observed, conditions, observe
from dppo.bench.result_file import write_result
from dppo.number_text import return_number
from dppo.output_files import check_output
from dppo.protocol.errors import DppoError
from dppo.settings.bench_arguments import BenchPreset, BenchSolve, BenchThroughput

WARM_UP_UPDATES = 3
CURVE_POINTS = 200  # of each run in a preset's file
SUCCESS = 0.98  # of the last episodes: the arm's target


def solve(arguments: BenchSolve) -> int:
    """Train until solved with several seeds; print a row a seed and the medians."""
    check_output(arguments.output)
    rows = []
    about = _about(arguments.env, arguments.actors, arguments.overrides)
    print(_about_line(about), flush=True)
    for seed in range(1, arguments.seeds + 1):
        observed = observe(_train_arguments(arguments.env, arguments.actors, arguments.overrides), seed)
        row = _solve_row(observed)
        rows.append(row)
        print(_solve_line(row), flush=True)
    result = {
        "bench": "solve",
        **about,
        "solved": sum(row["solved_seconds"] is not None for row in rows),
        "median": _medians(rows),
        "runs": rows,
    }
    print(_solve_line({**result["median"], "seed": "median", "load": None}))
    write_result(result, arguments.output)
    return 0


def throughput(arguments: BenchThroughput) -> int:
    """Train for a fixed time without a target; print steady speed, memory and latencies."""
    check_output(arguments.output)
    about = _about(arguments.env, arguments.actors, arguments.overrides)
    print(_about_line(about), flush=True)
    overrides = ("--run.total-steps", str(10**12), "--run.stop-at-target", "false", *arguments.overrides)
    observed = observe(_train_arguments(arguments.env, arguments.actors, overrides), 1, seconds=arguments.seconds)
    steady = observed.curve[WARM_UP_UPDATES:]
    if len(steady) < 2:
        raise DppoError(
            f"only {len(observed.curve)} updates in {arguments.seconds:g} s: measure for longer (--seconds)"
        )
    first, last = steady[0], steady[-1]
    seconds = last["elapsed_seconds"] - first["elapsed_seconds"]
    result = {
        "bench": "throughput",
        **about,
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
    write_result(result, arguments.output)
    return 0


def preset(arguments: BenchPreset) -> int:
    """Train a preset to the end of its budget with several seeds; print a row a seed, keep every curve."""
    check_output(arguments.output)
    about = {"preset": arguments.preset, "overrides": list(arguments.overrides), **conditions()}
    print(_about_line(about), flush=True)
    runs = []
    for seed in range(1, arguments.seeds + 1):
        observed = observe(("--preset", arguments.preset, *arguments.overrides), seed)
        runs.append(_preset_row(observed))
        print(_preset_line(runs[-1]), flush=True)
    write_result({"bench": "preset", **about, "runs": runs}, arguments.output)
    return 0


def _preset_row(observed: Observed) -> dict[str, Any]:
    """The state at the end (means of the last episodes), and the curve thinned out."""
    curve, summary = observed.curve, observed.summary
    first, last = curve[min(WARM_UP_UPDATES, len(curve) - 1)], curve[-1]
    seconds = last["elapsed_seconds"] - first["elapsed_seconds"]
    reached = (row["steps"] for row in curve if (row.get("success_rate") or 0.0) >= SUCCESS)
    names = ("steps", "elapsed_seconds", "mean_return", "mean_length", "success_rate")
    every = max(1, len(curve) // CURVE_POINTS)
    return {
        "seed": observed.seed,
        "env": summary["env"],
        "steps": summary["steps"],
        "mean_return": summary["mean_return"],
        "mean_length": last["mean_length"],
        "success_rate": last.get("success_rate"),
        "first_success_steps": next(reached, None),
        "steps_per_second": (last["steps"] - first["steps"]) / seconds if seconds > 0 else None,
        "stale_steps": summary["ledger"]["dropped"].get("stale", 0),  # made under an older policy: never trained on
        "first_pass_ratio_error": max(row["first_pass_ratio_error"] for row in curve),
        "load": observed.load_before,
        "curve": [{name: row.get(name) for name in names} for row in [*curve[::every], last]],
    }


def _preset_line(row: dict[str, Any]) -> str:
    success = "" if row["success_rate"] is None else f", success {100 * row['success_rate']:.0f} %"
    return (
        f"seed {row['seed']}: {row['steps']:,} steps, return {_return(row['mean_return'])}, "
        f"length {row['mean_length'] or 0:.0f}{success}, {row['steps_per_second'] or 0:,.0f} steps/s"
    )


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
    """Return the median of every figure; of the solving time only if every seed solved: lucky ones alone would lie."""
    medians: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        complete = len(values) == len(rows) or not name.startswith("solved")
        medians[name] = median(values) if values and complete else None
    return medians


def _share(curve: Sequence[dict[str, Any]], name: str) -> float:
    part = sum(row[name] for row in curve)
    return float(part / sum(row["collect_seconds"] + row["update_seconds"] for row in curve))


def _about(env: str, actors: int, overrides: Sequence[str]) -> dict[str, Any]:
    return {"env": env, "actors": actors, "overrides": list(overrides), **conditions()}


def _train_arguments(env: str, actors: int, overrides: Sequence[str]) -> tuple[str, ...]:
    return ("--env", env, "--actors", str(actors), *overrides)


def _about_line(about: dict[str, Any]) -> str:
    """Return the line that says what is measured, and on what."""
    what = about.get("preset") or f"{about['env']}, {about['actors']} actors"
    return f"{what}; {about['cores']} cores ({about['cpu']}), load {about['load_before']:.1f}"


def _return(value: float | None) -> str:
    return "-" if value is None else return_number(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.1f} ms"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f} MB"
