"""kill -9 of actors and learner together, while CartPole is learned to its target."""

import random

from dppo.watch.evaluate import evaluate
from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, reported

ACTOR_EVERY_SECONDS = 2.0
LEARNER_EVERY_SECONDS = 15.0
# of 100 training episodes, or of the final policy: a kill takes unfinished episodes along, and the longest are the best
TARGET_RETURN = 475.0
# the shipped preset for CartPole-v1
LEARNS = (
    *("--collect.batch-steps", "1024", "--ppo.epochs", "10"),
    *("--ppo.minibatch-steps", "256", "--ppo.learning-rate", "1e-3", "--network.normalise-observations", "false"),
    *("--run.target-return", str(TARGET_RETURN), "--run.stop-at-target", "false"),
)


def play(scene: Scene) -> list[Figure]:
    """Both are killed on their own beat; learning must get to the target all the same."""
    generator = random.Random(scene.seed)  # noqa: S311 -- victims, not secrets
    plan = Plan(actors=6, envs=8, step_seconds=0.0005, settings=LEARNS)
    with Cluster(scene.directory, plan) as cluster:
        cluster.start()
        until = cluster.now + scene.pick(10, 300)
        learner_at = cluster.now + scene.pick(4, LEARNER_EVERY_SECONDS)
        while cluster.now < until:
            alive = [actor for actor in cluster.actors if actor.alive]
            if alive:
                generator.choice(alive).kill()
            if cluster.now >= learner_at:
                learner_at = cluster.now + LEARNER_EVERY_SECONDS * generator.uniform(0.7, 1.3)
                cluster.learner.kill()
            cluster.live(ACTOR_EVERY_SECONDS)
        returned = cluster.next_update(30)
        ends = cluster.finish()
        best = max((u.mean_return for u in cluster.watch.updates if u.mean_return is not None), default=None)
        figures = [
            reported("actor kills", sum(actor.killed for actor in cluster.actors)),
            at_least("learner kills", cluster.learner.killed, 1),
            at_least("updates after the last kill", 0 if returned is None else 1, 1),
        ]
        figures.append(reported("best mean return of 100 training episodes", best))
        if scene.is_full:
            played = evaluate(str(cluster.watch.path), episodes=40, seed=1, deterministic=True, envs=8).mean
            figures += [
                reported("return of the final policy, 40 episodes", played),
                at_least("the better of the two", max(best or 0.0, played), TARGET_RETURN),
            ]
        return [*figures, *ends]


FAULTS = (Fault("kill-both", "both together, CartPole to its target", play),)
