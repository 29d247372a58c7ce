"""`dppo bench update`: which networks are compared, and the figures of a short one."""

import json
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dppo.bench.update import LAYER, MEMORY, PLAIN, multiplications, networks_of, ratio, update
from dppo.learner.models.building import build_networks
from dppo.learner.network_config import NetworkConfig
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of
from dppo.settings.bench_arguments import BenchUpdate

CARTPOLE = spec_of(Box(-1, 1, (4,)), Discrete(2))


def test_a_memory_is_compared_with_a_layer_in_its_place_and_with_neither() -> None:
    chosen = NetworkConfig(memory="lstm", memory_width=32, memory_layers=2, bptt_steps=8, encoder_hidden=(5,))
    networks = networks_of(chosen)
    assert networks[MEMORY] == chosen
    assert networks[PLAIN] == NetworkConfig(encoder_hidden=(5,))
    assert networks[LAYER] == NetworkConfig(encoder_hidden=(5, 32, 32))
    assert networks_of(NetworkConfig())[MEMORY].memory == "gru"


def test_the_ratio_is_the_median_of_pairs() -> None:
    assert ratio([2.0, 3.0, 8.0], [1.0, 3.0, 2.0]) == 2.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (PLAIN, 2 * (4 * 8 + 4 * 8) + 3 * (8 * 6 + 6 * 2 + 8 * 6 + 6 * 1)),
        (LAYER, 2 * 4 * 5 + 3 * (5 * 8 + 8 * 6 + 6 * 2 + 5 * 8 + 8 * 6 + 6 * 1)),
        (MEMORY, 2 * 15 * 4 + 3 * (15 * 5 + 5 * 8 + 8 * 6 + 6 * 2 + 5 * 8 + 8 * 6 + 6 * 1)),
    ],
)
def test_multiplications_are_those_of_both_directions(name: str, expected: int) -> None:
    network = NetworkConfig(memory="gru", memory_width=5, policy_hidden=(8, 6), critic_hidden=(8, 6))
    assert multiplications(*build_networks(CARTPOLE, networks_of(network)[name], 1)) == expected


def test_multiplications_of_other_layers_are_not_counted() -> None:
    spec = spec_of(Box(0, 255, (36, 36), np.uint8), Discrete(2))
    assert multiplications(*build_networks(spec, NetworkConfig(), 1)) is None


def test_what_no_update_can_be_measured_with_is_refused() -> None:
    with pytest.raises(UsageError, match="pairs=0 must be at least 1"):
        BenchUpdate("CartPole-v1", pairs=0)
    with pytest.raises(UsageError, match="memory"):
        update(BenchUpdate("CartPole-v1", overrides=("--network.memory", "grue")))


@pytest.mark.slow
def test_a_short_bench_writes_every_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "update.json"
    settings = ("--collect.batch-steps", "128", "--ppo.minibatch-steps", "32", "--network.memory", "lstm")
    assert update(BenchUpdate("CartPole-v1", pairs=2, output=str(output), overrides=settings)) == 0
    result = json.loads(output.read_text())
    assert set(result["ratio"]) == {PLAIN, LAYER, MEMORY}
    assert all(len(values) == 2 and min(values) > 0 for values in result["seconds"].values())
    assert result["ratio"][PLAIN] == 1
    assert set(result["minibatches"].values()) == {4}
    assert min(result["steps"].values()) >= 128
    assert "with memory" in capsys.readouterr().out
