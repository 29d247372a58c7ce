"""A memory from the actor's collector through wire and validation into an update, and back: both sides see the same."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from generated_spaces import DEEP, Anything
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from masked_env import Masked
from shards import examples
from trainer_batches import assert_bit_equal

from dppo.actor.envs.interface import Environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import Unusable, check_segment, checked_segment
from dppo.protocol.messages import Rollout
from dppo.protocol.recurrent_state import with_state
from dppo.protocol.rollout import Segment, pack
from dppo.protocol.specs import Spec

ENVS = 3
ROWS = 40
PLAIN = gym.spaces.Box(-np.inf, np.inf, (3,))
GRU = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), memory="gru", memory_width=6)
PPO = PpoConfig(minibatch_steps=24, epochs=2, entropy_coefficient=0.01)


class Sides:
    """An actor without a socket, and a learner's trainer."""

    def __init__(self, environments: Environments, network: NetworkConfig, seed: int = 1, ppo: PpoConfig = PPO) -> None:
        self.network, self.seed, self.ppo, self.version = network, seed, ppo, 0
        self.collector = Collector(environments, seed=seed, first_slot=0, life=0)
        self.spec: Spec = with_state(environments.spec, network.state_size)
        self.environments = environments.spec
        self.trainer = self.new_trainer()

    def new_trainer(self) -> Trainer:
        return Trainer(self.environments, ppo=self.ppo, network=self.network, seed=self.seed, total_steps=1000)

    def load(self) -> None:
        self.version += 1
        self.collector.load(PolicyRunner(self.trainer.graph_bytes(self.version)))

    def segment(self, rows: int = ROWS) -> Segment:
        for _ in range(rows):
            self.collector.step()
        segment = self.collector.cut()
        assert segment is not None
        return segment

    def received(self, seq: int, rows: int = ROWS) -> Received:
        segment = self.segment(rows)
        counts = segment.counts
        header = Rollout(seq, 1, self.version, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
        accepted = checked_segment(self.spec, header, bytes(pack(self.spec, segment)), envs=ENVS)
        return Received("actor", b"12345678", seq, 0, accepted, 1, self.version)


def made(observation: Any, action: Any, vectorisation: Any) -> Environments:
    if vectorisation == "sync":
        return SyncLoop([Anything(observation, action) for _ in range(ENVS)])
    vector = SyncVectorEnv([lambda: Anything(observation, action)] * ENVS, autoreset_mode=vectorisation)
    return VectorEnvironments(vector, "test", "per_column")


def agree(sides: Sides) -> None:
    """Three updates, each on two segments; the second one resumed, with as good a third."""
    resumed = None
    for update in range(3):
        sides.load()
        batch = [sides.received(2 * update), sides.received(2 * update + 1)]
        report = sides.trainer.update(batch)
        assert report.first_pass_ratio_error < 1e-4
        assert report.steps_left_out == 0
        assert np.isfinite([report.entropy, report.kl, report.grad_norm, report.value_loss]).all()
        if resumed is not None:
            resumed.update(batch)
            assert_bit_equal(resumed.tensors(), sides.trainer.tensors())
            return
        if update == 1:
            resumed = sides.new_trainer()
            resumed.load(sides.trainer.tensors(), sides.trainer.counters())


@pytest.mark.parametrize(
    ("spaces", "vectorisation", "memory", "bptt_steps"),
    [
        ((PLAIN, gym.spaces.Box(-1, 1, (2,))), "sync", "gru", 0),
        pytest.param(
            (DEEP, gym.spaces.Discrete(3)), AutoresetMode.NEXT_STEP, "lstm", 7, marks=pytest.mark.slow, id="nested"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_what_is_remembered(spaces: Any, vectorisation: Any, memory: Any, bptt_steps: int) -> None:
    network = dataclasses.replace(GRU, memory=memory, bptt_steps=bptt_steps)
    agree(Sides(made(*spaces, vectorisation), network))


PICTURE = gym.spaces.Dict({"seen": gym.spaces.Box(0, 255, (8, 8), np.uint8), "told": gym.spaces.Discrete(3, start=1)})
MASKED = gym.spaces.Dict({"a": gym.spaces.Discrete(3, start=-1), "b": gym.spaces.MultiBinary(2)})
WAYS = {
    "clip": PPO,
    "minibatch advantages": dataclasses.replace(PPO, normalise_advantages="minibatch"),
    "penalty": dataclasses.replace(PPO, surrogate="kl_penalty"),
    "critic apart": dataclasses.replace(PPO, critic_learning_rate=1e-3, critic_epochs=2),
    "options": dataclasses.replace(
        PPO,
        value_clip_range=0.2,
        recompute_advantages=True,
        dual_clip=3.0,
        normalise_rewards=True,
        entropy_schedule="linear",
    ),
    "stops within an epoch": dataclasses.replace(PPO, early_stop_kl=1e-3, early_stop_per="minibatch"),
    "divergence mask": dataclasses.replace(PPO, surrogate="divergence_mask"),
    "whole batch": dataclasses.replace(PPO, minibatch_steps=0),
}
NETWORKS = {
    "plain": GRU,
    "embedding and trunk": dataclasses.replace(GRU, embedding=3, encoder_hidden=(7,), layer_norm=True),
    "nothing behind it": dataclasses.replace(GRU, policy_hidden=(), critic_hidden=()),
    "squashed": dataclasses.replace(GRU, action_bounds="squash"),
    "one number": dataclasses.replace(GRU, memory_width=1),
}


def masked(vectorisation: Any, source: Any) -> Environments:
    setting = "observation.action_mask" if source == "leaf" else "auto"
    if vectorisation == "sync":
        return SyncLoop([Masked(MASKED, source) for _ in range(ENVS)], action_mask=setting)
    vector = SyncVectorEnv([lambda: Masked(MASKED, source)] * ENVS, autoreset_mode=vectorisation)
    return VectorEnvironments(vector, "test", "per_column", action_mask=setting)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=examples(20, 8), suppress_health_check=[HealthCheck.too_slow])
@given(
    task=st.sampled_from(["flat", "deep", "picture", "masks by info", "masks by leaf"]),
    vectorisation=st.sampled_from(["sync", *AutoresetMode]),
    memory=st.sampled_from(["gru", "lstm"]),
    bptt_steps=st.sampled_from([0, 1, 5, 16]),
    network=st.sampled_from(list(NETWORKS)),
    way=st.sampled_from(list(WAYS)),
    seed=st.integers(0, 2**31 - 1),
)
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_memory_with_everything_else(
    task: str, vectorisation: Any, memory: Any, bptt_steps: int, network: str, way: str, seed: int
) -> None:
    chosen = dataclasses.replace(NETWORKS[network], memory=memory, bptt_steps=bptt_steps)
    if task.startswith("masks"):
        environments = masked(vectorisation, task.rpartition(" ")[2])
    elif task == "picture":
        chosen = dataclasses.replace(chosen, encoder="impala_cnn")
        environments = made(PICTURE, gym.spaces.Discrete(3, start=-1), vectorisation)
    elif task == "flat":
        environments = made(PLAIN, gym.spaces.Box(-1, 1, (2,)), vectorisation)
    else:
        environments = made(DEEP, gym.spaces.Discrete(3, start=-1), vectorisation)
    agree(Sides(environments, chosen, seed, WAYS[way]))


OF_NUMBERS: dict[str, dict[str, Any]] = {
    "beta": {"distribution": "beta"},
    "exploration by state": {"exploration": "state", "exploration_steps": 3},
    "state-dependent std": {"std": "state", "action_bounds": "squash"},
}


@pytest.mark.slow
@pytest.mark.parametrize("option", OF_NUMBERS)
@pytest.mark.parametrize("memory", ["lstm", "memory_nets:make_memory"])
def test_both_sides_agree_on_memory_with_every_distribution_of_numbers(memory: str, option: str) -> None:
    network = dataclasses.replace(GRU, memory=memory, **OF_NUMBERS[option])
    agree(Sides(made(PLAIN, gym.spaces.Box(-1, 1, (2,)), AutoresetMode.SAME_STEP), network))


class Crashing(Anything):
    """Raises in about every tenth step."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.np_random.random() < 0.1:
            raise RuntimeError("broken")
        return super().step(action)


@pytest.mark.slow
def test_environments_that_crash_begin_without_a_memory() -> None:
    def make(column: int = 0) -> Crashing:
        return Crashing(PLAIN, gym.spaces.Discrete(2))

    agree(Sides(SyncLoop([make() for _ in range(ENVS)], make=make), dataclasses.replace(GRU, bptt_steps=4)))


def test_a_step_that_no_policy_gave_takes_its_sequence_out_of_the_batch() -> None:
    sides = Sides(made(PLAIN, gym.spaces.Discrete(2), "sync"), dataclasses.replace(GRU, bptt_steps=5))
    sides.load()
    received = sides.received(1)
    forged = received.segment.behaviour_log_probs.copy()
    forged[7, 1] = -30.0
    segment = dataclasses.replace(received.segment, behaviour_log_probs=forged)
    report = sides.trainer.update([dataclasses.replace(received, segment=segment)])
    assert 1 <= report.steps_left_out <= 5
    assert np.isfinite(report.kl)


@pytest.mark.slow
def test_a_state_that_was_tampered_with_shows_in_the_ratio_check() -> None:
    sides = Sides(made(PLAIN, gym.spaces.Box(-1, 1, (2,)), "sync"), NETWORKS["nothing behind it"])
    for update in range(4):
        sides.load()
        batch = [sides.received(update)]
        if update < 3:
            sides.trainer.update(batch)
    segment = batch[0].segment
    segment = dataclasses.replace(segment, states={"state": segment.states["state"] + np.float32(0.5)})
    assert sides.trainer.update([dataclasses.replace(batch[0], segment=segment)]).first_pass_ratio_error > 1e-4


def test_states_that_are_not_finite_are_refused() -> None:
    sides = Sides(made(PLAIN, gym.spaces.Discrete(2), "sync"), GRU)
    sides.load()
    segment = sides.segment(4)
    wrong = {"state": np.full((ENVS, 6), np.nan, np.float32)}
    with pytest.raises(Unusable, match="state holds NaN"):
        check_segment(sides.spec, dataclasses.replace(segment, states=wrong))
