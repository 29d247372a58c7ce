"""Random spaces and masks from the environment through collector, wire and validation into an update, and back."""

import dataclasses
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from accepted_rollouts import collected
from acting_envs import discrete, float_boxes, multi_binary, multi_discrete, nested
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from masked_env import LEAF, Form, Masked, Source, chosen
from shards import examples
from trainer_batches import assert_bit_equal

from dppo.actor.envs.interface import Environments
from dppo.actor.envs.subprocess_workers import _InWorker
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.api.policy import Policy
from dppo.learner.config import LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import check_segment
from dppo.learner.session.settings import why_not_trained
from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec, check_spec, spec_from_json, spec_to_json

ENVS = 2
ROWS = 12
MASKED = discrete() | multi_discrete() | multi_binary()
ACTIONS: st.SearchStrategy[Any] = MASKED | st.recursive(nested(MASKED | float_boxes()), nested, max_leaves=3)


def made(space: gym.Space[Any], vectorisation: Any, source: Source, form: Form) -> tuple[Environments, list[Masked]]:
    setting = LEAF if source == "leaf" else "auto"
    acting = [Masked(space, source, form) for _ in range(ENVS)]
    if vectorisation == "sync":
        return SyncLoop(acting, action_mask=setting), acting
    acting.clear()

    def make() -> Any:
        acting.append(Masked(space, source, form))
        if source != "leaf":  # a vector in one process calls no method; a process puts the mask into the info
            return _InWorker(acting[-1])
        return acting[-1]

    vector = SyncVectorEnv([make] * ENVS, autoreset_mode=vectorisation)
    del acting[:-ENVS]  # what a vector makes to look at
    return VectorEnvironments(vector, "test", "per_column", action_mask=setting), acting


def trainer_of(spec: Spec, seed: int) -> Trainer:
    network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
    ppo = PpoConfig(minibatch_steps=8, epochs=2, entropy_coefficient=0.01)
    return Trainer(spec, ppo=ppo, network=network, seed=seed, total_steps=1000)


def check_stored(spec: Spec, segment: Segment, acting: list[Masked]) -> None:
    """Every mask that was given to act on is stored, in order."""
    for column, environment in enumerate(acting):
        stored = segment.masks[spec.mask[0].name][segment.valid[:, column], column]
        np.testing.assert_array_equal(stored, np.array(environment.seen[: len(stored)]))
        del environment.seen[: len(stored)]


def agree(space: Any, vectorisation: Any, source: Source, form: Form, seed: int) -> None:
    environments, acting = made(space, vectorisation, source, form)
    collector = Collector(environments, seed=seed, first_slot=0, life=0, on_crash=lambda crash: pytest.fail(str(crash)))
    spec = environments.spec
    assert spec_from_json(spec_to_json(check_spec(spec))) == spec
    assert why_not_trained(spec, LearnerConfig()) == ""
    assert "masked by" in environments.description
    assert [leaf.name for leaf in spec.observation] == ["observation.seen" if source == "leaf" else "observation"]
    trainer, resumed = trainer_of(spec, seed), trainer_of(spec, seed)
    for version in (1, 2):
        received = collected(environments.spec, trainer, version, collector, rows=ROWS)
        check_stored(spec, received.segment, acting)
        check_refusals(spec, received.segment)
        report = trainer.update([received])
        assert report.ratio_excess <= 1, report.first_pass_ratio_error
        assert report.steps_left_out == 0
        assert np.isfinite([report.entropy, report.kl, report.grad_norm]).all()
        if version == 1:
            resumed.load(trainer.tensors(), trainer.counters())
            assert_bit_equal(resumed.tensors(), trainer.tensors())
            trainer = resumed
    wrong = [what for environment in acting for what in environment.wrong]
    assert not wrong, wrong[0]
    check_policy(space, source, form, trainer.graph_bytes(3))


