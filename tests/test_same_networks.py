"""Networks of before are the same today: names, order, first weights, outputs, two updates; recorded from older code.

Recorded are sums weighted by place, so that another processor's rounding makes no difference and another order does.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from trainer_batches import acted

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.specs import spec_of

BOX = gym.spaces.Box(-np.inf, np.inf, (3,))
ACTIONS: dict[str, gym.Space[Any]] = {
    "box": gym.spaces.Box(-2, 2, (2,)),
    "choice": gym.spaces.Discrete(3, start=1),
    "mixed": gym.spaces.Dict(a=gym.spaces.Box(0, 3, (2,)), b=gym.spaces.Discrete(3), c=gym.spaces.MultiBinary(2)),
}
NETWORKS = {
    "plain": NetworkConfig(policy_hidden=(8,), critic_hidden=(8,)),
    "tutorial": NetworkConfig(
        policy_hidden=(16, 8),
        critic_hidden=(),
        activation="relu",
        initialisation="glorot",
        mean="tanh",
        mean_scale=2.0,
        std="state",
        initial_log_std=-0.5,
        action_bounds="rescale",
        normalise_observations=False,
    ),
}
RECORDED: dict[str, tuple[float, ...]] = {  # of names, first weights, outputs, weights after two updates
    "box plain": (10527779, 3.46580015, -10.3046936, 2.21450231),
    "box tutorial": (8884055, -1.23718671, -1.30654253, -0.0194335104),
    "choice plain": (9521572, 6.83524653, 13.964569, 8.2942746),
    "choice tutorial": (8884055, -0.760381217, 12.0381018, 0.841983203),
    "mixed plain": (10527779, 2.91639247, 10.9142875),
    "mixed tutorial": (8884055, -1.34022847, 17.5164426),
}


def weighted(*tensors: torch.Tensor) -> float:
    numbers = torch.cat([tensor.detach().to(torch.float64).flatten() for tensor in tensors])
    return float((numbers * torch.linspace(0.5, 1.5, len(numbers), dtype=torch.float64)).sum())


def number_of(text: str) -> float:
    return float(sum((index + 1) * ord(letter) for index, letter in enumerate(text)))


def figures(action: str, network: str) -> tuple[float, ...]:
    ppo = PpoConfig(epochs=2, minibatch_steps=16)
    trainer = Trainer(spec_of(BOX, ACTIONS[action]), ppo=ppo, network=NETWORKS[network], seed=3, total_steps=1000)
    names = ",".join([*(name for name, _ in trainer.policy.named_parameters()), *trainer.tensors()])
    observed = torch.linspace(-2, 2, 15).reshape(5, 3)
    noise = torch.linspace(-1, 2, 5 * trainer.policy.outputs).reshape(5, -1)
    found = [number_of(names), weighted(*trainer.tensors().values()), weighted(*trainer.policy(observed, noise))]
    if action != "mixed":
        for update in range(2):
            trainer.update([Received("a", b"a", update, 0, acted(trainer, update))])
        found.append(weighted(*(tensor for name, tensor in trainer.tensors().items() if ".body." in name)))
    return tuple(found)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("action", ACTIONS)
def test_networks_are_those_that_were_recorded(action: str, network: str) -> None:
    expected = RECORDED[f"{action} {network}"]
    assert figures(action, network) == pytest.approx(expected, rel=1e-5, abs=1e-4)
