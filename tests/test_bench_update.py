"""`dppo bench update`: which networks are compared, and the figures of a short one."""

import json
from pathlib import Path

import pytest

from dppo.bench.update import LAYER, MEMORY, PLAIN, networks_of, ratio, update
from dppo.learner.network_config import NetworkConfig
from dppo.protocol.errors import UsageError
from dppo.settings.bench_arguments import BenchUpdate


def test_a_memory_is_compared_with_a_layer_in_its_place_and_with_neither() -> None:
    chosen = NetworkConfig(memory="lstm", memory_width=32, memory_layers=2, bptt_steps=8, encoder_hidden=(5,))
    networks = networks_of(chosen)
    assert networks[MEMORY] == chosen
    assert networks[PLAIN] == NetworkConfig(encoder_hidden=(5,))
    assert networks[LAYER] == NetworkConfig(encoder_hidden=(5, 32, 32))
    assert networks_of(NetworkConfig())[MEMORY].memory == "gru"


def test_the_ratio_is_the_median_of_pairs() -> None:
    assert ratio([2.0, 3.0, 8.0], [1.0, 3.0, 2.0]) == 2.0


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
