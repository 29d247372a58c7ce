"""kill -9 of the learner at random moments; the same command is started again, its actors stay."""

import random
import re

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported

RESUME_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
LOST_UPDATES = 1
_RESUMED = re.compile(r"resuming .* after update (\d+)")


def kill_and_wait(cluster: Cluster) -> tuple[float | None, int]:
    """Kill the learner; seconds from its new start to its next update, and how many updates it had to do again."""
    learner = cluster.learner
    deaths = len(learner.exits)
    learner.kill()
    cluster.until(lambda: len(learner.exits) > deaths, PATIENCE_SECONDS)
    cluster.watch.look(cluster.now)
    reached = cluster.watch.newest
    cluster.until(lambda: learner.alive, PATIENCE_SECONDS)
    resumed = cluster.next_update(PATIENCE_SECONDS, after=learner.started_at)
    again = _RESUMED.findall(learner.said())
    return resumed, reached - int(again[-1]) if again else reached


def play_random(scene: Scene) -> list[Figure]:
    """Kills at random moments of the loop."""
    generator = random.Random(scene.seed)  # noqa: S311 -- moments, not secrets
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        resumed, lost = [], []
        for _ in range(int(scene.pick(2, 30))):
            cluster.live(generator.uniform(0.5, 1.5 if not scene.is_full else 4.0))
            seconds, updates = kill_and_wait(cluster)
            resumed.append(seconds)
            lost.append(updates)
        return [*restart_figures(resumed, lost), *cluster.finish()]


def restart_figures(resumed: list[float | None], lost: list[int]) -> list[Figure]:
    """How fast and how completely the learner came back."""
    seconds = sorted(s for s in resumed if s is not None)
    return [
        at_least("restarts that resumed", len(seconds), len(resumed)),
        reported("start to the first new update, median", seconds[len(seconds) // 2] if seconds else None, "s"),
        at_most("start to the first new update, worst", seconds[-1] if seconds else None, RESUME_SECONDS, "s"),
        at_most("updates lost by a kill, worst", max(lost, default=None), LOST_UPDATES),
    ]


FAULTS = (Fault("kill-learner", "kill -9 the learner at random", play_random),)
