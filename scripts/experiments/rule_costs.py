"""Costs of collection rules where environments are equal: rates and CPU time beside those of `minimum`.

    python -m scripts.experiments.rule_costs --output benchmarks/rule-costs.json

16 environments of CartPole-v1 in 2 actors of 8 or 16 of one; a row takes 0.1 or 1 ms and up to a tenth more, a message
0.2 ms. Updates take no time and change nothing, so that each cost of a rule is a share of collecting alone.
"""

import argparse
import time
from functools import partial
from statistics import median
from typing import NamedTuple, get_args

import numpy as np

from dppo.bench.observed_run import conditions
from dppo.learner.collect_checks import RuleName
from scripts.experiments.learning import config_of
from scripts.experiments.row_files import Figures, add_options, fill
from scripts.experiments.simulated_run import SimulatedRun

ENVIRONMENTS = 16
JITTER = 0.1  # at most so much longer is a row
MESSAGE_SECONDS = 2e-4
WARM_UP, BATCHES = 1, 5


class Way(NamedTuple):
    """A rule, and what it collects from."""

    rule: str
    actors: int
    milliseconds: float  # of a row

    @property
    def name(self) -> str:
        """Name of its row in the file."""
        return f"{self.rule}, {self.actors} actors, {self.milliseconds:g} ms"


class Collected:
    """Batches of one run, counted after the first ones."""

    def __init__(self, way: Way, seed: int) -> None:
        self._way, self._jitter, self._batches = way, np.random.default_rng(seed), 0
        each = ENVIRONMENTS // way.actors
        flags = f"--seed {seed} --collect.rule {way.rule} --actors {way.actors} --collect.envs-per-actor {each}"
        config = config_of("CartPole-v1", flags.split())
        self.run = SimulatedRun(config, [each] * way.actors, self._row_seconds, message_seconds=MESSAGE_SECONDS)
        self._steps, self._began = 0, 0.0

    def _row_seconds(self, slots: range) -> float:
        return self._way.milliseconds / 1000 * (1 + JITTER * self._jitter.random())

    def collect(self) -> float:
        """Collect a batch. Return the CPU seconds of a step: sessions, codec, environments and policies."""
        if self._batches == WARM_UP:
            self._steps, self._began = 0, self.run.now
        began = time.process_time()
        self.run.publish()
        steps = sum(rollout.segment.steps for rollout in self.run.next_batch())
        self._batches, self._steps = self._batches + 1, self._steps + steps
        return (time.process_time() - began) / steps

    @property
    def batch_steps(self) -> float:
        """Mean steps of a batch."""
        return self._steps / BATCHES

    @property
    def rate(self) -> float:
        """Rate as a part of the rate without any wait."""
        ideal = ENVIRONMENTS / (self._way.milliseconds / 1000 * (1 + JITTER / 2))
        return self._steps / (self.run.now - self._began) / ideal


def figures(way: Way, seed: int) -> Figures:
    """Figures of a run beside one of `minimum`: batches in turn, so that other work of the machine hits both alike."""
    own, plain = Collected(way, seed), Collected(way._replace(rule="minimum"), seed)
    ratios = list[float]()
    for number in range(WARM_UP + BATCHES):
        pair = (own, plain) if number % 2 else (plain, own)
        cpu = {run: run.collect() for run in pair}
        ratios.append(cpu[own] / cpu[plain])
    for run in (own, plain):
        run.run.close()
    return {
        "rate": own.rate,
        "batch_steps": own.batch_steps,
        "rate_to_minimum": own.rate / plain.rate,
        "cpu_to_minimum": median(ratios[WARM_UP:]),
    }


def main() -> None:
    """Run all rules with all seeds; print and write a row for each rule, division and duration of a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", nargs="*", choices=get_args(RuleName), default=list(get_args(RuleName)))
    parser.add_argument("--actors", type=int, nargs="*", default=[2, 16])
    parser.add_argument("--milliseconds", type=float, nargs="*", default=[0.1, 1.0])
    add_options(parser)
    arguments = parser.parse_args()
    about = {"experiment": "rule_costs", "environments": ENVIRONMENTS, "batches": BATCHES, **conditions()}
    ways = [
        Way(rule, actors, milliseconds)
        for actors in arguments.actors
        for milliseconds in arguments.milliseconds
        for rule in arguments.rules
    ]
    fill(arguments, about, {way.name: partial(figures, way) for way in ways})


if __name__ == "__main__":
    main()
