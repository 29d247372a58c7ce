"""Sample reuse: steps to the target with and without earlier batches.

    python -m scripts.experiments.sample_reuse CartPole-v1 --output benchmarks/reuse-CartPole-v1.json

Steps do not depend on how slow simulators are; where the learner is idle, minutes are as many times fewer as steps are.
`dppo bench slow` measures minutes.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from dppo.bench.observed_run import conditions
from dppo.learner.config import LearnerConfig
from scripts.experiments.intervals import interval
from scripts.experiments.learning import config_of, learned
from scripts.experiments.row_files import write_rows

ACTORS, SIMULATORS = 2, 16


class Task(NamedTuple):
    """A task and its settings for all variants."""

    preset: str  # "": the one of its name
    flags: str


LUNAR = "--run.target-return 200 --run.total-steps 400000 --ppo.learning-rate 1e-3 --ppo.minibatch-steps 256"
TASKS: Mapping[str, Task] = {
    "CartPole-v1": Task("", ""),
    "Pendulum-v1": Task("", ""),
    "Acrobot-v1": Task("", "--run.target-return -100 --run.total-steps 200000 --ppo.learning-rate 1e-3"),
    "LunarLander-v3": Task("box2d-classic", f"{LUNAR} --ppo.normalise-advantages batch"),
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


def solved_steps(env: str, flags: Sequence[str], seed: int, window: int) -> float:
    """Steps until the mean of so many episodes is at the target; infinite where it was not reached."""
    task = TASKS[env]
    own = (
        "--seed",
        str(seed),
        "--collect.envs-per-actor",
        str(SIMULATORS // ACTORS),
        "--run.return-window",
        str(window),
    )
    config = config_of(env, (*task.flags.split(), *flags, *own), task.preset)
    curve = learned(config, [SIMULATORS // ACTORS] * ACTORS, lambda slots: 0.001, message_seconds=2e-4)
    return float(curve.solved.steps) if curve.solved else math.inf


def main() -> None:
    """Run all variants of a task with all seeds; print and write a row a variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--window", type=int, default=20, help="episodes whose mean must reach the target")
    parser.add_argument("--variants", nargs="*", default=None)
    parser.add_argument("--output", default="")
    arguments = parser.parse_args()
    task = TASKS[arguments.env]
    chosen = variants(config_of(arguments.env, task.flags.split(), task.preset))
    about = {
        "experiment": "sample_reuse",
        "env": arguments.env,
        "window": arguments.window,
        "flags": task.flags,
        **conditions(),
    }
    rows = {}
    for name in arguments.variants or chosen:
        steps = [
            solved_steps(arguments.env, chosen[name], seed, arguments.window) for seed in range(1, arguments.seeds + 1)
        ]
        reached = [each for each in steps if each < math.inf]
        rows[name] = {
            "solved": len(reached),
            "median_steps": median(steps) if len(reached) == len(steps) else None,
            "steps": interval(reached) if reached else None,
        }
        print(f"{arguments.env}, {name}: solved {len(reached)} of {len(steps)}, steps {sorted(steps)}", flush=True)
        write_rows(arguments.output, {**about, "simulators": SIMULATORS}, rows)


if __name__ == "__main__":
    main()
