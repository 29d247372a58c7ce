"""Stacked frames for users: predict with single frames, own encoders, settings, what is refused."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import torch
from frame_envs import SIDE, made
from gymnasium import spaces
from onnx import ModelProto

import dppo
from dppo.actor.sampling.carried_state import CarriedState
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.config import LearnerConfig, NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.admission import too_large
from dppo.learner.session.records import Settings
from dppo.learner.session.settings import check_spaces, why_not_trained
from dppo.learner.session.space_remarks import remarks
from dppo.learner.telemetry.tensorboard_graph import network_graph
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import EnvSettings, Hello, Tally
from dppo.protocol.specs import Spec, spec_hash, spec_of

LEFT_RIGHT = spaces.Discrete(2)
STACKED = NetworkConfig(policy_hidden=(), critic_hidden=(), encoder="impala_cnn", frame_stack=3)


def spec_for(*shape: int) -> Spec:
    return spec_of(spaces.Box(0, 255, shape, np.uint8), LEFT_RIGHT)


def trainer_of(spec: Spec, network: NetworkConfig = STACKED) -> Trainer:
    return Trainer(spec, ppo=PpoConfig(), network=network, seed=1, total_steps=100)


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return trainer_of(spec_for(SIDE, SIDE))


def test_predict_takes_single_frames_and_hands_on_those_before(trainer: Trainer) -> None:
    policy = Policy(trainer.graph_bytes(1), seed=1)
    frames = np.random.default_rng(1).integers(0, 256, (5, 2, SIDE, SIDE), np.uint8)
    _, state = policy.predict(frames[0])
    np.testing.assert_array_equal(state, np.stack([frames[0]] * 2, 1))
    for step in (1, 2, 3):
        _, state = policy.predict(frames[step], state)
    np.testing.assert_array_equal(state, frames[2:4].swapaxes(0, 1))
    state[1] = frames[4, 1]  # where an episode begins
    _, state = policy.predict(frames[4], state)
    np.testing.assert_array_equal(state[0], frames[3:, 0])
    np.testing.assert_array_equal(state[1], frames[[4, 4], 1])
    _, alone = policy.predict(frames[0, 0])
    assert (alone.shape, alone.dtype) == ((2, SIDE, SIDE), np.uint8)


def test_predict_gives_the_log_probs_of_stacks_that_others_make(trainer: Trainer) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 4, SIDE, SIDE), np.uint8)
    runner = PolicyRunner(trainer.graph_bytes(1))
    carried = CarriedState(4, runner.carried)
    noise = np.zeros((4, runner.noise_size), np.float32)
    nothing = np.zeros(4, bool)
    step: Any = type("Step", (), {"terminated": nothing, "truncated": nothing, "valid": ~nothing})
    for frame in frames:
        actions, _, log_probs = runner.act({"observation": frame, **carried.given}, noise)
        carried.after(runner.after, step)
    stacks = {"observation": torch.from_numpy(frames.swapaxes(0, 1).copy())}
    distribution = trainer.policy.distribution(trainer.policy.encode(stacks))
    expected = distribution.log_prob(torch.from_numpy(actions["action"])).detach().numpy()
    np.testing.assert_allclose(log_probs, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            np.zeros((2, SIDE, SIDE)),
            r"frames is an array \(2, 8, 8\) of float64: .*bytes \(uint8\) of shape \(2, 8, 8\)",
        ),
        (np.zeros((3, SIDE, SIDE), np.uint8), r"frames is an array \(3, 8, 8\)"),
        ({"frames": 1}, "frames is dict"),
    ],
)
def test_what_is_no_state_is_refused(state: Any, words: str, trainer: Trainer) -> None:
    with pytest.raises(dppo.UsageError, match=words):
        Policy(trainer.graph_bytes(1)).predict(np.zeros((SIDE, SIDE), np.uint8), state)


@pytest.mark.slow
def test_networks_with_frames_can_be_checked_and_drawn(trainer: Trainer) -> None:
    trainer.check_graph()
    assert b"next_frames" in network_graph(trainer.policy, trainer.critic, spec_for(SIDE, SIDE))


def test_several_images_and_a_memory_are_carried_by_name() -> None:
    spec = made("sync", 1, beside=True).spec
    trainer = trainer_of(spec, dataclasses.replace(STACKED, memory="gru", memory_width=5))
    policy = Policy(trainer.graph_bytes(1))
    picture = np.full((SIDE, SIDE), 7, np.uint8)
    observation = {"a": picture, "b": np.zeros(2, np.float32), "c": picture + 1}
    _, state = policy.predict(observation)
    assert {name: array.shape for name, array in state.items()} == {
        "state": (5,),
        "frames.a": (2, SIDE, SIDE),
        "frames.c": (2, SIDE, SIDE),
    }
    assert (state["frames.c"] == 8).all()
    _, after = policy.predict(observation, state)
    assert not np.array_equal(after["state"], state["state"])
    with pytest.raises(dppo.UsageError, match=r"pass the dict of state, frames\.a, frames\.c"):
        policy.predict(observation, state["state"])


def test_half_of_what_is_carried_is_refused(trainer: Trainer) -> None:
    model = ModelProto.FromString(trainer.graph_bytes(1))
    (place,) = [index for index, put in enumerate(model.graph.output) if put.name == "next_frames"]
    del model.graph.output[place]
    with pytest.raises(ProtocolError, match="lacks next_frames"):
        PolicyRunner(bytes(model.SerializeToString()))


class Scaled(torch.nn.Module):
    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return observation.flatten(1).to(torch.float32) / 255


def own_encoder(leaves: Any) -> Any:
    assert [leaf.shape for leaf in leaves] == [(3, SIDE, SIDE)]
    return Scaled()


def test_an_encoder_of_ones_own_gets_the_frames_first() -> None:
    trainer = trainer_of(spec_for(SIDE, SIDE), dataclasses.replace(STACKED, encoder=f"{__name__}:own_encoder"))
    assert trainer.policy.features == 3 * SIDE * SIDE
    trainer.check_graph()


@pytest.mark.parametrize(
    ("shape", "network", "words"),
    [
        ((3,), {}, r"frame_stack=4 stacks images .* there are none: leaves of uint8"),
        ((20, 20), {}, r"observation of 20 x 20 pixels is taken as numbers: choose --network.encoder impala_cnn"),
        ((40, 40), {"encoder": "flat"}, r"of 40 x 40 pixels is taken as numbers: choose --network.encoder impala_cnn"),
    ],
)
def test_frames_of_what_is_no_image_are_refused_in_one_line(shape: Any, network: Any, words: str) -> None:
    spec, config = spec_for(*shape), LearnerConfig(network=NetworkConfig(frame_stack=4, **network))
    with pytest.raises(dppo.UsageError, match=words):
        check_spaces(spec, config, lambda line: None)
    assert re.search(words, why_not_trained(spec, config))
    with pytest.raises(dppo.UsageError, match=words):
        trainer_of(spec, config.network)


def test_spaces_that_cannot_be_stacked_do_not_disturb_admission() -> None:
    def refuses(spec: Spec) -> Spec:
        raise dppo.UsageError("no images")

    settings = Settings("r", 1, EnvSettings("a", "{}", "auto"), 1, 8, 0, 1, "keep", 1.0, 1.0, rollout_spec=refuses)
    spec = spec_for(3)
    hello = Hello(1, 1, "1", "a", b"12345678", 2, Tally(), spec=spec, spec_hash=spec_hash(spec))
    assert too_large(settings, hello) is None


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"frame_stack": 0}, "frame_stack=0 must be at least 1"),
        ({"frame_stack": 65}, "frame_stack=65"),
        ({"frame_stack": 2, "policy": "a:b"}, "makes all parts: leave out network.frame_stack=2"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_what_to_do(network: dict[str, Any], words: str) -> None:
    with pytest.raises(dppo.UsageError, match=words):
        NetworkConfig(**network)


def test_the_first_line_says_how_many_frames_are_seen() -> None:
    (line,) = remarks(spec_for(84, 84), NetworkConfig(frame_stack=4))
    assert line == (
        "observation: images of 84 x 84 pixels with 1 channel, the newest 4 of them, encoded by the Nature CNN; "
        "others: --network.encoder"
    )
