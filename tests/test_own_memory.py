"""A memory of a user's: trained through both sides as built-in ones are, refused in one line where it does not fit."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import memory_nets
import pytest
import torch
from gymnasium.vector import AutoresetMode
from test_memory import GRU, PLAIN, Sides, agree, made, masked

import dppo
from dppo.api.callables import network_by_name
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.memory import StepwiseMemory
from dppo.learner.models.memory_check import check_memory
from dppo.learner.models.own_networks import own_memory
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.recurrent_state import with_state
from dppo.protocol.specs import spec_of

SPEC = spec_of(PLAIN, gym.spaces.Discrete(2))
OWN = replace(GRU, memory="memory_nets:make_memory", memory_width=5, bptt_steps=6)


@pytest.mark.slow
def test_both_sides_agree_on_a_memory_of_the_users() -> None:
    agree(Sides(made(PLAIN, gym.spaces.Box(-1, 1, (2,)), "sync"), OWN))


@pytest.mark.slow
@pytest.mark.parametrize("vectorisation", ["sync", *AutoresetMode])
@pytest.mark.filterwarnings("ignore")
def test_both_sides_agree_on_it_with_masks(vectorisation: Any) -> None:
    agree(Sides(masked(vectorisation, "info"), replace(OWN, embedding=2, encoder_hidden=(4,))))


def test_its_output_may_be_wider_than_its_state() -> None:
    policy, critic = build_networks(with_state(SPEC, OWN.state_size), OWN, seed=1)
    assert policy.remembered == 5 + 3
    assert critic.body[0].in_features == 5 + 3


def test_over_sequences_it_does_what_it_does_step_by_step() -> None:
    torch.manual_seed(1)
    memory = StepwiseMemory(memory_nets.make_memory(3, 4), 4, 7)
    features, state = torch.randn(6, 3), torch.randn(3, 4)
    outputs, states = memory.states_over(features, state, [3, 2, 1])
    for at, size in ((0, 3), (3, 2), (5, 1)):
        output, state = memory(features[at : at + size], state[:size], torch.zeros(size, dtype=torch.bool))
        torch.testing.assert_close(outputs[at : at + size], output)
        torch.testing.assert_close(states[at : at + size], state)
    memory.over(features, torch.zeros(3, 4), [3, 2, 1])[-1].sum().backward()
    assert memory.module.share.grad.any()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("make_no_pair", "returned a Tensor, not a tuple of features and the next state"),
        ("make_narrow", r"a state \(2, 1\), not \(2, w\) and \(2, 5\); network.memory_width is the state's size"),
        ("make_flat", r"returned features \(2,\)"),
        ("make_double", "torch.float64 and torch.float32, not float32"),
        ("make_broken", "no such weights"),
        ("make_memery", "did you mean make_memory"),
    ],
)
def test_a_memory_that_does_not_fit_is_refused(name: str, words: str) -> None:
    with pytest.raises(dppo.UsageError, match=words):
        build_networks(with_state(SPEC, 5), replace(OWN, memory=f"memory_nets:{name}"), seed=1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("make_detached", r"no gradient reaches memory\.module\.share, memory\.module\.layer\.weight"),
        ("make_random", "onnxruntime than PyTorch"),
        ("make_forgetful", r"the memory gives the same features whatever its state is, so it remembers nothing: make"),
        ("make_idle", "the memory returns its state unchanged, so it remembers nothing"),
        ("make_blank", "the memory returns the same state whatever it is given"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_memory_that_cannot_be_trained_or_exported_is_refused_at_the_start(name: str, words: str) -> None:
    network = replace(OWN, memory=f"memory_nets:{name}")
    trainer = Trainer(SPEC, ppo=PpoConfig(), network=network, seed=1, total_steps=100)
    with pytest.raises(dppo.UsageError, match=words):
        trainer.check_graph()


@pytest.mark.parametrize("name", ["make_memory", "make_gated", "make_previous", "make_clock"])
def test_a_memory_is_one_that_has_no_effect_yet_or_hardly_any(name: str) -> None:
    memory = own_memory(f"memory_nets:{name}", 6, 5, seed=1)
    check_memory(memory, 6)


def test_a_function_may_be_given_in_the_place_of_its_name() -> None:
    assert network_by_name("network.memory", memory_nets.make_memory) == "memory_nets:make_memory"


def test_its_state_has_memory_width_numbers() -> None:
    assert NetworkConfig(memory="my_nets:make", memory_width=9).state_size == 9
    assert NetworkConfig(memory="lstm", memory_width=9, memory_layers=2).state_size == 36
