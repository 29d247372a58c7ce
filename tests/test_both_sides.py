"""Every contract between actor and learner through both, over random spaces, seeds and vectorisations.

From the exported graph through environments, collector and wire into the learner's validation, an update, a checkpoint
and what resumes from it.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import msgspec
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dppo.actor.envs.interface import Crash, Environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import checked_segment
from dppo.learner.storage import checkpoint
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import Segment, pack
from dppo.protocol.specs import Spec

ROWS = 12
ENVS = 2
Vectorisation = Literal["sync", "async"] | AutoresetMode
FLOATS = (np.float16, np.float32, np.float64)
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.bool_)


class Anything(gym.Env[Any, Any]):
    """Random observations of its space. Does with what it is given, and with what it gave, what environments do."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._buffer = np.zeros(observation_space.shape or (), observation_space.dtype)
        self.wrong: list[str] = []
        self.actions: list[np.ndarray] = []
        self._given: list[tuple[Any, Any]] = []  # every action as an object, and what was in it
        self._steps = 0

    def _observation(self) -> Any:
        space, random = self.observation_space, self.np_random
        if isinstance(space, gym.spaces.Discrete):
            return space.start + random.integers(space.n)
        if space.dtype.kind == "f":
            values = random.standard_normal(space.shape) * random.choice([1.0, 1e3])
            with np.errstate(all="ignore"):
                values = np.clip(values, space.low.astype(np.float64), space.high.astype(np.float64)).astype(
                    space.dtype
                )
        else:
            pairs = zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True)
            flat = [int(low) + int(random.integers(10**6)) % (int(high) - int(low) + 1) for low, high in pairs]
            values = np.array(flat, space.dtype).reshape(space.shape)
        self._buffer[...] = values  # the same array every time, written over
        return self._buffer

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.wrong += [f"given {then} it holds {now} now" for now, then in self._given if not np.array_equal(now, then)]
        if not self.action_space.contains(action):
            self.wrong.append(f"{action!r} is not in {self.action_space}")
        self.actions.append(np.array(action))
        if isinstance(action, np.ndarray) and action.flags.writeable and len(self.actions) % 3 == 0:
            action[...] = 0  # some write into it
        self._given.append((action, np.array(action)))
        self._steps += 1
        how = self.np_random.integers(8)
        return self._observation(), float(self.np_random.normal()), bool(how == 0), bool(how == 1), {}


def shapes(least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 3), min_size=least, max_size=3).map(tuple)


@st.composite
def float_boxes(draw: st.DrawFn, beyond_float32: bool = False) -> gym.spaces.Box:
    dtype = draw(st.sampled_from(FLOATS))
    shape = draw(shapes())
    number = st.one_of(
        st.sampled_from([0.0, 0.1, 0.3, -0.7, 1000.0, -1000.0, np.inf, -np.inf]),
        st.floats(-100, 100),
        *([st.sampled_from([1e38, -1e38, 3e38, -3.4e38])] * (dtype is not np.float16)),
        *([st.sampled_from([1e300, -1e300, 1e-300])] * (dtype is np.float64 and beyond_float32)),
    )
    size = int(np.prod(shape))
    uniform = draw(st.booleans())
    bounds = np.array([sorted((draw(number), draw(number))) for _ in range(1 if uniform else size)], dtype)
    if draw(st.integers(0, 4)) == 0:
        bounds[:, 1] = bounds[:, 0]
    bounds[bounds[:, 0] == np.inf] = [0, np.inf]  # nothing is above it
    bounds[bounds[:, 1] == -np.inf] = [-np.inf, 0]
    low, high = (np.broadcast_to(side, size).reshape(shape) for side in bounds.T)
    return gym.spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype)


@st.composite
def integer_boxes(draw: st.DrawFn) -> gym.spaces.Box:
    dtype = draw(st.sampled_from(INTEGERS))
    shape = draw(shapes()) if dtype is not np.uint8 else (draw(st.integers(1, 5)),)
    if dtype is np.bool_:
        return gym.spaces.Box(np.zeros(shape, bool), np.ones(shape, bool), shape, dtype)
    kind = np.iinfo(dtype)
    ends = st.sampled_from([kind.min, kind.max, 0, 1, 100]) | st.integers(int(kind.min), int(kind.max))
    low, high = sorted((draw(ends), draw(ends)))
    return gym.spaces.Box(low, high, shape, dtype)


def discrete() -> st.SearchStrategy[gym.spaces.Discrete]:
    starts = st.sampled_from([0, 1, -1, 2**31, -(2**31)]) | st.integers(-1000, 1000)
    return st.builds(lambda n, start: gym.spaces.Discrete(n, start=start), st.integers(1, 7), starts)


OBSERVATIONS = float_boxes() | integer_boxes() | discrete()
ACTIONS = float_boxes(beyond_float32=True) | discrete()
VECTORISATIONS: st.SearchStrategy[Vectorisation] = st.sampled_from(["sync", *AutoresetMode])


