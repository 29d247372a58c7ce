"""Stragglers' scores: steps and simulated seconds to CartPole-v1's target under each collection rule.

    python -m scripts.experiments.straggler_scores --kind steps --output benchmarks/straggler-scores-steps.json

32 environments, each with an actor of its own; a step takes 10 ms, a slow one ten times as long. What is slow does not
depend on the state, so a rule costs time, and steps only by the form of its batches. But for `--kind leaning`: there a
step is slow while the pole leans.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

from dppo.bench.observed_run import conditions
from dppo.learner.config import LearnerConfig
from scripts.experiments import speeds
from scripts.experiments.learning import Curve, config_of, learned
from scripts.experiments.row_files import Figures, add_options, fill

ENVIRONMENTS = 32
WINDOW = 20  # episodes whose mean must reach the target
STEPS = 150_000  # at most
Kind = speeds.Kind | Literal["leaning"]
KINDS = (*get_args(speeds.Kind), "leaning")
RULES: Mapping[str, str] = {
    "minimum": "--collect.rule minimum",
    "minimum, drop": "--collect.rule minimum --collect.on-stop drop",
    "even_shares": "--collect.rule even_shares",
    "quorum": "--collect.rule quorum",
    "quorum, drop": "--collect.rule quorum --collect.on-stop drop",
    "quota": "--collect.rule quota",
}


def _config(rule: str, kind: Kind, seed: int, environments: int) -> LearnerConfig:
    own = f"--seed {seed} --actors {environments} --collect.envs-per-actor 1 --run.return-window {WINDOW}"
    config = config_of("CartPole-v1", (*RULES[rule].split(), *own.split()))
    if kind != "leaning":
        return config
    return replace(config, env=replace(config.env, id="scripts.experiments.speeds:Leaning", kwargs={"slot": "{slot}"}))


def trained(rule: str, kind: Kind, seed: int, *, environments: int = ENVIRONMENTS, steps: int = STEPS) -> Curve:
    """Train to the target, one environment an actor."""
    config = _config(rule, kind, seed, environments)
    if kind == "leaning":
        return learned(config, [1] * environments, speeds.seconds_of, message_seconds=2e-4, until_steps=steps)
    of_slots = [speeds.Speed(slot, kind, seed) for slot in range(environments)]

    def seconds(slots: range) -> float:
        found = max(of_slots[slot].seconds for slot in slots)
        for slot in slots:
            of_slots[slot].advance()
        return found

    return learned(config, [1] * environments, seconds, message_seconds=2e-4, until_steps=steps)


def figures(rule: str, kind: Kind, seed: int) -> Figures:
    """Figures of one run."""
    curve = trained(rule, kind, seed)
    made = [speeds.REGISTRY[slot] for slot in range(ENVIRONMENTS)] if kind == "leaning" else []
    shares = {"slow_share": sum(one.slow_steps for one in made) / sum(one.steps for one in made)} if made else {}
    return {
        "steps": curve.solved.steps if curve.solved else None,
        "seconds": curve.solved.seconds if curve.solved else None,
        "return_up_to_25000": curve.return_up_to(25_000),
        "batch_steps": sum(point.batch_steps for point in curve.points) / len(curve.points),
        "steps_a_second": curve.points[-1].steps / curve.points[-1].seconds,
        **shares,
    }


def main() -> None:
    """Run all rules with all seeds on one kind of stragglers; print and write a row a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--rules", nargs="*", choices=list(RULES), default=list(RULES))
    add_options(parser)
    arguments = parser.parse_args()
    about = {"experiment": "straggler_scores", "kind": arguments.kind, "window": WINDOW, **conditions()}
    about = {**about, "environments": ENVIRONMENTS, "most_steps": STEPS}
    fill(arguments, about, {rule: partial(figures, rule, arguments.kind) for rule in arguments.rules})


if __name__ == "__main__":
    main()