def check_refusals(spec: Spec, segment: Segment) -> None:
    """A rollout whose action is forbidden by its own mask is refused, and so is a mask that allows nothing."""
    (name,) = segment.masks
    step, column = np.argwhere(segment.valid)[0]
    for of_action in (True, False):
        mask = segment.masks[name].copy()
        first = 0
        for leaf in spec.action:
            if not leaf.choices:
                continue
            place = first + int(np.ravel(segment.actions[leaf.name][step, column])[0])
            others = mask[step, column, first : first + leaf.choices[0]]
            others[:] = of_action
            mask[step, column, place] = False
            words = "that .* forbids" if of_action and leaf.choices[0] > 1 else "allows no choice"
            with pytest.raises(ProtocolError, match=words):
                check_segment(spec, dataclasses.replace(segment, masks={name: mask}))
            break


def check_policy(space: Any, source: Source, form: Form, graph: bytes) -> None:
    """A loaded policy never gives what the environment forbids, alone and in batches, sampled or not."""
    policy, environment = Policy(graph, seed=1), Masked(space, source, form)
    observation, _ = environment.reset(seed=1)
    for step in range(20):
        given = None if source == "leaf" else environment.masks()
        action, _ = policy.predict(observation, deterministic=step % 2 == 0, action_masks=given)
        observation, _, terminated, truncated, _ = environment.step(action)
        if terminated or truncated:
            observation, _ = environment.reset()
    assert not environment.wrong, environment.wrong[0]
    legal = np.array([environment.legal] * 3)
    if source == "leaf":
        batch = {"action_mask": legal.astype(np.int8), "seen": np.zeros((3, 3), np.float32)}
        actions, _ = policy.predict(batch)
    else:
        actions, _ = policy.predict(np.zeros((3, 3), np.float32), action_masks=legal)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        assert all(legal[0][chosen(space, action)[0]] for action in actions)


VECTORISATIONS = st.sampled_from(["sync", *AutoresetMode])
CASES = {
    "space": ACTIONS,
    "vectorisation": VECTORISATIONS,
    "source": st.sampled_from(["info", "method", "leaf"]),
    "form": st.sampled_from(["flat", "nested"]),
    "seed": st.integers(0, 2**31 - 1),
}
DICT = spaces.Dict({"a": spaces.Discrete(3, start=-1), "b": spaces.Box(-1, 1, (2,)), "c": spaces.MultiBinary([2, 1])})
CHOICES = spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[1, 0], [5, -2]])


def has_choices(space: Any) -> bool:
    return Masked(space).size > 0


@pytest.mark.parametrize(
    ("space", "vectorisation", "source", "form"),
    [
        (spaces.Discrete(4, start=2), "sync", "info", "flat"),
        (DICT, AutoresetMode.NEXT_STEP, "method", "nested"),
        (CHOICES, AutoresetMode.DISABLED, "leaf", "flat"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_masks(space: Any, vectorisation: Any, source: Source, form: Form) -> None:
    agree(space, vectorisation, source, form, 1)


@pytest.mark.slow
@settings(max_examples=examples(75, 40), suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
@example(DICT, AutoresetMode.SAME_STEP, "info", "nested", 4)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_hundreds_of_masks(
    space: Any, vectorisation: Any, source: Source, form: Form, seed: int
) -> None:
    if has_choices(space):
        agree(space, vectorisation, source, form, seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", ["info", "method", "leaf"])
def test_processes_give_the_masks_of_their_environments(source: Source) -> None:
    make = partial(in_process, source)
    vector = AsyncVectorEnv([make] * ENVS, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    setting = LEAF if source == "leaf" else "auto"
    environments = VectorEnvironments(vector, "async", "per_column", action_mask=setting)
    try:
        crashed = partial(pytest.fail)
        collector = Collector(environments, seed=1, first_slot=0, life=0, on_crash=lambda crash: crashed(str(crash)))
        trainer = trainer_of(environments.spec, 1)
        assert trainer.update([collected(environments.spec, trainer, 1, collector, rows=ROWS)]).ratio_excess <= 1
    finally:
        environments.close()


class Strict(Masked):
    """Raises what is wrong."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        result = super().step(action)
        assert not self.wrong, self.wrong[0]
        return result


def in_process(source: Source) -> Any:
    return _InWorker(Strict(DICT, source, "nested"), LEAF if source == "leaf" else "auto")
