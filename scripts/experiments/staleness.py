"""Staleness and its corrections: what is learned by step and by simulated second while actors go on during updates.

    python -m scripts.experiments.staleness CartPole-v1 --output benchmarks/staleness-CartPole-v1.json

An update takes twice as long as collecting a batch: actors fill all batches in hand, so that steps become as old as
they may. Without staleness both take turns, and a batch takes three parts of time in place of two.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from dppo.bench.observed_run import conditions
from scripts.experiments.learning import Curve, config_of, learned
from scripts.experiments.row_files import Figures, add_options, fill

ACTORS = 2
ROW_SECONDS, MESSAGE_SECONDS = 1e-3, 2e-4
UPDATE_BATCHES = 2.0  # duration of an update, in durations of collecting a batch
STALENESSES = (0, 1, 2, 4, 8)
CORRECTIONS = ("none", "decoupled", "vtrace")


class Task(NamedTuple):
    """A task, and how far it is trained."""

    preset: str  # "": the one of its name
    flags: str
    simulators: int
    steps: int
    env: str = ""  # "": of the task's name


TASKS: Mapping[str, Task] = {
    "CartPole-v1": Task("", "--run.return-window 20", 16, 30_000),
    "Pendulum-v1": Task("", "--run.return-window 20", 16, 40_000),
    "HalfCheetah-v5": Task(
        "mujoco-classic", "--run.return-window 8 --run.total-steps 60000 --ppo.minibatch-steps 256", 8, 60_000
    ),
    "hidden": Task(
        "",
        "--run.return-window 20 --network.memory gru --env.wrappers [scripts.experiments.hidden:HiddenVelocities]",
        32,
        60_000,
        "CartPole-v1",
    ),
}


class Way(NamedTuple):
    """One way to go on during updates."""

    staleness: int  # collect.max_staleness
    correction: str
    batch_share: float = 1.0  # of the preset's collect.batch_steps that is asked for, with staleness

    @property
    def flags(self) -> tuple[str, ...]:
        """Settings of it."""
        return ("--collect.max-staleness", str(self.staleness), "--ppo.correction", self.correction)


def ways(stalenesses: list[int], corrections: list[str], batch_share: float = 1.0) -> list[Way]:
    """All of them; without staleness there is nothing to correct."""
    return [
        Way(staleness, correction, batch_share if staleness else 1.0)
        for staleness, correction in product(stalenesses, corrections)
        if staleness or correction == "none"
    ]


def trained(env: str, way: Way, seed: int, steps: int) -> tuple[Curve, float]:
    """Train so many steps. Return the curve, and the simulated seconds that a learner that never waits takes."""
    task = TASKS[env]
    each = task.simulators // ACTORS
    own = ("--seed", str(seed), "--collect.envs-per-actor", str(each))
    config = config_of(task.env or env, (*task.flags.split(), *way.flags, *own), task.preset)
    asked = round(way.batch_share * config.collect.batch_steps)
    config = replace(config, collect=replace(config.collect, batch_steps=asked))
    update_step_seconds = UPDATE_BATCHES * ROW_SECONDS / task.simulators
    curve = learned(
        config,
        [each] * ACTORS,
        lambda slots: ROW_SECONDS,
        message_seconds=MESSAGE_SECONDS,
        update_step_seconds=update_step_seconds,
        stop_at_target=False,
        until_steps=steps,
    )
    return curve, update_step_seconds * steps


def figures(env: str, way: Way, steps: int, seed: int) -> Figures:
    """Figures of one run."""
    curve, seconds = trained(env, way, seed, steps)
    return {
        "return_up_to_steps": curve.return_up_to(steps),
        "return_within_seconds": curve.return_within(seconds),
        "last_return": curve.points[-1].mean_return,
        "seconds": curve.points[-1].seconds,
        "batch_steps": sum(point.batch_steps for point in curve.points) / len(curve.points),
        "staleness": sum(point.staleness for point in curve.points) / len(curve.points),
    }


def main() -> None:
    """Run all ways with all seeds; print and write a row a way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=list(TASKS))
    parser.add_argument("--staleness", type=int, nargs="*", default=list(STALENESSES))
    parser.add_argument("--corrections", nargs="*", choices=CORRECTIONS, default=list(CORRECTIONS))
    add_options(parser)
    parser.add_argument(
        "--batch-share", type=float, default=1.0, help="of the batch to ask for with staleness: actors make more"
    )
    parser.add_argument("--steps", type=int, default=0, help="0: those of the task")
    arguments = parser.parse_args()
    task = TASKS[arguments.env]
    steps = arguments.steps or task.steps
    about: dict[str, Any] = {
        "experiment": "staleness",
        "env": arguments.env,
        "flags": task.flags,
        "simulators": task.simulators,
        "steps": steps,
        "update_batches": UPDATE_BATCHES,
        **({} if arguments.batch_share == 1.0 else {"batch_share": arguments.batch_share}),
        **conditions(),
    }
    rows: dict[str, Callable[[int], Figures]] = {
        f"{way.staleness} {way.correction}": partial(figures, arguments.env, way, steps)
        for way in ways(arguments.staleness, arguments.corrections, arguments.batch_share)
    }
    fill(arguments, about, rows)


if __name__ == "__main__":
    main()
