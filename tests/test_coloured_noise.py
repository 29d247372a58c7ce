"""Coloured exploration noise: its spectrum and moments, its slots and lives, its graph, and what is refused."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_quota_digests import DIVISIONS, WHOLE, digests
from torch.distributions import Normal
from trainer_batches import OBSERVATIONS

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.coloured_noise import BLOCK_STEPS, MOST_COLOURED, TAPS, ColouredNoise, weights
from dppo.actor.sampling.noise import NoisePart, NoiseStream, noise_parts
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.learner.option_checks import check_options
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.specs import Spec, spec_of

BOX = gym.spaces.Box(-2, 2, (2,))
DICT = gym.spaces.Dict(arm=BOX, tools=gym.spaces.MultiDiscrete([3, 2]))
ONE: dict[str, Any] = {"kind": "normal:1:colour0.5", "size": 1}
SMALL = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), noise_colour=0.5)


def noise_of(slot: int = 0, *, envs: int = 1, life: int = 0, kind: str = "normal:2:colour1", size: int = 2) -> Any:
    return NoiseStream(1, first_slot=slot, envs=envs, life=life, kind=kind, size=size)


def steps(noise: NoiseStream, count: int) -> np.ndarray:
    return np.stack([noise.next() for _ in range(count)])


@pytest.mark.parametrize("colour", [0.5, 1.0, 2.0])
def test_the_weights_are_those_of_the_formula_and_give_the_variance_one(colour: float) -> None:
    by_hand = [math.gamma(k + colour / 2) / math.gamma(colour / 2) / math.factorial(k) for k in range(100)]
    own = weights(colour)
    np.testing.assert_allclose(own[:100] / own[0], by_hand, rtol=1e-10)
    assert (own * own).sum() == pytest.approx(1.0)


def test_numbers_are_the_sum_of_weighted_white_ones_across_blocks() -> None:
    noise, white = ColouredNoise(np.random.default_rng(3), 2, 0.7), np.random.default_rng(3)
    given = np.concatenate([noise.block(), noise.block()])
    own = [white.standard_normal((rows, 2), np.float32) for rows in (TAPS - 1, BLOCK_STEPS, BLOCK_STEPS)]
    rows = np.concatenate(own)
    for t in (0, 1, BLOCK_STEPS - 1, BLOCK_STEPS, 2 * BLOCK_STEPS - 1):
        expected = (weights(0.7)[:, None] * rows[t : t + TAPS][::-1].astype(np.float64)).sum(0)
        np.testing.assert_allclose(given[t], expected, atol=1e-5)


@pytest.mark.parametrize("colour", [0.5, 1.0])
def test_the_power_falls_with_the_frequency_by_the_colour(colour: float) -> None:
    rows = steps(noise_of(envs=4, kind=f"normal:2:colour{colour}"), 2**14).reshape(2**14, 8)
    window = 2**10
    power = (np.abs(np.fft.rfft(rows.reshape(-1, window, 8), axis=1)) ** 2).mean((0, 2))
    frequencies = np.fft.rfftfreq(window)
    middle = (frequencies > 0.01) & (frequencies < 0.1)
    slope, _ = np.polyfit(np.log(frequencies[middle]), np.log(power[middle]), 1)
    assert slope == pytest.approx(-colour, abs=0.1)


@pytest.mark.slow
def test_every_number_is_standard_normal_and_independent_of_those_beside_it() -> None:
    first = np.stack([ColouredNoise(np.random.default_rng(seed), 2, 1.0).block()[:2] for seed in range(2000)])
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.mean(0), 0.0, atol=0.08)
    np.testing.assert_allclose(first.var(0), 1.0, atol=0.12)
    assert abs(np.corrcoef(first[:, 0].T)[0, 1]) < 0.08
    assert np.corrcoef(first[:, :, 0].T)[0, 1] == pytest.approx((weights(1.0)[1:] * weights(1.0)[:-1]).sum(), abs=0.06)
    kurtosis = ((first[:, 0] - first[:, 0].mean()) ** 4).mean() / first[:, 0].var() ** 2
    assert kurtosis == pytest.approx(3.0, abs=0.5)


def test_what_a_slot_sees_depends_on_seed_slot_and_life_and_not_on_its_actor() -> None:
    count = BLOCK_STEPS + 3
    both, alone = steps(noise_of(3, envs=2), count), steps(noise_of(4), count)
    np.testing.assert_array_equal(both[:, 1:], alone)
    others = [alone, steps(noise_of(4, life=1), count), both[:, :1], steps(noise_of(4, kind="normal:2"), count)]
    assert len({rows.tobytes() for rows in others}) == len(others)
    np.testing.assert_array_equal(steps(noise_of(4, life=1), count), others[1])


def test_choices_beside_coloured_numbers_have_the_white_noise_that_they_ever_had() -> None:
    kind = "normal:2:colour0.5 gumbel:3"
    assert noise_parts(kind, 5) == (NoisePart("normal", 2, 1, 0.5), NoisePart("gumbel", 3))
    rows = steps(noise_of(kind=kind, size=5), 20)
    np.testing.assert_array_equal(rows[..., 2:], steps(noise_of(kind="gumbel", size=3), 20))


def test_a_graph_may_not_ask_for_coloured_noise_without_end() -> None:
    assert noise_parts(f"normal:{MOST_COLOURED}:colour2", MOST_COLOURED)
    with pytest.raises(ProtocolError, match="up to 4096 normal numbers"):
        noise_parts(f"normal:{MOST_COLOURED + 1}:colour2", MOST_COLOURED + 1)


@pytest.mark.parametrize("bounds", ["clip", "squash"])
@pytest.mark.parametrize("space", [BOX, DICT])
def test_the_graph_names_the_colour_and_log_probs_are_those_of_each_step_alone(
    space: gym.Space[Any], bounds: Any
) -> None:
    spec = spec_of(OBSERVATIONS, space)
    policy, _ = build_networks(spec, NetworkConfig(**{**vars(SMALL), "action_bounds": bounds}), 1)
    runner = PolicyRunner(PolicyExporter(policy, spec).graph_bytes(1))
    assert runner.noise_kind == ("normal:2:colour0.5" if space is BOX else "normal:2:colour0.5 gumbel:6")
    noise = noise_of(envs=2, kind=runner.noise_kind, size=runner.noise_size)
    state = np.float32([[0.5, -1, 2], [0.5, -1, 2]])
    for _ in range(3):
        given = noise.next()
        actions, _, log_probs = runner.act({"observation": state}, given)
        with torch.no_grad():
            distribution = policy.distribution(policy.encode({"observation": torch.from_numpy(state)}))
            rows = policy.layout.rows({name: torch.from_numpy(action.copy()) for name, action in actions.items()})
            torch.testing.assert_close(distribution.log_prob(rows), torch.from_numpy(log_probs), atol=1e-5, rtol=1e-5)
        if space is BOX and bounds == "clip":
            by_noise = Normal(0.0, 1.0).log_prob(torch.from_numpy(given)).sum(1)
            np.testing.assert_allclose(log_probs, by_noise.numpy(), atol=1e-4)


def test_noise_goes_on_over_segments_policies_and_episodes() -> None:
    environments = SyncLoop([gym.make("Pendulum-v1", max_episode_steps=4) for _ in range(2)])
    policy, _ = build_networks(environments.spec, SMALL, 1)
    exporter = PolicyExporter(policy, environments.spec)
    collector, stream = Collector(environments, seed=1, first_slot=3, life=2), noise_of(3, envs=2, life=2, **ONE)
    for version, rows in ((1, 5), (2, 9)):
        runner = PolicyRunner(exporter.graph_bytes(version))
        collector.load(runner)
        for _ in range(rows):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        assert segment.truncated.any()
        for row in range(rows):
            seen = {"observation": segment.observations["observation"][row]}
            means = runner.act(seen, np.zeros((2, 1), np.float32))[0]["action"].copy()
            np.testing.assert_allclose(segment.actions["action"][row] - means, stream.next(), atol=1e-5)


def test_without_a_colour_a_graph_asks_for_what_it_ever_did() -> None:
    spec = spec_of(OBSERVATIONS, BOX)
    policy, _ = build_networks(spec, NetworkConfig(policy_hidden=(8,)), 1)
    assert policy.noise == "normal"


def test_under_quota_versions_do_not_depend_on_the_division() -> None:
    whole = digests(WHOLE, env="Pendulum-v1", noise_colour=0.5)
    assert digests(DIVISIONS[2], env="Pendulum-v1", noise_colour=0.5) == whole
    assert digests(WHOLE, env="Pendulum-v1")[1:] != whole[1:]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"distribution": "beta"}, r"network\.noise_colour=0\.5 is of Gaussians"),
        ({"exploration": "state"}, r"network\.exploration=state keeps its noise for some steps: leave out one"),
        ({"head": "my_nets:make_head"}, r"network\.noise_colour=0\.5 is of the built-in head"),
        ({"noise_colour": -0.5}, "must be 0, which is white, or from 0.01 to 2"),
        ({"noise_colour": 0.001}, "must be 0, which is white, or from 0.01 to 2"),
        ({"noise_colour": math.nan}, "must be 0, which is white, or from 0.01 to 2"),
        ({"noise_colour": 3.0}, "must be 0, which is white, or from 0.01 to 2"),
    ],
)
def test_settings_that_do_not_go_with_it_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        NetworkConfig(**{**vars(SMALL), **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (gym.spaces.Discrete(2), "is of numbers, and these actions are choices"),
        (gym.spaces.Box(-1, 1, (MOST_COLOURED + 1,)), "at most 4,096, and there are 4,097"),
    ],
)
def test_spaces_that_have_none_are_refused(action: gym.Space[Any], words: str) -> None:
    spec: Spec = spec_of(OBSERVATIONS, action)
    with pytest.raises(UsageError, match=words):
        check_options(spec, SMALL, PpoConfig())
