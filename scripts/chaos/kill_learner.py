"""kill -9 of the learner, at random moments and at named points; the same command is started again, its actors stay."""

import random
import re
import signal
from dataclasses import dataclass
from statistics import median

from dppo.learner.failpoints import POINTS, VARIABLE
from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, none_of, reported

RESUME_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
LOST_UPDATES = 1
OFTEN = "after-accept"  # reached with every rollout; the other points once an update
SHORT_POINTS = ("after-accept", "mid-update", "before-checkpoint-rename")
_RESUMED = re.compile(r"resuming .* after update (\d+)")


@dataclass(frozen=True)
class Restart:
    """Times and losses of one restart of a learner."""

    policy_seconds: float | None  # from its start until it published a policy; None: it never did
    update_seconds: float | None  # from its start to its first new update
    lost_updates: int  # done before, and to be done again
    problems: list[str]  # of the books that the dead one left


def play_random(scene: Scene) -> list[Figure]:
    """Kills at random moments of the loop."""
    generator = random.Random(scene.seed)  # noqa: S311 -- moments, not secrets
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        restarts = []
        for _ in range(int(scene.pick(2, 30))):
            cluster.live(generator.uniform(0.5, 4.0 if scene.is_full else 1.5))
            cluster.learner.kill()
            restarts.append(_start_again(cluster))
        return [*_figures(scene, restarts), *cluster.finish()]


def play_points(scene: Scene) -> list[Figure]:
    """Killed at every named point of its loop in turn, by a switch that learners have for this."""
    restarts, survived = [], []
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        learner = cluster.learner
        learner.kill()
        for point in POINTS * 5 if scene.is_full else SHORT_POINTS:
            learner.environment = {VARIABLE: f"{point}:{30 if point == OFTEN else 3}"}
            restarts.append(_start_again(cluster))
            deaths = len(learner.exits)
            if cluster.until(lambda deaths=deaths: len(learner.exits) > deaths, PATIENCE_SECONDS) is None:  # type: ignore[misc]
                survived.append(point)
                learner.kill()
            else:
                learner.excuse(-signal.SIGKILL)
        learner.environment = {}
        restarts.append(_start_again(cluster))
        figures = [none_of("points at which it was not killed", survived), *_figures(scene, restarts)]
        return [*figures, *cluster.finish()]


def _start_again(cluster: Cluster) -> Restart:
    """The learner has just been killed: start it again, wait until it trains."""
    learner = cluster.learner
    learner.stay_dead()  # else it would be started before we have read how far it was
    cluster.until(lambda: not learner.alive, PATIENCE_SECONDS)
    cluster.watch.look(cluster.now)
    reached = cluster.watch.newest
    problems = cluster.audited()
    learner.start()
    policy = cluster.next_policy(PATIENCE_SECONDS, after=learner.started_at)
    update = cluster.next_update(PATIENCE_SECONDS, after=learner.started_at)
    again = _RESUMED.findall(learner.said())
    return Restart(policy, update, reached - int(again[-1]) if again else reached, problems)


def _figures(scene: Scene, restarts: list[Restart]) -> list[Figure]:
    """Figures of all restarts: how fast and how completely the learner came back."""
    policies = [restart.policy_seconds for restart in restarts if restart.policy_seconds is not None]
    updates = [restart.update_seconds for restart in restarts if restart.update_seconds is not None]
    limit = scene.within(RESUME_SECONDS)
    return [
        at_least("restarts after which it trained again", len(updates), len(restarts)),
        reported("start to the first policy, median", median(policies) if policies else None, "s"),
        at_most("start to the first policy, worst", max(policies, default=None), limit, "s"),
        reported("start to the first new update, median", median(updates) if updates else None, "s"),
        reported("start to the first new update, worst", max(updates, default=None), "s"),
        none_of("books of dead learners that do not close", [text for r in restarts for text in r.problems]),
        at_most("updates lost by a kill, worst", max((r.lost_updates for r in restarts), default=None), LOST_UPDATES),
    ]


FAULTS = (
    Fault("kill-learner", "kill -9 the learner at random", play_random),
    Fault("failpoints", "kill -9 the learner at named points", play_points),
)
