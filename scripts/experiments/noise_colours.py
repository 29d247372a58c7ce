"""Coloured exploration noise: what is learned with white noise and with others.

python -m scripts.experiments.noise_colours Pendulum-v1 --output benchmarks/noise-Pendulum-v1.json
"""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from dppo.bench.observed_run import conditions
from scripts.experiments.learning import config_of, learned
from scripts.experiments.row_files import Figures, add_options, fill

ACTORS = 2
COLOURS = (0.0, 0.5, 1.0)


class Task(NamedTuple):
    """A task, and how far it is trained."""

    preset: str  # "": the one of its name
    flags: str
    simulators: int
    steps: int


INDEPENDENT = "--network.exploration independent --network.exploration-steps 4"  # in place of the preset's
TASKS: Mapping[str, Task] = {
    "Pendulum-v1": Task("", "", 16, 40_000),
    "MountainCarContinuous-v0": Task("", f"--run.target-return 90 {INDEPENDENT}", 16, 80_000),
    "HalfCheetah-v5": Task("mujoco-classic", "--run.total-steps 60000 --ppo.minibatch-steps 256", 8, 60_000),
}


def figures(env: str, colour: float, seed: int) -> Figures:
    """Figures of one run."""
    task = TASKS[env]
    each = task.simulators // ACTORS
    own = ("--seed", str(seed), "--collect.envs-per-actor", str(each), "--run.return-window", str(task.simulators))
    config = config_of(env, (*task.flags.split(), "--network.noise-colour", str(colour), *own), task.preset)
    curve = learned(
        config,
        [each] * ACTORS,
        lambda slots: 0.001,
        message_seconds=2e-4,
        stop_at_target=False,
        until_steps=task.steps,
    )
    return {
        "mean_return": curve.return_up_to(task.steps),
        "last_return": curve.points[-1].mean_return,
        "solved_steps": curve.solved.steps if curve.solved else None,
    }


def main() -> None:
    """Run all colours with all seeds; print and write a row a colour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=list(TASKS))
    parser.add_argument("--colours", type=float, nargs="*", default=list(COLOURS))
    add_options(parser)
    arguments = parser.parse_args()
    task = TASKS[arguments.env]
    about: dict[str, Any] = {
        "experiment": "noise_colours",
        "env": arguments.env,
        "flags": task.flags,
        "simulators": task.simulators,
        "steps": task.steps,
        **conditions(),
    }
    fill(arguments, about, {f"{colour:g}": partial(figures, arguments.env, colour) for colour in arguments.colours})


if __name__ == "__main__":
    main()
