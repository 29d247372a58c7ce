"""kill -9 of the learner at random moments; the same command is started again, its actors stay."""

import random
import re
from dataclasses import dataclass
from statistics import median

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported

RESUME_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
LOST_UPDATES = 1
_RESUMED = re.compile(r"resuming .* after update (\d+)")


@dataclass(frozen=True)
class Restart:
    """How a learner came back."""

    policy_seconds: float | None  # from its start until it published a policy; None: it never did
    update_seconds: float | None  # from its start to its first new update
    lost_updates: int  # done before, and to be done again


def kill_and_wait(cluster: Cluster) -> Restart:
    """Kill the learner; wait until it trains again."""
    learner = cluster.learner
    deaths = len(learner.exits)
    learner.kill()
    cluster.until(lambda: len(learner.exits) > deaths, PATIENCE_SECONDS)
    cluster.watch.look(cluster.now)
    reached = cluster.watch.newest
    cluster.until(lambda: learner.alive, PATIENCE_SECONDS)
    resumed = cluster.next_policy(PATIENCE_SECONDS, after=learner.started_at)
    trained = cluster.next_update(PATIENCE_SECONDS, after=learner.started_at)
    again = _RESUMED.findall(learner.said())
    return Restart(resumed, trained, reached - int(again[-1]) if again else reached)


def play_random(scene: Scene) -> list[Figure]:
    """Kills at random moments of the loop."""
    generator = random.Random(scene.seed)  # noqa: S311 -- moments, not secrets
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        restarts = []
        for _ in range(int(scene.pick(2, 30))):
            cluster.live(generator.uniform(0.5, 1.5 if not scene.is_full else 4.0))
            restarts.append(kill_and_wait(cluster))
        return [*restart_figures(scene, restarts), *cluster.finish()]


def restart_figures(scene: Scene, restarts: list[Restart]) -> list[Figure]:
    """How fast and how completely the learner came back."""
    policies = [restart.policy_seconds for restart in restarts if restart.policy_seconds is not None]
    updates = [restart.update_seconds for restart in restarts if restart.update_seconds is not None]
    limit = scene.within(RESUME_SECONDS)
    return [
        at_least("restarts after which it trained again", len(updates), len(restarts)),
        reported("start to the first policy, median", median(policies) if policies else None, "s"),
        at_most("start to the first policy, worst", max(policies, default=None), limit, "s"),
        reported("start to the first new update, median", median(updates) if updates else None, "s"),
        reported("start to the first new update, worst", max(updates, default=None), "s"),
        at_most("updates lost by a kill, worst", max((r.lost_updates for r in restarts), default=None), LOST_UPDATES),
    ]


FAULTS = (Fault("kill-learner", "kill -9 the learner at random", play_random),)
