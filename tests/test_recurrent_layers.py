"""Written-out layers of GRU and LSTM against PyTorch's own, against finite differences, and within a trainer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from test_memory import GRU, PLAIN, PPO, Sides, made
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from trainer_batches import weights

from dppo.learner.models import recurrent_layers
from dppo.learner.models.memory import Memory
from dppo.learner.ppo.trainer import Trainer

FEATURES, WIDTH = 3, 4
LENGTHS = [[5, 5, 5], [7, 4, 4, 1], [1, 1], [3]]


def sizes_of(lengths: list[int]) -> list[int]:
    return [sum(length > step for length in lengths) for step in range(max(lengths))]


def memory_of(kind: Any, layers: int = 1, dtype: torch.dtype = torch.float32) -> Memory:
    memory = Memory(kind, FEATURES, WIDTH, torch.Generator().manual_seed(1), layers=layers)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in memory.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter, generator=generator)
    return memory.to(dtype)


def inputs_of(memory: Memory, lengths: list[int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(sum(lengths), FEATURES, generator=generator, dtype=dtype, requires_grad=True)
    return rows, torch.randn(len(lengths), memory.size, generator=generator, dtype=dtype)


def pytorch_over(memory: Memory, features: Tensor, starts: Tensor, lengths: list[int]) -> Tensor:
    """By PyTorch's own layer, packed."""
    parts = torch.stack(starts.chunk(memory.size // WIDTH, 1))
    first: Any = parts if memory.kind == "gru" else (parts[::2].contiguous(), parts[1::2].contiguous())
    out, _ = memory.layer(PackedSequence(features, torch.tensor(sizes_of(lengths))), first)
    outputs: Tensor = out.data
    return outputs


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_outputs_and_gradients_are_those_of_pytorchs_layers(kind: str, lengths: list[int], layers: int) -> None:
    memory = memory_of(kind, layers, torch.float64)
    features, starts = inputs_of(memory, lengths, torch.float64)
    target = torch.randn(len(features), WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = []
    for outputs in (
        memory.over(features, starts, sizes_of(lengths)),
        pytorch_over(memory, features, starts, lengths),
    ):
        gradients = torch.autograd.grad((outputs * target).sum(), [features, *memory.parameters()])
        found.append([outputs, *gradients])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    memory = memory_of(kind, 2, torch.float64)
    lengths = [3, 2]
    features, starts = inputs_of(memory, lengths, torch.float64)

    def over(given: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(Whole(memory), dict(zip(names, parameters, strict=True)), (given,))

    class Whole(nn.Module):
        def __init__(self, memory: Memory) -> None:
            super().__init__()
            self.memory = memory

        def forward(self, given: Tensor) -> Tensor:
            return self.memory.over(given, starts, sizes_of(lengths))

    names = [f"memory.{name}" for name, _ in memory.named_parameters()]
    assert torch.autograd.gradcheck(over, (features, *memory.parameters()))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_step_at_a_time_gives_outputs_and_states_of_whole_sequences(kind: str, layers: int) -> None:
    memory, lengths = memory_of(kind, layers), LENGTHS[1]
    features, state = inputs_of(memory, lengths)
    outputs, states = memory.states_over(features.detach(), state, sizes_of(lengths))
    at = 0
    for size in sizes_of(lengths):
        output, state = memory(features[at : at + size], state[:size], torch.zeros(size, dtype=torch.bool))
        torch.testing.assert_close(outputs[at : at + size], output, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(states[at : at + size], state, rtol=1e-5, atol=1e-6)
        at += size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "action", "apart"),
    [
        ("gru", Box(-1, 1, (2,)), False),
        ("gru", Box(-1, 1, (2,)), True),
        ("lstm", Discrete(3), False),
        ("lstm", Discrete(3), True),
    ],
)
def test_written_gradients_train_as_automatic_differentiation_does(kind: Any, action: Any, apart: bool) -> None:
    network = replace(GRU, memory=kind, memory_layers=2, bptt_steps=5, policy_hidden=(8, 7))
    ppo = replace(PPO, value_clip_range=0.3, critic_learning_rate=1e-3 if apart else 0.0)
    sides = Sides(made(PLAIN, action, "sync"), network, ppo=ppo)
    sides.load()
    batch = [sides.received(1)]
    trained = []
    for way in ("analytic", "autograd"):
        trainer = Trainer(sides.environments, ppo=ppo, network=network, seed=1, total_steps=1000, gradients=way)
        trainer.update(batch)
        trained.append({name: tensor for name, tensor in weights(trainer).items() if "adam" in name})
    assert np.isfinite(sum(float(tensor.sum()) for tensor in trained[0].values()))
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_arithmetic_as_on_other_devices_gives_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, lengths = memory_of(kind, 2), LENGTHS[1]
    features, starts = inputs_of(memory, lengths)
    found = []
    for is_numpy in (True, False):
        if not is_numpy:
            monkeypatch.setattr(recurrent_layers, "_elementwise", lambda like: torch)
            monkeypatch.setattr(recurrent_layers, "_array", lambda tensor: tensor)
        outputs = memory.over(features, starts, sizes_of(lengths))
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), [features, *memory.parameters()])])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
