"""An environment sleeps for ever, holds the interpreter for ever, raises, or takes its process down."""

import itertools
import re
import signal
from dataclasses import dataclass

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, holds, reported
from scripts.chaos.workers import Worker

STEP_TIMEOUT_SECONDS = 4.0
PATIENCE_SECONDS = 30.0
OTHERS_WAIT_SECONDS = 6.0  # most that the others may stand still for one that hangs: the grace after STOP


@dataclass(frozen=True)
class Break:
    """One way to break, and what has to follow."""

    name: str
    exit_code: int | None  # of the actor; None: it goes on
    learner_says: str  # regular expression for a line that has the actor's name in it
    actor_says: str  # regular expression in the actor's own output
    at_most_seconds: float  # until the actor is back at work, or never away


BREAKS = (
    Break("sleeps", 1, r"stuck|hung|waiting|without it|gone|lost", r"hung(.|\n)*simulators\.py", 15),
    Break("holds-the-gil", 1, r"stuck|hung|waiting|without it|gone|lost", r"simulators\.py", 15),
    Break("raises", None, r"failed in step", r"lost its licence", 5),
    Break("segfaults", -signal.SIGSEGV, r"gone|lost|without it", r"", 5),
)


def play(scene: Scene) -> list[Figure]:
    """All ways to break, one after the other, one actor each time."""
    timeout = ("--env.step-timeout-seconds", str(STEP_TIMEOUT_SECONDS))
    with Cluster(scene.directory, Plan(actors=4, settings=timeout, harmless=r"lost its licence")) as cluster:
        cluster.start()
        figures = []
        for broken in BREAKS:
            figures += _one(scene, cluster, broken)
            cluster.live(scene.pick(1, 5))
        ends = cluster.finish()
        counted = cluster.watch.ledger()["total"]["env_restarts"]
        return [*figures, at_least("environments made again, by the ledger's count", counted, 1), *ends]


def _one(scene: Scene, cluster: Cluster, broken: Break) -> list[Figure]:
    name = f"env {broken.name}"
    learner_said = len(cluster.learner.said())
    said = {actor.name: len(actor.said()) for actor in cluster.actors}
    joined = {actor.name: _joins(cluster, actor) for actor in cluster.actors}
    exits = {actor.name: len(actor.exits) for actor in cluster.actors}
    file = cluster.breaks / broken.name
    file.touch()
    if cluster.until(lambda: not file.exists(), PATIENCE_SECONDS) is None:
        return [holds(f"{name}: an actor got to it", False)]
    broken_at = cluster.now
    pattern = re.compile(rf"^.*(actor-\d+).*(?:{broken.learner_says}).*$", re.MULTILINE)

    def named() -> str | None:
        match = pattern.search(cluster.learner.said()[learner_said:])
        return match[1] if match else None

    named_after = cluster.until(named, PATIENCE_SECONDS)
    victim = next((actor for actor in cluster.actors if actor.name == named()), None)
    figures = [at_most(f"{name}: named by the learner after", named_after, scene.within(OTHERS_WAIT_SECONDS), "s")]
    if victim is None:
        return figures
    if broken.exit_code is not None:
        replaced = cluster.until(lambda: _joins(cluster, victim) > joined[victim.name], PATIENCE_SECONDS)
        took = None if replaced is None else cluster.now - broken_at
        codes = victim.exits[exits[victim.name] :]
        figures += [
            at_most(f"{name}: replaced and back after", took, scene.within(broken.at_most_seconds), "s"),
            holds(f"{name}: exit code {broken.exit_code}", codes == [broken.exit_code], str(codes)),
        ]
        victim.excuse(broken.exit_code)
    else:
        cluster.next_update(PATIENCE_SECONDS)
        figures.append(holds(f"{name}: its process goes on", len(victim.exits) == exits[victim.name]))
    told = re.search(broken.actor_says, victim.said()[said[victim.name] :]) is not None
    figures.append(holds(f"{name}: its own log says where", told))
    others = [a for a in cluster.actors if a is not victim]
    figures.append(
        at_least(f"{name}: other actors that lived on", sum(len(a.exits) == exits[a.name] for a in others), len(others))
    )
    seen = [broken_at, *(u.at for u in cluster.watch.between(broken_at, cluster.now)), cluster.now]
    wait = max(after - before for before, after in itertools.pairwise(seen))
    return [
        *figures,
        at_most(f"{name}: longest wait of the others", wait, scene.within(OTHERS_WAIT_SECONDS), "s"),
        reported(f"{name}: updates meanwhile", len(seen) - 2),
    ]


def _joins(cluster: Cluster, actor: Worker) -> int:
    return cluster.learner.said().count(f"{actor.name} joined")


FAULTS = (Fault("environments", "an environment sleeps for ever, holds the GIL, raises, segfaults", play),)
