"""kill -9 of a random actor every two seconds; each is started again at once."""

import itertools
import random

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported
from scripts.chaos.samples import megabytes_per_minute

EVERY_SECONDS = 2.0
SETTLE_SECONDS = 3.0
WARM_UP_SECONDS = 30.0  # before memory is taken to be steady


def play(scene: Scene) -> list[Figure]:
    """Speed and memory against a calm stretch of the same run."""
    generator = random.Random(scene.seed)  # noqa: S311 -- victims, not secrets
    with Cluster(scene.directory, Plan()) as cluster:
        cluster.start()
        cluster.live(SETTLE_SECONDS)
        calm_from = cluster.now
        cluster.live(scene.pick(4, 60))
        chaos_from = cluster.now
        until = chaos_from + scene.pick(6, 300)
        while cluster.now < until:
            alive = [actor for actor in cluster.actors if actor.alive]
            generator.choice(alive).kill()
            cluster.live(min(EVERY_SECONDS, max(0.0, until - cluster.now)))
        chaos_to = cluster.now
        ends = cluster.finish()
        watch = cluster.watch
        calm = watch.updates_per_second(calm_from, chaos_from)
        chaos = watch.updates_per_second(chaos_from, chaos_to)
        steady = [s for s in cluster.samples if chaos_from + WARM_UP_SECONDS <= s.at < chaos_to]
        gaps = [b.at - a.at for a, b in itertools.pairwise(watch.updates) if b.at < chaos_to]
        figures = [
            reported("kills", sum(actor.killed for actor in cluster.actors)),
            reported("updates/s calm", calm),
            reported("longest gap between updates", max(gaps, default=None), "s"),
        ]
        if scene.is_full:
            figures += [
                at_least("updates/s under fire, of calm", 100 * chaos / calm if calm else None, 80, "%"),
                at_most("learner memory slope", megabytes_per_minute(steady), 1, "MB/min"),
            ]
        else:
            figures.append(reported("updates/s under fire, of calm", 100 * chaos / calm if calm else None, "%"))
        return [*figures, *ends]


FAULTS = (Fault("kill-actors", "kill -9 a random actor every 2 s, 8 actors", play),)
