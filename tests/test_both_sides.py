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
from accepted_rollouts import collected
from generated_spaces import ACTIONS, DEEP, OBSERVATIONS, Anything, carried, rebuilt
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shards import examples

from dppo.actor.envs.interface import Crash, Environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.storage import checkpoint
from dppo.protocol.rollout import Leaves, Segment
from dppo.protocol.specs import Spec

ROWS = 12
ENVS = 2
Vectorisation = Literal["sync", "async"] | AutoresetMode


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
        self.seed, self.bounds, self.observation = seed, bounds, observation
        self.spec: Spec = environments.spec
        self.trainer = self.new_trainer()
        self.close = environments.close
        self.collector = Collector(environments, seed=seed, first_slot=0, life=0, on_crash=self.crashes.append)

    def _make(self, observation: Any, action: Any) -> Anything:
        self.made.append(Anything(observation, action))
        self.made[-1].reuses_finals = False  # Gymnasium's own vectors in one process hand them out after the reset
        return self.made[-1]

    def new_trainer(self) -> Trainer:
        ppo = PpoConfig(minibatch_steps=8, epochs=2)
        network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), action_bounds=self.bounds)
        return Trainer(self.spec, ppo=ppo, network=network, seed=self.seed, total_steps=1000)

    def batch(self, version: int) -> Received:
        """Return what the learner accepts of one segment."""
        return collected(self.spec, self.trainer, version, self.collector, rows=ROWS)

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
        _compare_observations(sides, received.segment)
        _predict(sides, received.segment, version)
        report = sides.trainer.update([received])
        assert report.ratio_excess <= 1, report.first_pass_ratio_error
        if version == 1:
            sides.trainer = sides.resumed()
    wrong = [what for environment in sides.made for what in environment.wrong]
    assert not wrong, wrong[0]


def _compare_actions(sides: Sides, segment: Segment) -> None:
    """Check that environments were given what was stored, after start or bounds."""
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


def _compare_observations(sides: Sides, segment: Segment) -> None:
    """Check that what the environments gave is stored, in that order, with every truncated episode's last one."""
    for column, environment in enumerate(sides.made):
        given = iter(environment.observed)
        for row in range(segment.counts.T + 1):
            assert _carried_row(sides, segment.observations, (row, column)) in given
        finals = np.flatnonzero(np.nonzero(segment.truncated)[1] == column)
        given = iter(environment.observed)
        assert all(_carried_row(sides, segment.final_observations, final) in given for final in finals)


def _carried_row(sides: Sides, leaves: Leaves, where: Any) -> bytes:
    structured = rebuilt(sides.observation, iter([leaves[leaf.name][where] for leaf in sides.spec.observation]))
    return carried(sides.observation, structured)


def _predict(sides: Sides, segment: Segment, version: int) -> None:
    """A loaded policy takes the environment's own structure, one observation or a batch, and does what actors do."""
    graph = sides.trainer.graph_bytes(version)
    rows = {leaf.name: segment.observations[leaf.name][0] for leaf in sides.spec.observation}
    runner = PolicyRunner(graph)
    _, expected, _ = runner.act(rows, np.zeros((ENVS, runner.noise_size), np.float32))
    policy = Policy(graph)
    batch, _ = policy.predict(rebuilt(sides.observation, iter(rows.values())))
    one, _ = policy.predict(rebuilt(sides.observation, iter([array[1] for array in rows.values()])))
    np.testing.assert_array_equal(batch, expected.astype(batch.dtype))
    np.testing.assert_allclose(np.asarray(one, np.float64), batch[1].astype(np.float64), rtol=1e-5, atol=1e-6)


CASES = {
    "observation": OBSERVATIONS,
    "action": ACTIONS,
    "vectorisation": VECTORISATIONS,
    "seed": st.integers(0, 2**31 - 1),
    "bounds": st.sampled_from(["clip", "rescale"]),
}


PLAIN = gym.spaces.Box(-np.inf, np.inf, (3,))


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@example(PLAIN, gym.spaces.Box(-1, 1, (2,)), "sync", 1, "clip")
@example(PLAIN, gym.spaces.Box(-1, 1, (2,)), AutoresetMode.NEXT_STEP, 2, "rescale")
@example(PLAIN, gym.spaces.Box(-np.inf, np.inf, (2,)), AutoresetMode.SAME_STEP, 3, "clip")
@example(PLAIN, gym.spaces.Box(0, 0.1, (2,), np.float64), "sync", 4, "clip")
@example(PLAIN, gym.spaces.Discrete(3, start=-1), "sync", 5, "clip")
@example(DEEP, gym.spaces.Box(-1, 1, (2,)), AutoresetMode.NEXT_STEP, 7, "clip")
@example(DEEP, gym.spaces.Discrete(3), AutoresetMode.SAME_STEP, 8, "clip")
@example(DEEP, gym.spaces.Discrete(3), AutoresetMode.DISABLED, 9, "clip")
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_every_supported_space(
    observation: Any, action: Any, vectorisation: Vectorisation, seed: int, bounds: Any
) -> None:
    agree(Sides(observation, action, vectorisation, seed, bounds))


@pytest.mark.slow
@settings(max_examples=examples(75, 40), suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_hundreds_of_spaces(**case: Any) -> None:
    agree(Sides(**case))


@pytest.mark.slow
@settings(max_examples=examples(6, 2), suppress_health_check=[HealthCheck.too_slow])
@given(**CASES | {"vectorisation": st.just("async")})
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_where_environments_are_processes(**case: Any) -> None:
    sides = Sides(**case)
    try:
        agree(sides)
    finally:
        sides.close()
