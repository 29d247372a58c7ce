"""A simulator gives one absurd number, in an observation or in a reward: the learner names it and goes on."""

import json
import math
import re

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, holds

PATIENCE_SECONDS = 30.0
NAMED_SECONDS = 5.0
GLITCHES = {"observation-1e6": r"observation\[1\] is 1e\+06", "reward-1e9": r"reward is 1e\+09"}
MOST_RETURN = 500.0  # of CartPole: what a mean that believed the reward would be far above


def play(scene: Scene) -> list[Figure]:
    """Each glitch several times; observations are normalised, so that their moments count."""
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        figures = []
        for name, pattern in GLITCHES.items():
            figures += _one(scene, cluster, name, re.compile(rf"actor-\d+: environment \d+: {pattern}, "))
            cluster.live(scene.pick(1, 10))
        ends = cluster.finish()
        lines = [json.loads(line) for line in (cluster.watch.path / "metrics.jsonl").read_text().splitlines()]
        means = [line["mean_return"] for line in lines if line["mean_return"] is not None]
        return [
            *figures,
            at_least("absurd numbers counted", sum(line["outliers"] for line in lines), len(GLITCHES)),
            at_most("largest mean return shown", max(means, default=math.inf), MOST_RETURN),
            at_most("largest KL of an update", max(line["kl"] for line in lines), 1.0),
            *ends,
        ]


def _one(scene: Scene, cluster: Cluster, name: str, pattern: re.Pattern[str]) -> list[Figure]:
    said = len(cluster.learner.said())
    file = cluster.breaks / name
    file.touch()
    if cluster.until(lambda: not file.exists(), PATIENCE_SECONDS) is None:
        return [holds(f"{name}: an environment got to it", False)]
    named = cluster.until(lambda: pattern.search(cluster.learner.said()[said:]), PATIENCE_SECONDS)
    cluster.next_update(PATIENCE_SECONDS)
    return [at_most(f"{name}: named, with its place, after", named, scene.within(NAMED_SECONDS), "s")]


FAULTS = (Fault("glitches", "one absurd number in an observation, then in a reward", play),)
