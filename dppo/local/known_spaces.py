"""Spaces of Gymnasium's own environments that need not be made to know them. Knows specs; imports no Gymnasium."""

import msgspec

from dppo.protocol.messages import EnvSettings
from dppo.protocol.specs import Leaf, Spec


def _observed(numbers: int) -> tuple[Leaf, ...]:
    return (Leaf("observation", "<f4", (numbers,), "box"),)


def _choice(values: int, name: str = "action") -> tuple[Leaf, ...]:
    return (Leaf(name, "<i8", (), "discrete", categories=values),)


def _number(bound: float) -> tuple[Leaf, ...]:
    return (Leaf("action", "<f4", (1,), "box", (-bound,), (bound,)),)


KNOWN = {
    "CartPole-v1": Spec(_observed(4), _choice(2)),
    "Pendulum-v1": Spec(_observed(3), _number(2.0)),
    "Acrobot-v1": Spec(_observed(6), _choice(3)),
    "MountainCar-v0": Spec(_observed(2), _choice(3)),
    "MountainCarContinuous-v0": Spec(_observed(2), _number(1.0)),
    "FrozenLake-v1": Spec(_choice(16, "observation"), _choice(4)),
}  # made from Gymnasium alone: no need to try, which would cost each of their runs half a second


def needs_no_probe(env: EnvSettings) -> bool:
    """Return whether the environment can certainly be made, and has these spaces."""
    is_plain = env.kwargs_json == "{}" and env.wrappers_json == "[]" and not env.step_metrics
    return env.id in KNOWN and is_plain and env.vectorization != "native" and env.action_mask in ("auto", "none")


def known_spaces(env: EnvSettings) -> Spec | None:
    """Return the spaces of an environment that needs no probe; None of all others."""
    return msgspec.structs.replace(KNOWN[env.id], metrics=env.metrics) if needs_no_probe(env) else None
