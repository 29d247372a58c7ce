"""Sample reuse: steps to the target with and without earlier batches, and minutes with slow simulators.

    python -m scripts.experiments.sample_reuse CartPole-v1 --output benchmarks/reuse-CartPole-v1.json

Which steps are made does not depend on how slow simulators are: all step at the same time, and stand still for updates.
So minutes follow from one run: rows of so many milliseconds, messages, and updates of the CPU time that they took here.
`dppo bench slow` measures minutes of real processes.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from dppo.bench.observed_run import conditions
from dppo.learner.config import LearnerConfig
from scripts.experiments.learning import config_of, learned
from scripts.experiments.row_files import Figures, add_options, fill

ACTORS, SIMULATORS = 2, 16
MESSAGE_SECONDS = 2e-4
MILLISECONDS = (1, 10, 100)  # of a step of a simulator


class Task(NamedTuple):
    """A task and its settings for all variants."""

    preset: str  # "": the one of its name
    flags: str


class Reached(NamedTuple):
    """A run that reached its target."""

    steps: int
    rows: int  # of all simulators, one behind the other
    updates: int
    update_seconds: float  # CPU time of an update

    def minutes(self, milliseconds: float) -> float:
        """Minutes from the first step to the target; for an update actors stop and get the next policy."""
        rows = self.rows * milliseconds / 1000
        return (rows + self.updates * (self.update_seconds + 2 * MESSAGE_SECONDS)) / 60

    def idle(self, milliseconds: float) -> float:
        """Share of the time in which the learner waits for a batch."""
        return 1 - self.updates * self.update_seconds / 60 / self.minutes(milliseconds)


TASKS: Mapping[str, Task] = {
    "CartPole-v1": Task("", ""),
    "Pendulum-v1": Task("", ""),
    "Acrobot-v1": Task("", "--run.target-return -100"),
    "LunarLander-v3": Task("", "--run.target-return 200"),
    "MountainCarContinuous-v0": Task("", "--run.target-return 90"),
}


def variants(config: LearnerConfig) -> dict[str, Sequence[str]]:
    """Flags of each variant, by its name."""
    quarter = str(config.collect.batch_steps // 4)
    small = ("--collect.batch-steps", quarter, "--ppo.minibatch-steps", str(min(256, int(quarter))))
    return {
        "as it is": (),
        "twice the epochs": ("--ppo.epochs", str(2 * config.ppo.epochs)),
        "reuse 2": ("--ppo.reuse", "2"),
        "reuse 4": ("--ppo.reuse", "4"),
        "a quarter of the batch": small,
        "a quarter, reuse 4": (*small, "--ppo.reuse", "4"),
    }


def reached(env: str, flags: Sequence[str], seed: int, window: int) -> Reached | None:
    """Train until the mean of so many episodes is at the target; None where it was not reached."""
    task, each = TASKS[env], SIMULATORS // ACTORS
    own = ("--seed", str(seed), "--collect.envs-per-actor", str(each), "--run.return-window", str(window))
    config = config_of(env, (*task.flags.split(), *flags, *own), task.preset)
    rows = 0

    def seconds(slots: range) -> float:
        nonlocal rows
        rows += slots.start == 0
        return 0.001

    curve = learned(config, [each] * ACTORS, seconds, message_seconds=MESSAGE_SECONDS)
    if curve.solved is None:
        return None
    updates = len(curve.points)
    return Reached(curve.solved.steps, rows, updates, sum(point.update_seconds for point in curve.points) / updates)


def figures(env: str, flags: Sequence[str], window: int, seed: int) -> Figures:
    """Figures of one run."""
    return figures_of(reached(env, flags, seed, window))


def figures_of(run: Reached | None) -> Figures:
    """Figures of a run: none where it did not reach the target."""
    minutes = {f"minutes_{ms}": None if run is None else run.minutes(ms) for ms in MILLISECONDS}
    idle = {f"idle_{ms}": None if run is None else run.idle(ms) for ms in MILLISECONDS}
    if run is None:
        return {"steps": None, "updates": None, "update_seconds": None, **minutes, **idle}
    return {"steps": run.steps, "updates": run.updates, "update_seconds": run.update_seconds, **minutes, **idle}


def main() -> None:
    """Run all variants of a task with all seeds; print and write a row a variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=list(TASKS))
    add_options(parser)
    parser.add_argument("--window", type=int, default=20, help="episodes whose mean must reach the target")
    parser.add_argument("--variants", nargs="*", default=None)
    arguments = parser.parse_args()
    task = TASKS[arguments.env]
    chosen = variants(config_of(arguments.env, task.flags.split(), task.preset))
    about = {
        "experiment": "sample_reuse",
        "env": arguments.env,
        "window": arguments.window,
        "flags": task.flags,
        "simulators": SIMULATORS,
        **conditions(),
    }
    fill(
        arguments,
        about,
        {
            name: partial(figures, arguments.env, chosen[name], arguments.window)
            for name in arguments.variants or chosen
        },
    )


if __name__ == "__main__":
    main()
