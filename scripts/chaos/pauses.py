"""SIGSTOP of an actor, and of the learner, for longer than any lease; then SIGCONT."""

import itertools
import signal

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_most, holds, reported

REJOIN_SECONDS = 5.0
NAMED_SECONDS = 6.0  # the grace after STOP (5 s), and a line of the learner a moment later


def play_actor(scene: Scene) -> list[Figure]:
    """One of several actors stands still: it is named, the others go on, and it comes back."""
    seconds = scene.pick(7, 20)
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        cluster.live(1)
        calm_from = cluster.now
        cluster.live(scene.pick(3, 15))
        victim = cluster.actors[0]
        stopped_at = cluster.now
        calm = cluster.watch.updates_per_second(calm_from, stopped_at)
        said = len(cluster.learner.said())
        victim.signal(signal.SIGSTOP)
        named = cluster.until(lambda: _names(cluster.learner.said()[said:], victim.name), seconds)
        cluster.live(max(0.0, stopped_at + seconds - cluster.now))
        resumed_at = cluster.now
        gaps = [stopped_at, *(u.at for u in cluster.watch.between(stopped_at, resumed_at)), resumed_at]
        longest = max(b - a for a, b in itertools.pairwise(gaps))
        without = cluster.watch.updates_per_second(stopped_at, resumed_at)
        before = cluster.learner.said().count(f"{victim.name} joined")
        victim.signal(signal.SIGCONT)
        rejoined = cluster.until(lambda: cluster.learner.said().count(f"{victim.name} joined") > before, 20)
        cluster.live(1)
        return [
            reported("stood still for", seconds, "s"),
            at_most("named by the learner after", named, scene.within(NAMED_SECONDS), "s"),
            at_most("longest wait of the others", longest, scene.within(NAMED_SECONDS), "s"),
            reported("updates/s without it, of calm", 100 * without / calm if calm else None, "%"),
            at_most("back after SIGCONT within", rejoined, scene.within(REJOIN_SECONDS), "s"),
            *cluster.finish(),
        ]


def play_learner(scene: Scene) -> list[Figure]:
    """The learner stands still: actors wait, and nothing is lost."""
    seconds = scene.pick(5, 20)
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        cluster.live(1)
        cluster.learner.signal(signal.SIGSTOP)
        cluster.live(seconds)
        starts = sum(actor.starts for actor in cluster.actors)
        resumed_at = cluster.now
        cluster.learner.signal(signal.SIGCONT)
        update = cluster.next_update(20, after=resumed_at)
        another = cluster.next_update(20)
        return [
            reported("stood still for", seconds, "s"),
            at_most("first update after SIGCONT", update, scene.within(REJOIN_SECONDS), "s"),
            at_most("and another", another, scene.within(REJOIN_SECONDS), "s"),
            holds("every actor lived through it", starts == len(cluster.actors)),
            *cluster.finish(),
        ]


def _names(said: str, actor: str) -> bool:
    """Whether the learner has said that it waits for this actor, or goes on without it."""
    words = ("waiting", "without it", "gone", "did not stop")
    return any(actor in line and any(word in line for word in words) for line in said.splitlines())


FAULTS = (
    Fault("stop-actor", "SIGSTOP of one actor, then SIGCONT", play_actor),
    Fault("stop-learner", "SIGSTOP of the learner, then SIGCONT", play_learner),
)
