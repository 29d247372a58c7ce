"""Compare what a used environment holds after reset(seed) with what a new one does: names of attributes that differ.

Knows Gymnasium's layers and, of simulators, Box2D's worlds, whose order of contacts outlives a reset. Steps nothing.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from dppo.actor.envs.interface import Environments

DEPTH = 4  # of attributes in attributes
MOST_VALUES = 20_000  # that are compared: an environment may hold a map of its world
PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
CHECKERS = ("PassiveEnvChecker", "OrderEnforcing")  # wrappers of gymnasium.make, which look at the first calls only
BODY = ("type", "position", "angle", "linearVelocity", "angularVelocity", "mass", "inertia", "gravityScale", "awake")
FIXTURE = ("friction", "restitution", "density", "sensor")
SHAPE = ("vertices", "radius", "pos")


@dataclass(frozen=True)
class Kept:
    """Differences after the same reset."""

    names: tuple[str, ...]  # of attributes with other values, in the order in which they were found
    shown: str  # the first of them with both values; "" where there is none
    world: str = ""  # attribute that holds a world of Box2D that reset() does not make anew, its bodies being equal

    @property
    def is_order_of_contacts(self) -> bool:
        """Whether nothing but the order in which a simulator solves contacts can differ."""
        return bool(self.world) and not self.names


def kept_after_reset(used: Environments, new: Environments, seed: int) -> Kept | None:
    """Reset both by the seed and compare them; None where they are not environments of this process."""
    one, other = used.single(0), new.single(0)
    if one is None or other is None:
        return None
    _, before = world_of(one)
    used.reset([seed])
    new.reset([seed])
    return compare(one, other, before)


def compare(used: gym.Env[Any, Any], new: gym.Env[Any, Any], world_before: object) -> Kept:
    """Compare two environments that have just been reset by the same seed.

    world_before: `world_of` the used one before that reset.
    """
    values, others = dict(_values(used)), dict(_values(new))
    names = tuple(name for name in values if name in others and not _equal(values[name], others[name]))
    names += tuple(sorted({*values} ^ {*others}))
    first = next((name for name in names if name in values and name in others), "")
    shown = f"{first} is {_short(values[first])}, and {_short(others[first])} in a new one" if first else ""
    name, world = world_of(used)
    is_kept = world is not None and world is world_before
    _, other = world_of(new)
    return Kept(names, shown, name if is_kept and other is not None and _bodies(world) == _bodies(other) else "")


def world_of(environment: gym.Env[Any, Any]) -> tuple[str, Any]:
    """Return the attribute of the environment itself that is a world of Box2D, and its name; ("", None) without."""
    for name, value in _attributes(environment.unwrapped).items():
        if type(value).__name__ == "b2World" and type(value).__module__.partition(".")[0] == "Box2D":
            return name, value
    return "", None


def _values(environment: gym.Env[Any, Any]) -> Iterator[tuple[str, Any]]:
    """All plain values and arrays below an environment and its wrappers, by the path of their attributes."""
    left, layer = MOST_VALUES, environment
    while True:
        prefix = "" if layer is environment.unwrapped else f"{type(layer).__name__}."
        for found in _below(layer, prefix, {id(layer)}) if type(layer).__name__ not in CHECKERS else ():
            yield found
            left -= 1
            if not left:
                return
        if not isinstance(layer, gym.Wrapper):
            return
        layer = layer.env


def _below(holder: Any, prefix: str, seen: set[int], depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    for name, value in _attributes(holder).items():
        yield from _value(value, f"{prefix}{name}", seen, depth)


def _value(value: Any, name: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (*PLAIN, np.ndarray)):
        yield name, value
    elif isinstance(value, np.random.Generator):
        yield name, repr(value.bit_generator.state)
    elif not depth or id(value) in seen or isinstance(value, gym.Env | gym.Space | type | types.ModuleType):
        return
    elif isinstance(value, Mapping):
        for key in list(value):
            yield from _value(value[key], f"{name}[{key!r}]", seen | {id(value)}, depth - 1)
    elif isinstance(value, list | tuple):
        yield f"len({name})", len(value)
        for place, one in enumerate(value):
            yield from _value(one, f"{name}[{place}]", seen | {id(value)}, depth - 1)
    else:
        yield from _below(value, f"{name}.", seen | {id(value)}, depth - 1)


def _attributes(holder: Any) -> dict[str, Any]:
    found = getattr(holder, "__dict__", None)
    return {name: value for name, value in found.items() if name != "this"} if isinstance(found, dict) else {}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc" and other.dtype.kind in "fc")
    return bool(one == other or (one != one and other != other))


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 30 else f"{text[:27]}..."


def _bodies(world: Any) -> list[str]:
    """Descriptions of a world's bodies and joints, in an order of their own."""

    def of(thing: Any, names: tuple[str, ...]) -> str:
        return " ".join(f"{name}={getattr(thing, name, None)!r}" for name in names)

    bodies = [
        of(body, BODY) + "".join(sorted(of(part, FIXTURE) + of(part.shape, SHAPE) for part in body.fixtures))
        for body in world.bodies
    ]
    return sorted([*bodies, *(f"{type(joint).__name__} {joint.anchorA!r} {joint.anchorB!r}" for joint in world.joints)])
