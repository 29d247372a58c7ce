"""Does it learn? Whole runs in this process, short and seeded; the same sessions and codec as over a wire."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from processes import RunFiles, assert_closes, drops

from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.storage.checkpoint import newest
from dppo.local.inline import run_inline
from dppo.local.progress import Progress
from dppo.protocol.specs import spec_of
from dppo.settings.commands import TrainConfig
from dppo.watch.recorder import Recorder

EPISODE_STEPS = 20
GAMMA = 0.9
FOREVER = 1 / (1 - GAMMA)  # the value of 1 per step without an end


class Paying(gym.Env[np.ndarray, int]):
    """One state, 1 per step, and after 20 steps it is over: for good (terminated), or for the clock (truncated)."""

    def __init__(self, how: str) -> None:
        self.observation_space = gym.spaces.Box(0, 2, (1,))
        self.action_space = gym.spaces.Discrete(2)
        self._how = how
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        over = self._steps == EPISODE_STEPS
        return np.ones(1, np.float32), 1.0, over and self._how == "terminated", over and self._how == "truncated", {}


@pytest.fixture(autouse=True)
def paying() -> Iterator[None]:
    gym.register("Paying-v0", entry_point=Paying)
    yield
    del gym.registry["Paying-v0"]


Train = Callable[[LearnerConfig], RunFiles]


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """Train in this process, each time in a new directory, and check what must hold of any run."""
    runs: list[RunFiles] = []

    def run(config: LearnerConfig) -> RunFiles:
        files = RunFiles(tmp_path / str(len(runs)))
        runs.append(files)
        progress = Progress()
        placed = replace(config, run=replace(config.run, directory=str(files.path)))
        with Recorder(config.run, files.path, progress.note) as recorder:
            assert not run_inline(TrainConfig(placed, actors=0), progress, recorder)
        assert_closes(files.ledger())
        assert drops(files.ledger()) == {}
        assert max(line["first_pass_ratio_error"] for line in files.metrics()) < 1e-4
        return files

    return run


def cartpole(total_steps: int, seed: int = 1) -> LearnerConfig:
    return LearnerConfig(
        env=EnvConfig("CartPole-v1"),
        collect=CollectConfig(batch_steps=1024, envs_per_actor=16),
        ppo=PpoConfig(gamma=0.98, gae_lambda=0.9, epochs=8, minibatch_steps=256, learning_rate=1e-3),
        network=NetworkConfig(policy_hidden=(32, 32), critic_hidden=(32, 32)),
        run=RunConfig(seed=seed, total_steps=total_steps, checkpoint_seconds=1e6, tensorboard=False),
    )


def figures(files: RunFiles) -> list[dict[str, Any]]:
    """The curve without what a clock measured."""
    timed = ("seconds", "per_second")
    return [{key: value for key, value in line.items() if not key.endswith(timed)} for line in files.metrics()]


@pytest.mark.slow
def test_cartpole_is_learned_in_fifty_thousand_steps(train: Train) -> None:
    files = train(cartpole(total_steps=50_000))
    metrics = files.metrics()
    assert metrics[0]["mean_return"] < 40  # by chance
    assert metrics[-1]["mean_return"] >= 150  # 242 to 423 with seeds 1 to 8
    assert max(line["explained_variance"] for line in metrics) > 0.5


def test_a_seed_repeats_a_run_to_the_last_bit_and_another_seed_does_not(train: Train) -> None:
    one, same, other = (train(cartpole(total_steps=5_000, seed=seed)) for seed in (1, 1, 2))
    assert figures(one) == figures(same)
    assert figures(one) != figures(other)
    assert (one.path / "policy.onnx").read_bytes() == (same.path / "policy.onnx").read_bytes()


def paying_value(files: RunFiles, config: LearnerConfig) -> float:
    """What the critic of the last checkpoint thinks of the one state."""
    checkpoint = newest(files.path / "checkpoints", warn=pytest.fail)
    assert checkpoint is not None
    env = Paying("terminated")
    trainer = Trainer(
        spec_of(env.observation_space, env.action_space), ppo=config.ppo, network=config.network, seed=1, total_steps=1
    )
    trainer.load(checkpoint.tensors, checkpoint.state["trainer"])
    with torch.no_grad():
        return float(trainer.critic(trainer.policy.encoder(torch.ones(1, 1))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "low", "high"),
    # a value that must not depend on the step lies between Monte Carlo's (6.0, the mean of (1 - gamma^k) / (1 - gamma)
    # over k = 1..20) and that of one-step targets (6.9 = 1 / (1 - gamma * 19 / 20))
    [("truncated", 0.95 * FOREVER, 1.05 * FOREVER), ("terminated", 5.7, 7.2)],
)
def test_time_that_runs_out_is_not_the_end_for_the_critic_and_the_end_is(
    train: Train, how: str, low: float, high: float
) -> None:
    config = LearnerConfig(
        env=EnvConfig("Paying-v0", {"how": how}),
        collect=CollectConfig(batch_steps=400, envs_per_actor=4),
        ppo=PpoConfig(
            gamma=GAMMA, epochs=10, minibatch_steps=100, learning_rate=1e-2, normalise_values=False, max_grad_norm=0
        ),
        network=NetworkConfig(policy_hidden=(4,), critic_hidden=(16,), normalise_observations=False),
        run=RunConfig(total_steps=16_000, checkpoint_seconds=1e6, tensorboard=False),
    )
    files = train(config)
    assert files.metrics()[-1]["mean_return"] == EPISODE_STEPS
    assert low < paying_value(files, config) < high
