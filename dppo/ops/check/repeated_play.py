"""Plays the same seeds and actions twice and compares: seeds that decide nothing, resets that leak, dead actions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dppo.actor.envs.interface import Environments
from dppo.ops.check.random_actions import RandomActions, bounds_of
from dppo.protocol.leaves import Leaf
from dppo.protocol.rollout import Leaves
from dppo.protocol.specs import Spec

STEPS = 100
MOST_ELEMENTS = 16  # of an action that are tried one by one

Actions = Callable[[Leaves], np.ndarray | Leaves]
MakeActions = Callable[[Spec], Actions]  # of the spec after the first reset, which shows whether there are masks


@dataclass(frozen=True)
class Trace:
    """Observations and rewards of some steps from one reset."""

    first: Leaves
    observations: Sequence[Leaves]
    rewards: Sequence[float]
    ends: Sequence[tuple[bool, bool]]  # terminated, truncated


@dataclass(frozen=True)
class Difference:
    """The first place at which two traces part."""

    step: int  # 0: the reset
    what: str  # a leaf, "reward", "terminated", "truncated"

    def __str__(self) -> str:
        where = "the first reset()" if not self.step else f"step {self.step}"
        return f"{self.what} of {where}"


def trace(environments: Environments, seed: int, make_actions: MakeActions, steps: int = STEPS) -> Trace:
    """Reset by the seed and do so many steps, over ends of episodes; fewer where it crashes."""
    observations = first = _copied(environments.reset([seed]))
    actions = make_actions(environments.spec)
    rows, rewards, ends = list[Leaves](), list[float](), list[tuple[bool, bool]]()
    for _ in range(steps):
        step = environments.step(actions(observations))
        if step.crashes:
            break
        observations = _copied(step.observations)
        rows.append(observations)
        rewards.append(float(step.rewards[0]))
        ends.append((bool(step.terminated[0]), bool(step.truncated[0])))
    return Trace(first, rows, rewards, ends)


def difference(one: Trace, other: Trace) -> Difference | None:
    """Return where they part; None where they do not."""
    if (name := _differing(one.first, other.first)) is not None:
        return Difference(0, name)
    steps = zip(one.observations, other.observations, one.rewards, other.rewards, one.ends, other.ends, strict=False)
    for number, (row, other_row, reward, other_reward, end, other_end) in enumerate(steps, 1):
        if (name := _differing(row, other_row)) is not None:
            return Difference(number, name)
        if reward != other_reward:
            return Difference(number, "reward")
        if end != other_end:
            return Difference(number, "terminated" if end[0] != other_end[0] else "truncated")
    return None


def random_actions(seed: int) -> MakeActions:
    """Return the actions of that seed."""
    return lambda spec: RandomActions(spec, seed).next


def dead_elements(environments: Environments, seed: int, steps: int, seconds_left: Callable[[], float]) -> list[str]:
    """Elements of box actions that change nothing from their lowest to their highest value, the others alike.

    Stops early, with what it has found, where the time is over.
    """
    dead = list[str]()
    for leaf in environments.spec.action:
        if leaf.kind != "box" or leaf.elements > MOST_ELEMENTS:
            continue
        low, high = bounds_of(leaf)
        for element in range(leaf.elements):
            if seconds_left() <= 0:
                return dead
            least, most = max(low[element], -1.0), min(high[element], 1.0)
            traces = [trace(environments, seed, _with(leaf, element, value, seed), steps) for value in (least, most)]
            if least < most and difference(*traces) is None:
                dead.append(f"{leaf.name}[{element}]" if leaf.shape else leaf.name)
    return dead


def _with(leaf: Leaf, element: int, value: float, seed: int) -> MakeActions:
    """Random actions in which one element always has that value."""

    def make(spec: Spec) -> Actions:
        drawn = random_actions(seed)(spec)

        def act(observations: Leaves) -> np.ndarray | Leaves:
            action = drawn(observations)
            (action[f"env_{leaf.name}"] if isinstance(action, dict) else action).reshape(-1)[element] = value
            return action

        return act

    return make


def _differing(one: Leaves, other: Leaves) -> str | None:
    return next((name for name in one if not np.array_equal(one[name], other[name], equal_nan=True)), None)


def _copied(leaves: Leaves) -> Leaves:
    return {name: np.array(values) for name, values in leaves.items()}
