"""Plays an environment with random actions and keeps what can be judged. Reads the clock; judges nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from dppo.actor.envs.finite import Finite
from dppo.actor.envs.interface import Crash, Environments, Step
from dppo.ops.check.random_actions import RandomActions
from dppo.protocol.errors import DppoError
from dppo.protocol.leaves import Leaf
from dppo.protocol.rollout import Leaves

KEPT_ROWS = 2_000  # of observations, for medians and percentiles
KEPT_ELEMENTS = 256  # of a leaf, above which only extremes are kept
MOST_CRASHES = 3  # after which playing on shows nothing new
ENVIRONMENT = 0  # the only column


class LeafValues:
    """Values of one leaf over a play: extremes of each element, and some rows."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.low = np.full(leaf.elements, np.inf)
        self.high = np.full(leaf.elements, -np.inf)
        self._rows: list[np.ndarray] = []

    def add(self, row: np.ndarray) -> None:
        """Take the leaf of one observation, of any shape."""
        values = row.ravel()
        np.minimum(self.low, values, out=self.low)
        np.maximum(self.high, values, out=self.high)
        if len(values) <= KEPT_ELEMENTS and len(self._rows) < KEPT_ROWS:
            self._rows.append(values.astype(np.float64))

    @property
    def rows(self) -> np.ndarray:
        """The kept rows [n, elements]; n is 0 for a leaf of many elements."""
        return np.array(self._rows) if self._rows else np.empty((0, self.leaf.elements))


@dataclass
class Play:
    """Results of a number of random steps of one environment."""

    leaves: list[LeafValues]
    rewards: list[float] = field(default_factory=list)  # of valid steps
    lengths: list[int] = field(default_factory=list)  # of episodes that ended
    terminated: list[bool] = field(default_factory=list)  # of these: else truncated
    returns: list[float] = field(default_factory=list)  # of these
    running: int = 0  # steps of the episode that had not ended
    crashes: list[str] = field(default_factory=list)
    step_seconds: float = 0.0  # mean of a step, without what ours costs and without waiting for a core
    cpu_share: float = 1.0  # of the steps' time, without what this thread waited for a core: small where they wait
    reset_seconds: float = 0.0  # of the first reset
    grown_bytes: int = 0  # resident memory over the second half

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return len(self.rewards)


def play(environments: Environments, *, seed: int, steps: int, seconds: float, clock: Callable[[], float]) -> Play:
    """Play one environment for so many steps, or until the time is over, or nothing works."""
    player = _Player(environments, Play([]), clock)
    try:
        player.run(seed, steps, until=clock() + seconds)
    except (DppoError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 -- whatever a reset raises
        player.result.crashes.append(str(Crash(environments.column, "reset", error)))
    return player.finish()


class _Player:
    def __init__(self, environments: Environments, result: Play, clock: Callable[[], float]) -> None:
        self._environments = environments
        self.result = result
        self._clock = clock
        self._return, self._length = 0.0, 0
        self._stepping, self._computing, self._queued = 0.0, 0.0, 0.0  # seconds: all, on a core, waiting for one
        self._half_bytes = 0  # resident memory after half of the steps
        self._process = psutil.Process()

    def run(self, seed: int, steps: int, until: float) -> None:
        """Step until one of them is reached. Raises whatever a reset raises."""
        environments, result = self._environments, self.result
        began = self._clock()
        observations = environments.reset([seed])
        result.reset_seconds = self._clock() - began
        result.leaves = [LeafValues(leaf) for leaf in environments.spec.observation]
        actions = RandomActions(environments.spec, seed)  # the first reset shows whether there are masks
        finite = Finite(environments.spec, 1, indivisible=environments.indivisible)
        finite.refuse_first(observations, environments.given)
        self._look(observations)
        while result.steps < steps and self._clock() < until and len(result.crashes) < MOST_CRASHES:
            if result.steps == steps // 2:
                self._half_bytes = self._process.memory_info().rss
            step = self._timed(actions.next(observations))
            crashes = step.crashes or ([] if finite.holds(step) else list(finite.lies(step, environments.given)))
            if crashes:
                result.crashes += map(str, crashes)
                self._return, self._length = 0.0, 0
                observations = environments.restart([ENVIRONMENT], [seed])
                continue
            observations = step.observations
            self._look(observations)
            if step.valid[ENVIRONMENT]:
                self._count(step)

    def _timed(self, action: np.ndarray | Leaves) -> Step:
        queued = (
            queued_seconds()
        )  # outside of the clock's readings: a wait between the two must not count as the step's
        before, cpu = self._clock(), time.process_time()
        step = self._environments.step(action)
        self._stepping += self._clock() - before
        self._computing += time.process_time() - cpu
        self._queued += queued_seconds() - queued
        return step

    def _look(self, observations: Leaves) -> None:
        for values in self.result.leaves:
            values.add(observations[values.leaf.name][ENVIRONMENT])

    def _count(self, step: Step) -> None:
        result = self.result
        result.rewards.append(float(step.rewards[ENVIRONMENT]))
        self._return, self._length = self._return + result.rewards[-1], self._length + 1
        if step.terminated[ENVIRONMENT] or step.truncated[ENVIRONMENT]:
            result.lengths.append(self._length)
            result.returns.append(self._return)
            result.terminated.append(bool(step.terminated[ENVIRONMENT]))
            self._return, self._length = 0.0, 0

    def finish(self) -> Play:
        """Return the result with its means."""
        result = self.result
        result.running = self._length
        alone = max(self._stepping - self._queued, self._computing)
        result.step_seconds = alone / max(1, result.steps)
        result.cpu_share = min(1.0, self._computing / alone) if alone > 0 else 1.0
        result.grown_bytes = self._process.memory_info().rss - self._half_bytes if self._half_bytes else 0
        return result


def queued_seconds() -> float:
    """Return how long this thread has waited for a core so far; 0 where the system does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
