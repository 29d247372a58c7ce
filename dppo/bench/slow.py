"""Measures runs of slow simulators: steps and minutes to the target, and for how long the learner is idle."""

import json
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from statistics import median
from typing import Any, NamedTuple

from dppo.bench.observed_run import Observed, conditions, observe
from dppo.bench.result_file import write_result
from dppo.number_text import return_number
from dppo.output_files import check_output
from dppo.settings.bench_arguments import BenchSlow
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import resolve

WRAPPER = "dppo.bench.slow_simulator:Slow"
MEDIANS = ("solved_steps", "solved_minutes", "idle_share", "steps_per_second")


class Condition(NamedTuple):
    """One run of the bench."""

    milliseconds: float  # of a step
    reuse: int  # ppo.reuse
    seed: int


def slow(arguments: BenchSlow) -> int:
    """Train with simulators of each speed and with several seeds; print a row a run and the medians."""
    check_output(arguments.output)
    about = {
        "env": arguments.env,
        "simulators": arguments.simulators,
        "actors": arguments.actors,
        "at_once": arguments.at_once,
        "overrides": list(arguments.overrides),
        **conditions(),
    }
    print(
        f"{arguments.env}, {arguments.simulators} simulators, {arguments.actors} actors; {about['cores']} cores "
        f"({about['cpu']}), load {about['load_before']:.1f}",
        flush=True,
    )
    seeds = range(1, arguments.seeds + 1)
    chosen = [Condition(*each) for each in product(arguments.milliseconds, arguments.reuse, seeds)]
    rows = _measured(arguments, chosen)
    medians = [medians_of(*each, rows) for each in product(arguments.milliseconds, arguments.reuse)]
    for row in medians:
        print(line({**row, "seed": "median"}))
    write_result({"bench": "slow", **about, "median": medians, "runs": rows}, arguments.output)
    return 0


def _measured(arguments: BenchSlow, chosen: Sequence[Condition]) -> list[dict[str, Any]]:
    """Rows of all conditions, in order; each is printed when it and those before it are over."""
    interrupted = threading.Event()
    rows = []

    def run(condition: Condition) -> Observed:
        return observe(train_arguments(arguments, condition), condition.seed, ended=interrupted)

    with ThreadPoolExecutor(arguments.at_once) as pool:
        try:
            for condition, observed in zip(chosen, pool.map(run, chosen), strict=True):
                rows.append(row_of(condition, observed))
                print(line(rows[-1]), flush=True)
        except BaseException:
            interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise
    return rows


def train_arguments(arguments: BenchSlow, condition: Condition) -> tuple[str, ...]:
    """Arguments of `dppo train` for one run. With ppo.reuse M the batch is 1/M of what it is without.

    So updates are of the same size, and M times as many.
    """
    wrapper = {WRAPPER: {"milliseconds": condition.milliseconds, "column": "{column}"}}
    learner = config_of(arguments).learner
    batch_steps = learner.collect.batch_steps // condition.reuse
    return (
        *("--env", arguments.env, "--actors", str(arguments.actors)),
        *("--collect.envs-per-actor", str(arguments.simulators // arguments.actors)),
        *("--env.wrappers", json.dumps([wrapper])),
        *arguments.overrides,
        *("--ppo.reuse", str(condition.reuse), "--collect.batch-steps", str(batch_steps)),
        *("--ppo.minibatch-steps", str(min(learner.ppo.minibatch_steps, batch_steps))),
    )


def config_of(arguments: BenchSlow) -> TrainConfig:
    """Settings of the runs, as the preset, a file and overrides give them."""
    flags = parse_flags(arguments.overrides, settings_of(TrainConfig), extra=("config", "preset"))
    values: dict[str, Any] = {**flags.values, "env.id": arguments.env}
    file, preset = flags.extra.get("config", ""), flags.extra.get("preset", "")
    return resolve(TrainConfig, flags=values, file=file, preset=preset).config


def row_of(condition: Condition, observed: Observed) -> dict[str, Any]:
    """Figures of one run. The learner is idle while it waits for a batch."""
    summary, curve = observed.summary, observed.curve
    collecting, updating = (math.fsum(row[f"{part}_seconds"] for row in curve) for part in ("collect", "update"))
    seconds = summary["solved_seconds"]
    return {
        **condition._asdict(),
        "solved_steps": summary["solved_steps"],
        "solved_minutes": None if seconds is None else seconds / 60,
        "idle_share": collecting / (collecting + updating) if curve else None,
        "steps": summary["steps"],
        "updates": summary["updates"],
        "mean_return": summary["mean_return"],
        "steps_per_second": summary["steps"] / (collecting + updating) if curve else None,
        "load": observed.load_before,
    }


def medians_of(milliseconds: float, reuse: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over the seeds of one condition; None where one of them has no figure: the others alone would flatter."""
    same = [row for row in rows if (row["milliseconds"], row["reuse"]) == (milliseconds, reuse)]
    medians: dict[str, Any] = {"milliseconds": milliseconds, "reuse": reuse}
    for name in MEDIANS:
        values = [row[name] for row in same]
        medians[name] = None if None in values else median(values)
    return medians


def line(row: Mapping[str, Any]) -> str:
    """One row of the table."""
    solved = "not solved"
    if row["solved_steps"] is not None:
        solved = f"solved in {row['solved_minutes']:6.2f} min, {row['solved_steps']:>9,.0f} steps"
    idle = "-" if row["idle_share"] is None else f"{100 * row['idle_share']:.1f} %"
    rate = "-" if row["steps_per_second"] is None else f"{row['steps_per_second']:,.0f}"
    reached = f", return {return_number(row['mean_return'])}" if row.get("mean_return") is not None else ""
    which = f"{row['milliseconds']:g} ms, reuse {row['reuse']}, seed {row['seed']!s:>6}"
    return f"{which}: {solved}, {rate} steps/s, learner idle {idle}{reached}"
