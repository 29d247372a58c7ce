"""Every option with every kind of action, masked where there are choices: acted, checked, trained, resumed, in this
process.
"""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from acting_envs import Acts
from gymnasium import spaces
from masked_env import Masked
from trainer_batches import assert_bit_equal

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.config import LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.settings import check_spaces
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec

ROWS = 24
PPO = PpoConfig(epochs=2, minibatch_steps=16, entropy_coefficient=0.01, learning_rate=0.01)
SMALL = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))

ACTIONS: dict[str, gym.Space[Any]] = {
    "Box": spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)),
    "Box without a bound": spaces.Box(np.array([-2, -np.inf], np.float32), np.array([2, np.inf], np.float32)),
    "Box of integers": spaces.Box(-500, 900, (2, 1), np.int32),
    "Discrete": spaces.Discrete(4, start=2),
    "MultiDiscrete": spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[1, 0], [5, -2]]),
    "MultiBinary": spaces.MultiBinary([2, 1]),
    "Dict": spaces.Dict(
        {"a": spaces.Discrete(3, start=-1), "b": spaces.Box(-1, 1, (2,)), "c": spaces.Tuple([spaces.MultiBinary(2)])}
    ),
}
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "value clipping": ({"value_clip_range": 0.2}, {}),
    "entropy schedule": ({"entropy_schedule": "linear"}, {}),
    "dual clip": ({"dual_clip": 3.0}, {}),
    "stop by minibatch": ({"early_stop_kl": 0.02, "early_stop_per": "minibatch"}, {}),
    "advantages anew": ({"recompute_advantages": True, "normalise_advantages": "minibatch"}, {}),
    "reward normalisation": ({"normalise_rewards": True, "reward_clip": 10.0}, {}),
    "penalty": ({"surrogate": "kl_penalty"}, {}),
    "mask by KL": ({"surrogate": "divergence_mask", "divergence_limit": 1e-3}, {}),
    "mask by total variation": (
        {"surrogate": "divergence_mask", "divergence": "total_variation", "divergence_limit": 0.02},
        {},
    ),
    "squash": ({}, {"action_bounds": "squash"}),
    "squash and a std of states": ({"surrogate": "kl_penalty"}, {"action_bounds": "squash", "std": "state"}),
    "beta": ({}, {"distribution": "beta"}),
    "beta and a penalty": ({"surrogate": "kl_penalty"}, {"distribution": "beta"}),
    "beta and a mask": ({"surrogate": "divergence_mask", "divergence_limit": 1e-3}, {"distribution": "beta"}),
    "exploration": ({}, {"exploration": "state"}),
    "exploration behind a tanh": ({"surrogate": "kl_penalty"}, {"exploration": "state", "action_bounds": "squash"}),
    "exploration and a mask": ({"surrogate": "divergence_mask", "divergence_limit": 1e-3}, {"exploration": "state"}),
    "exploration with a memory": ({}, {"exploration": "state", "memory": "gru", "memory_width": 8}),
    "coloured noise": ({}, {"noise_colour": 0.5}),
    "coloured noise behind a tanh with a memory": (
        {},
        {"noise_colour": 1.0, "action_bounds": "squash", "memory": "gru", "memory_width": 8},
    ),
    "beta with a memory": ({"surrogate": "kl_penalty"}, {"distribution": "beta", "memory": "lstm", "memory_width": 8}),
    "a memory and several": (
        {"dual_clip": 3.0, "value_clip_range": 0.2, "recompute_advantages": True, "normalise_rewards": True},
        {"memory": "gru", "memory_width": 8},
    ),
    "a memory and a mask": (
        {"surrogate": "divergence_mask", "early_stop_kl": 0.1, "early_stop_per": "minibatch"},
        {"memory": "gru", "memory_width": 8},
    ),
    "several": (
        {
            "surrogate": "divergence_mask",
            "value_clip_range": 0.2,
            "recompute_advantages": True,
            "normalise_rewards": True,
            "early_stop_kl": 0.1,
            "early_stop_per": "minibatch",
        },
        {"layer_norm": True, "encoder_hidden": (8,)},
    ),
}
NUMBERS = {"Box", "Box without a bound", "Box of integers", "Dict"}
BOUNDED = {"Box", "Box of integers", "Dict"}
# what no space of ACTIONS but these can have; all others fit
FITS = {
    "squash": NUMBERS,
    "squash and a std of states": NUMBERS,
    "mask by total variation": {"Discrete", "MultiDiscrete", "MultiBinary"},
    "beta": BOUNDED,
    "beta and a penalty": BOUNDED,
    "beta and a mask": BOUNDED,
    "exploration": NUMBERS,
    "exploration with a memory": NUMBERS,
    "beta with a memory": BOUNDED,
    "exploration behind a tanh": NUMBERS,
    "exploration and a mask": NUMBERS,
    "coloured noise": NUMBERS,
    "coloured noise behind a tanh with a memory": NUMBERS,
}


def environments_of(action: gym.Space[Any]) -> SyncLoop:
    """Two that mask their choices, where there are some."""
    return SyncLoop([Masked(action) if Masked(action).size else Acts(action) for _ in range(2)])


@pytest.mark.thin(3)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_and_a_kind_of_action_go_together_or_are_refused(option: str, kind: str) -> None:
    of_ppo, of_network = OPTIONS[option]
    config = LearnerConfig(ppo=replace(PPO, **of_ppo), network=replace(SMALL, **of_network))
    environments = environments_of(ACTIONS[kind])
    collector = Collector(environments, seed=1, first_slot=0, life=0, on_crash=lambda crash: pytest.fail(str(crash)))
    assert bool(environments.spec.mask) == (not kind.startswith("Box"))
    if kind not in FITS.get(option, ACTIONS):
        with pytest.raises(UsageError, match=r"leave it out|take ppo\.divergence=kl|Leave it out|or leave it out"):
            check_spaces(environments.spec, config, pytest.fail)
        return
    check_spaces(environments.spec, config, pytest.fail)
    trained(environments.spec, collector, config, ACTIONS[kind])


def trained(spec: Spec, collector: Collector, config: LearnerConfig, action: gym.Space[Any]) -> None:
    """Two updates on what the graph's actor did, of which the second goes on from a checkpoint of the first."""
    trainer, resumed = (
        Trainer(spec, ppo=config.ppo, network=config.network, seed=1, total_steps=1000) for _ in range(2)
    )
    trainer.check_graph()
    for version in (1, 2):
        collector.load(PolicyRunner(trainer.graph_bytes(version)))
        for _ in range(ROWS):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        before = trainer.tensors()
        batch = [Received("actor", b"12345678", version, 0, segment)]
        report = trainer.update(batch)
        assert report.ratio_excess <= 1, report.first_pass_ratio_error
        assert report.steps_left_out == 0
        assert np.isfinite([report.entropy, report.kl, report.grad_norm, report.policy_loss, report.value_loss]).all()
        after = trainer.tensors()
        moved = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
        assert any(name.startswith("policy.body") for name in moved)
        if version == 1:
            resumed.load(after, trainer.counters())
            trainer, resumed = resumed, trainer
        else:
            resumed.update(batch)
            assert_bit_equal(after, resumed.tensors())
    policy = Policy(trainer.graph_bytes(3), seed=1)
    for deterministic in (True, False):
        masks = np.ones(spec.mask[0].shape, bool) if spec.mask else None
        given, _ = policy.predict(np.zeros(3, np.float32), deterministic=deterministic, action_masks=masks)
        assert action.contains(given)