class Strict(Anything):
    """Raises what is wrong."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        result = super().step(action)
        assert not self.wrong, self.wrong[0]
        return result


class Sides:
    """An actor without a socket, and a learner's trainer."""

    def __init__(self, observation: Any, action: Any, vectorisation: Vectorisation, seed: int, bounds: Any) -> None:
        self.made = [Anything(observation, action) for _ in range(ENVS)]
        self.crashes: list[Crash] = []
        environments: Environments
        vector: AsyncVectorEnv[Any, Any] | SyncVectorEnv[Any, Any]
        if vectorisation == "sync":
            environments = SyncLoop(self.made)
        elif vectorisation == "async":  # what is wrong there ends an episode
            self.made.clear()
            make = partial(Strict, observation, action)
            vector = AsyncVectorEnv([make] * ENVS, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
            environments = VectorEnvironments(vector, "async", "per_column")
        else:
            self.made.clear()
            vector = SyncVectorEnv([partial(self._make, observation, action)] * ENVS, autoreset_mode=vectorisation)
            environments = VectorEnvironments(vector, "test", "per_column")
            del self.made[:-ENVS]  # what a vector makes to look at
        self.seed, self.bounds = seed, bounds
        self.spec: Spec = environments.spec
        self.trainer = self.new_trainer()
        self.close = environments.close
        self.collector = Collector(environments, seed=seed, first_slot=0, life=0, on_crash=self.crashes.append)

    def _make(self, observation: Any, action: Any) -> Anything:
        self.made.append(Anything(observation, action))
        return self.made[-1]

    def new_trainer(self) -> Trainer:
        ppo = PpoConfig(minibatch_steps=8, epochs=2)
        network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), action_bounds=self.bounds)
        return Trainer(self.spec, ppo=ppo, network=network, seed=self.seed, total_steps=1000)

    def batch(self, version: int) -> Received:
        """What the learner accepts of one segment."""
        self.collector.load(PolicyRunner(self.trainer.graph_bytes(version)))
        for _ in range(ROWS):
            self.collector.step()
        segment = self.collector.cut()
        assert segment is not None
        counts = segment.counts
        header = Rollout(version, 1, version, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
        accepted = checked_segment(self.spec, header, bytes(pack(self.spec, segment)), envs=ENVS)
        return Received("actor", b"12345678", version, 0, accepted)

    def resumed(self) -> Trainer:
        """A trainer that goes on from what was saved of this one."""
        trainer = self.new_trainer()
        with tempfile.TemporaryDirectory() as folder:
            state = {"trainer": self.trainer.counters(), "spec": msgspec.to_builtins(self.spec)}
            checkpoint.save(Path(folder), 1, self.trainer.tensors(), state)
            found = checkpoint.newest(Path(folder), pytest.fail)
            assert found is not None
            assert msgspec.convert(found.state["spec"], Spec) == self.spec
            trainer.load(found.tensors, found.state["trainer"])
        return trainer


def agree(sides: Sides) -> None:
    """Two rounds, the second resumed: everything passes, and means the same on both sides."""
    for version in (1, 2):
        received = sides.batch(version)
        assert not sides.crashes, str(sides.crashes[0])
        _compare_actions(sides, received.segment)
        report = sides.trainer.update([received])
        assert report.ratio_excess <= 1, report.first_pass_ratio_error
        if version == 1:
            sides.trainer = sides.resumed()
    wrong = [what for environment in sides.made for what in environment.wrong]
    assert not wrong, wrong[0]


def _compare_actions(sides: Sides, segment: Segment) -> None:
    """What environments were given is what was stored, after start or bounds."""
    (leaf,) = sides.spec.action
    for column, environment in enumerate(sides.made):
        stored = segment.actions["action"][segment.valid[:, column], column]
        done = environment.actions
        if leaf.kind == "discrete":
            assert [int(action) - leaf.start for action in done] == stored.tolist()
        elif sides.bounds == "clip":
            space = environment.action_space
            assert isinstance(space, gym.spaces.Box)
            with np.errstate(over="ignore"):
                expected = np.clip(stored.astype(space.dtype), space.low, space.high)
            np.testing.assert_allclose(np.array(done, np.float64), expected.astype(np.float64), rtol=1e-6, atol=1e-37)
        environment.actions.clear()


CASES = {
    "observation": OBSERVATIONS,
    "action": ACTIONS,
    "vectorisation": VECTORISATIONS,
    "seed": st.integers(0, 2**31 - 1),
    "bounds": st.sampled_from(["clip", "rescale"]),
}


PLAIN = gym.spaces.Box(-np.inf, np.inf, (3,))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@example(PLAIN, gym.spaces.Box(-1, 1, (2,)), "sync", 1, "clip")
@example(PLAIN, gym.spaces.Box(-1, 1, (2,)), AutoresetMode.NEXT_STEP, 2, "rescale")
@example(PLAIN, gym.spaces.Box(-np.inf, np.inf, (2,)), AutoresetMode.SAME_STEP, 3, "clip")
@example(PLAIN, gym.spaces.Box(0, 0.1, (2,), np.float64), "sync", 4, "clip")
@example(PLAIN, gym.spaces.Discrete(3, start=-1), "sync", 5, "clip")
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_every_supported_space(
    observation: Any, action: Any, vectorisation: Vectorisation, seed: int, bounds: Any
) -> None:
    agree(Sides(observation, action, vectorisation, seed, bounds))


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_a_thousand_spaces(**case: Any) -> None:
    agree(Sides(**case))


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES | {"vectorisation": st.just("async")})
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_where_environments_are_processes(**case: Any) -> None:
    sides = Sides(**case)
    try:
        agree(sides)
    finally:
        sides.close()
