"""Images: their axes, their encoders, bytes until the minibatch, and what the first line says."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from trainer_batches import assert_bit_equal

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.image_leaves import Picture, check_images, cnn_weights, picture_of
from dppo.learner.models.building import build_networks
from dppo.learner.ppo import rows as rows_module
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.settings import check_spaces, network_bytes
from dppo.learner.session.space_remarks import remarks
from dppo.learner.telemetry.tensorboard_graph import network_graph
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec, spec_of

LEFT_RIGHT = spaces.Discrete(2)
SMALL = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))


def pictures(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def spec_for(observation: gym.Space[Any]) -> Spec:
    return spec_of(observation, LEFT_RIGHT)


@pytest.mark.parametrize(
    ("shape", "order", "expected"),
    [
        ((210, 160, 3), "auto", Picture(3, 210, 160, True)),
        ((84, 84, 4), "auto", Picture(4, 84, 84, True)),
        ((4, 84, 84), "auto", Picture(4, 84, 84, False)),
        ((3, 48, 64), "auto", Picture(3, 48, 64, False)),
        ((8, 8, 111), "auto", Picture(111, 8, 8, True)),
        ((16, 40, 40), "auto", Picture(16, 40, 40, False)),
        ((40, 40, 40), "auto", Picture(40, 40, 40, True)),
        ((40, 40, 40), "first", Picture(40, 40, 40, False)),
        ((4, 84, 84), "last", Picture(84, 4, 84, True)),
        ((60, 80), "auto", Picture(1, 60, 80, False)),
        ((60, 80), "last", Picture(1, 60, 80, False)),
    ],
)
def test_channels_are_recognised_and_can_be_set(shape: tuple[int, ...], order: Any, expected: Picture) -> None:
    assert picture_of(spec_for(pictures(*shape)).observation[0], order) == expected


@pytest.mark.parametrize(
    "space", [pictures(10_000), pictures(2, 40, 40, 3), spaces.Box(0, 1, (40, 40, 3)), spaces.MultiBinary((40, 40))]
)
def test_other_leaves_are_numbers(space: gym.Space[Any]) -> None:
    assert picture_of(spec_for(space).observation[0], "auto") is None


def encoder_of(observation: gym.Space[Any], **network: Any) -> torch.nn.Module:
    policy, _ = build_networks(spec_for(observation), NetworkConfig(policy_hidden=(8,), **network), 1)
    return policy.encoder


def shapes(module: torch.nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters() if parameter.dim() > 1]


def test_the_nature_cnn_is_that_of_the_paper_and_the_default_where_it_fits() -> None:
    encoder = encoder_of(pictures(84, 84, 4))
    assert shapes(encoder) == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136)]
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 1_684_128
    weights = encoder.layers[0].weight.detach().flatten(1)
    torch.testing.assert_close(weights @ weights.t(), 2 * torch.eye(32), atol=1e-5, rtol=0)
    assert shapes(encoder_of(pictures(36, 36)))[-1] == (512, 64)
    assert shapes(encoder_of(pictures(35, 36))) == []
    assert shapes(encoder_of(pictures(84, 84, 4), encoder="flat")) == []


@pytest.mark.parametrize("shape", [(36, 36), (40, 43), (44, 36)])
@pytest.mark.parametrize("cnn", ["nature_cnn", "impala_cnn"])
def test_every_pixel_is_seen(cnn: str, shape: tuple[int, int]) -> None:
    """Found by a game whose paddle was in the last rows of 40: strides of the Nature CNN leave them out."""
    encoder = encoder_of(pictures(*shape), encoder=cnn)
    images = torch.rand((8, 1, *shape), generator=torch.Generator().manual_seed(1), requires_grad=True)
    for parameter in encoder.parameters():
        parameter.data.abs_()
    encoder.layers(images).sum().backward()
    assert (images.grad.sum(0) > 0).all()


def test_impala_s_cnn_is_that_of_the_paper() -> None:
    encoder = encoder_of(pictures(72, 96, 3), encoder="impala_cnn")
    assert len([shape for shape in shapes(encoder) if len(shape) == 4]) == 15
    assert shapes(encoder)[0] == (16, 3, 3, 3)
    assert shapes(encoder)[-1] == (256, 32 * 9 * 12)
    images = torch.randint(0, 255, (4, 72, 96, 3), dtype=torch.uint8)
    features = encoder(images)
    assert features.shape == (4, 256)
    assert 0.02 < features.std() < 4


@pytest.mark.parametrize("cnn", ["nature_cnn", "impala_cnn"])
def test_both_orders_of_channels_mean_the_same_picture(cnn: str) -> None:
    last, first = encoder_of(pictures(40, 44, 3), encoder=cnn), encoder_of(pictures(3, 40, 44), encoder=cnn)
    images = torch.randint(0, 255, (2, 40, 44, 3), dtype=torch.uint8)
    torch.testing.assert_close(last(images), first(images.permute(0, 3, 1, 2)), atol=1e-5, rtol=1e-5)


def test_features_are_those_of_numbers_from_0_to_1() -> None:
    encoder = encoder_of(pictures(36, 36))
    images = torch.randint(0, 255, (2, 36, 36), dtype=torch.uint8)
    expected = encoder.layers(images.to(torch.float32).unsqueeze(1) / 255)
    assert torch.equal(encoder(images), expected)


def test_several_images_stand_beside_numbers_in_the_order_of_the_spec() -> None:
    space = spaces.Dict(
        camera=pictures(36, 36, 3), depth=pictures(40, 40), joints=spaces.Box(-1, 1, (5,)), tiny=pictures(3, 3)
    )
    policy, _ = build_networks(spec_for(space), SMALL, 1)
    assert policy.features == 512 + 512 + 5 + 9
    tensors = policy.state_dict()
    assert tensors["encoder.leaves.2.mean"].shape == (5,)
    assert not torch.equal(tensors["encoder.leaves.0.layers.2.weight"], tensors["encoder.leaves.1.layers.3.weight"])


@pytest.mark.parametrize(
    ("space", "encoder", "reason"),
    [
        (pictures(20, 20, 3), "nature_cnn", r"36 x 36 pixels and more, and observation has 20 x 20: choose impala_cnn"),
        (pictures(6, 40), "impala_cnn", r"8 x 8 pixels and more, and observation has 6 x 40: choose flat"),
        (spaces.Box(-1, 1, (3,)), "nature_cnn", r"is for images, .* there is none \(observation \(3,\) of f4\)"),
    ],
)
def test_an_encoder_of_images_that_does_not_fit_is_refused(space: Any, encoder: str, reason: str) -> None:
    network = NetworkConfig(encoder=encoder)
    for check in (lambda spec: check_images(spec, network), lambda spec: build_networks(spec, network, 1)):
        with pytest.raises(UsageError, match=reason):
            check(spec_for(space))
    with pytest.raises(UsageError, match=reason):
        check_spaces(spec_for(space), LearnerConfig(network=network), lambda line: None)


def test_the_first_line_says_what_encodes_images() -> None:
    (line,) = remarks(spec_for(pictures(84, 84, 4)), NetworkConfig())
    assert line == (
        "observation: images of 84 x 84 pixels with 4 channels, channels last, encoded by the Nature CNN; others: "
        "--network.encoder"
    )
    (line,) = remarks(spec_for(pictures(84, 84)), NetworkConfig(encoder="impala_cnn"))
    assert line == "observation: images of 84 x 84 pixels with 1 channel, encoded by IMPALA's residual CNN"
    (line,) = remarks(spec_for(pictures(20, 20, 3)), NetworkConfig())
    assert "perceptron as 1,200 numbers" in line
    assert line.endswith("--network.encoder impala_cnn takes images of 20 x 20 pixels")
    (line,) = remarks(spec_for(spaces.Box(0, 1, (20, 20, 3))), NetworkConfig())
    assert "observe them as uint8" in line
    assert remarks(spec_for(pictures(84, 84, 4)), NetworkConfig(encoder="a:b")) == []
    two = spec_for(spaces.Dict(camera=pictures(40, 40), tiny=pictures(3, 4)))
    assert remarks(two, NetworkConfig(encoder="nature_cnn"))[1] == (
        "observation.tiny: 3 x 4 pixels go into a perceptron as numbers: the Nature CNN takes 36 x 36 and more"
    )
    assert build_networks(two, NetworkConfig(encoder="nature_cnn"), 1)[0].features == 512 + 12


def test_an_embedding_of_nothing_is_refused() -> None:
    network = NetworkConfig(embedding=3)
    check_spaces(
        spec_for(spaces.Dict(a=spaces.Discrete(3), b=pictures(3, 4))), LearnerConfig(network=network), pytest.fail
    )
    reason = r"embedding=3 embeds Discrete leaves .* there is none \(observation multi_discrete \(2,\)\): leave it out"
    with pytest.raises(UsageError, match=reason):
        check_spaces(spec_for(spaces.MultiDiscrete([2, 3])), LearnerConfig(network=network), pytest.fail)
    with pytest.raises(UsageError, match=r"network.encoder=my:own makes all features: leave out network.embedding=3"):
        NetworkConfig(embedding=3, encoder="my:own")


def test_memory_is_estimated_without_float_copies_of_images() -> None:
    config = LearnerConfig(network=NetworkConfig(policy_hidden=(), critic_hidden=()))
    spec = spec_for(pictures(84, 84, 4))
    leaf = spec.observation[0]
    assert cnn_weights(leaf, config.network) == pytest.approx(1_684_128, rel=0.2)
    assert cnn_weights(leaf, NetworkConfig(encoder="impala_cnn")) == pytest.approx(1_091_936, rel=0.2)
    assert network_bytes(spec, config) < 150e6
    own = LearnerConfig(network=NetworkConfig(policy_hidden=(), critic_hidden=(), encoder="a:b"))
    assert network_bytes(spec, own) < 150e6
    flat = LearnerConfig(network=NetworkConfig(encoder="flat"))
    assert network_bytes(spec, flat) > 600e6


class Spot(gym.Env[Any, Any]):
    """A bright half of a picture, beside a number that says which half is good."""

    observation_space = spaces.Dict(picture=pictures(36, 36, 1), sign=spaces.Box(-1, 1, (1,)))
    action_space = LEFT_RIGHT

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def observe(self) -> dict[str, np.ndarray]:
        self.right, self.sign = self.np_random.integers(2, size=2)
        picture = np.zeros((36, 36, 1), np.uint8)
        picture[:, 18 * self.right :][:, :18] = 255
        return {"picture": picture, "sign": np.array([2 * self.sign - 1], np.float32)}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == (self.right ^ self.sign))
        self.steps += 1
        return self.observe(), reward, False, self.steps == 8, {}


def trainer_of(spec: Spec, network: NetworkConfig = SMALL) -> Trainer:
    return Trainer(spec, ppo=PpoConfig(epochs=2, minibatch_steps=32), network=network, seed=1, total_steps=1000)


def test_bytes_stay_bytes_until_the_minibatch_and_a_run_resumes_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "PART_NUMBERS", 20_000)  # 15 pictures
    environments = SyncLoop([Spot() for _ in range(2)])
    trainer = trainer_of(environments.spec)
    seen: list[tuple[torch.dtype, int]] = []
    encoder = trainer.policy.encoder.leaves[0]
    hook = encoder.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0].dtype, len(inputs[0]))))
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    segments = []
    for version in (1, 2):
        collector.load(PolicyRunner(trainer.graph_bytes(version)))
        for _ in range(32):
            collector.step()
        segments.append(collector.cut())
        assert segments[-1].observations["observation.picture"].dtype == np.uint8
        before = trainer.tensors(), trainer.counters()
        report = trainer.update([Received("a", b"a", version, 0, segments[-1])])
        assert report.ratio_excess <= 1
    assert {dtype for dtype, _ in seen} == {torch.uint8}
    assert {rows for _, rows in seen} <= {15, 32, *range(1, 15)}
    assert any(rows == 32 for _, rows in seen)
    hook.remove()
    assert network_graph(trainer.policy, trainer.critic, environments.spec)
    resumed = trainer_of(environments.spec)
    resumed.load(*before)
    resumed.update([Received("a", b"a", 2, 0, segments[-1])])
    assert_bit_equal(resumed.tensors(), trainer.tensors())
