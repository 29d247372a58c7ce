"""Batches of `minimum` with 1, 2, 4 and 8 actors: how far they overshoot, and what is learned by step.

    python -m scripts.experiments.actor_counts --output benchmarks/actor-counts.json

The same 16 environments are divided among actors; a row takes 1 ms and up to a tenth more, a message 0.2 ms.
"""

import argparse

import numpy as np

from dppo.bench.observed_run import conditions
from scripts.experiments.intervals import interval, text_of
from scripts.experiments.learning import config_of, learned
from scripts.experiments.row_files import write_rows

ENVIRONMENTS = 16
ROW_SECONDS, MESSAGE_SECONDS = 1e-3, 2e-4
STEPS = 60_000  # up to which the curves are averaged


def figures(actors: int, seed: int, rule: str) -> dict[str, float]:
    """Figures of one run."""
    jitter = np.random.default_rng(seed)
    flags = ("--seed", str(seed), "--collect.rule", rule, "--collect.envs-per-actor", str(ENVIRONMENTS // actors))
    curve = learned(
        config_of("CartPole-v1", flags),
        [ENVIRONMENTS // actors] * actors,
        lambda slots: ROW_SECONDS * (1 + 0.1 * jitter.random()),
        message_seconds=MESSAGE_SECONDS,
    )
    wanted = config_of("CartPole-v1", flags).collect.batch_steps
    sizes = [point.batch_steps for point in curve.points]
    return {
        "overshoot": sum(sizes) / len(sizes) / wanted - 1,
        "solved_steps": float(curve.solved.steps) if curve.solved else float("inf"),
        "mean_return": curve.return_up_to(STEPS),
    }


def main() -> None:
    """Run all counts with all seeds; print and write a row a count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rule", choices=("minimum", "even_shares"), default="minimum")
    parser.add_argument("--output", default="")
    arguments = parser.parse_args()
    about = {"experiment": "actor_counts", "rule": arguments.rule, "environments": ENVIRONMENTS, **conditions()}
    rows = {}
    for actors in arguments.actors:
        runs = [figures(actors, seed, arguments.rule) for seed in range(1, arguments.seeds + 1)]
        rows[str(actors)] = {name: interval([run[name] for run in runs]) for name in runs[0]}
        print(f"{actors} actors: " + ", ".join(f"{name} {text_of(found)}" for name, found in rows[str(actors)].items()))
        write_rows(arguments.output, {**about, "up_to_steps": STEPS}, rows)


if __name__ == "__main__":
    main()
