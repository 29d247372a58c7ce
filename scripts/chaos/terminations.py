"""SIGTERM to actors and to the learner: what an engine sends before it takes a machine away."""

import signal

from scripts.chaos.cluster import END_SECONDS, Cluster, Plan, only_dropped
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_most, holds
from scripts.chaos.watching import open_accounts

GRACE_SECONDS = 20.0  # of an actor; engines wait longer


def play_actors(scene: Scene) -> list[Figure]:
    """Actors are asked to go one after the other and are replaced: exit 0, no step lost."""
    with Cluster(scene.directory, Plan(actors=4)) as cluster:
        cluster.start()
        slowest, codes = 0.0, []
        for turn in range(int(scene.pick(3, 20))):
            actor = cluster.actors[turn % len(cluster.actors)]
            if cluster.until(lambda actor=actor: actor.alive, 10) is None:  # type: ignore[misc]
                continue
            cluster.live(1.5)  # it is at work
            exits = len(actor.exits)
            actor.signal(signal.SIGTERM)
            took = cluster.until(lambda actor=actor, exits=exits: len(actor.exits) > exits, GRACE_SECONDS)  # type: ignore[misc]
            slowest = max(slowest, GRACE_SECONDS if took is None else took)
            codes += actor.exits[exits:]
        ends = cluster.finish()
        return [
            at_most("slowest end", slowest, GRACE_SECONDS - 1, "s"),
            holds("all exit codes 0", bool(codes) and not any(codes), str(codes)),
            only_dropped(cluster, "shutdown"),
            *ends,
        ]


def play_learner(scene: Scene) -> list[Figure]:
    """The learner is asked to go, again and again: exit 0 with everything booked, and the next start goes on."""
    with Cluster(scene.directory, Plan(actors=2)) as cluster:
        cluster.start()
        slowest, codes, unclosed, lost = 0.0, [], [], []
        for _ in range(int(scene.pick(2, 10))):
            cluster.live(1)
            learner = cluster.learner
            exits = len(learner.exits)
            learner.restart_seconds = None
            learner.signal(signal.SIGTERM)
            took = cluster.until(lambda exits=exits: len(cluster.learner.exits) > exits, END_SECONDS)  # type: ignore[misc]
            slowest = max(slowest, END_SECONDS if took is None else took)
            codes += learner.exits[exits:]
            cluster.watch.look(cluster.now)
            reached = cluster.watch.newest
            unclosed += open_accounts(cluster.watch.ledger())
            learner.restart_seconds = 0.2
            learner.start()
            cluster.next_update(30, after=learner.started_at)
            lost.append(reached - cluster.watch.summary()["updates"])
        return [
            at_most("slowest end", slowest, END_SECONDS - 1, "s"),
            holds("all exit codes 0", bool(codes) and not any(codes), str(codes)),
            holds("every ledger closed", not unclosed, "; ".join(unclosed[:1])),
            at_most("updates lost", max(lost, default=None), 0),
            *cluster.finish(),
        ]


FAULTS = (
    Fault("term-actors", "SIGTERM to actors", play_actors),
    Fault("term-learner", "SIGTERM to the learner, then the same command", play_learner),
)
