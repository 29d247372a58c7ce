"""One line on what a run waits for most, and what would help: measured shares of time, in words. Pure."""

from collections.abc import Mapping, Sequence

from dppo.learner.telemetry.status import ActorStatus, Status

BOUND = 0.6  # share of the time that makes a bottleneck
LEARNING = 0.5  # share of the time in which nothing is collected
IDLE = 0.3  # of the actors' time
SENDING = 0.25
SLOW = 4.0  # times slower than the median actor
FEW_UPDATES = 5  # before which nothing is measured well


def verdict(status: Status, shares: Mapping[str, float]) -> str:
    """Return the line; "" where there is not enough to judge. shares: of the learner's time, by part."""
    actors = [actor for actor in status.actors if actor.state in ("running", "stopped")]
    return verdict_on(status.updates, actors, shares)


def verdict_on(updates: int, actors: Sequence[ActorStatus], shares: Mapping[str, float]) -> str:
    """Return the line on actors that work, as `verdict`."""
    if updates < FEW_UPDATES or not actors or not shares:
        return ""
    env, policy, send, idle = (
        _mean(actors, name) for name in ("env_share", "policy_share", "send_share", "idle_share")
    )
    if (slowest := _straggler(actors)) and shares.get("collect", 0.0) > BOUND and idle > IDLE:
        return slowest
    if 1 - shares.get("collect", 0.0) > LEARNING and idle > IDLE:
        return (
            f"learner-bound: actors idle {idle:.0%}; fewer epochs, larger minibatches or more threads help, "
            "more actors do not"
        )
    if send > SENDING:
        return (
            f"wire-bound: actors spend {send:.0%} in sending; smaller observations or a faster connection help, "
            "more actors do not"
        )
    if shares.get("collect", 0.0) > BOUND and policy > env:
        return f"policy-bound: actors spend {policy:.0%} in the network; more environments an actor or more actors help"
    if shares.get("collect", 0.0) > BOUND:
        return f"simulator-bound: actors spend {env:.0%} in their environments; more actors help while cores are free"
    return f"balanced: actors spend {env:.0%} in their environments, {idle:.0%} waiting"


def _mean(actors: Sequence[ActorStatus], name: str) -> float:
    """Return the mean share, each actor counted by its environments."""
    envs = sum(actor.envs for actor in actors)
    return sum(getattr(actor, name) * actor.envs for actor in actors) / envs if envs else 0.0


def _straggler(actors: Sequence[ActorStatus]) -> str:
    """Return a line on the actor that others wait for: it works while they idle."""
    if len(actors) < 2:
        return ""
    busiest = min(actors, key=lambda actor: actor.idle_share)
    others = [actor for actor in actors if actor is not busiest]
    work = 1 - _mean(others, "idle_share")
    if work <= 0 or busiest.idle_share > 0.1 or (1 - busiest.idle_share) / work < SLOW:
        return ""
    return f"waiting for the slowest: {busiest.name}, {(1 - busiest.idle_share) / work:.0f}x slower than the others"
