"""Observations of several leaves in the learner, and through a whole run."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from nested_env import Nested
from runs_that_go_on import gone_on
from tensorboard.compat.proto.graph_pb2 import GraphDef
from trainer_batches import assert_bit_equal

import dppo
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.models.encoders import LeafEncoder, leaf_encoders
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.ppo.batch import Received, lay_out
from dppo.learner.ppo.checks import unlike_the_others
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import check_segment
from dppo.learner.session.run_spaces import difference
from dppo.learner.session.space_remarks import remarks
from dppo.learner.storage.initial_weights import difference as difference_of_runs
from dppo.learner.telemetry.tensorboard_graph import network_graph
from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Spec, spec_of

SPEC = spec_of(Nested.observation_space, Nested.action_space)
NAMES = ["arm", "seen.0", "seen.1", "tip", "tools", "wanted"]


class Sides:
    """An actor without a socket, and a learner's trainer."""

    def __init__(self, *, normalise: bool = True) -> None:
        network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), normalise_observations=normalise)
        self.trainer = Trainer(SPEC, ppo=PpoConfig(minibatch_steps=32), network=network, seed=1, total_steps=10_000)
        self._collector = Collector(SyncLoop([Nested(), Nested()]), seed=1, first_slot=0, life=0)

    def segment(self, version: int) -> Segment:
        self._collector.load(PolicyRunner(self.trainer.graph_bytes(version)))
        for _ in range(64):
            self._collector.step()
        segment = self._collector.cut()
        assert segment is not None
        return segment

    def parts(self) -> dict[str, LeafEncoder]:
        return {part.leaf.removeprefix("observation."): part for part in leaf_encoders(self.trainer.policy.encoder)}


def received(segment: Segment, version: int = 1) -> Received:
    return Received("a", b"12345678", version, 0, segment)


def acted_on(segment: Segment, name: str) -> np.ndarray:
    rows: np.ndarray = segment.observations[f"observation.{name}"][:-1].reshape(128, -1)
    return rows


@pytest.mark.slow
def test_only_numbers_are_normalised_and_by_their_own_moments() -> None:
    sides = Sides()
    segment = sides.segment(1)
    report = sides.trainer.update([received(segment)])
    assert report.ratio_excess <= 1
    parts = sides.parts()
    assert list(parts) == NAMES
    assert [name for name, part in parts.items() if part.normalise] == ["arm", "seen.0", "tip"]
    for name in ("arm", "seen.0", "tip"):
        seen = acted_on(segment, name).astype(np.float64)
        np.testing.assert_allclose(parts[name].mean, seen.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(parts[name].scale, 1 / seen.std(axis=0), rtol=1e-4)
    rows = {leaf: torch.from_numpy(array[0].copy()) for leaf, array in segment.observations.items()}
    features = sides.trainer.policy.encode(rows)
    assert features.shape == (2, 2 + 9 + 2 + 1 + 5 + 4)
    torch.testing.assert_close(features[:, 11:13], rows["observation.seen.1"].float())
    tools = rows["observation.tools"]
    expected = torch.cat([tools[:, :1] == torch.tensor([1, 2]), tools[:, 1:] == torch.tensor([-1, 0, 1])], dim=1)
    torch.testing.assert_close(features[:, 14:19], expected.float())
    wanted = rows["observation.wanted"][:, None] == torch.tensor([-1, 0, 1, 2])
    torch.testing.assert_close(features[:, 19:], wanted.float())


def test_floats_that_are_not_normalised_are_limited_by_their_own_moments() -> None:
    sides = Sides(normalise=False)
    segment = sides.segment(1)
    sides.trainer.update([received(segment)])
    parts = sides.parts()
    assert [name for name, part in parts.items() if part.limits] == ["arm", "tip"]
    for name in ("arm", "tip"):
        seen = acted_on(segment, name).astype(np.float64)
        np.testing.assert_allclose(parts[name].high, seen.mean(axis=0) + 100 * seen.std(axis=0), rtol=1e-4)
    assert not [name for name in sides.trainer.tensors() if name.endswith((".low", ".high"))]


def test_an_absurd_number_is_named_with_its_leaf_and_its_place_there() -> None:
    sides = Sides()
    sides.trainer.update([received(sides.segment(1))])
    segment = sides.segment(2)
    segment.observations["observation.arm"][3, 1, 1] = 1e9
    report = sides.trainer.update([received(segment, 2)])
    (text,) = [text for kind, text in report.notes if kind == "outlier"]
    assert "a: environment 1: observation.arm[1] is 1e+09" in text
    segment = sides.segment(3)
    segment.observations["observation.tip"][3, 0] = 1e9
    report = sides.trainer.update([received(segment, 3)])
    (text,) = [text for kind, text in report.notes if kind == "outlier"]
    assert "a: environment 0: observation.tip[0] is 1e+09" in text


def test_encoding_in_every_minibatch_trains_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*, once: bool) -> dict[str, torch.Tensor]:
        sides = Sides()
        monkeypatch.setattr(PolicyNetwork, "encodes_once", once)
        for version in (1, 2):
            sides.trainer.update([received(sides.segment(version), version)])
        return sides.trainer.tensors()

    assert_bit_equal(trained(once=True), trained(once=False))


def test_the_actor_of_absurd_numbers_is_found_also_where_leaves_are_flags_and_bytes() -> None:
    sides = Sides()
    grid = lay_out([received(sides.segment(1))])
    leaves = {name: torch.from_numpy(leaf) for name, leaf in grid.observations.items()}
    leaves["observation.arm"][int(grid.row_of_step[5])] = 1e30
    few = torch.zeros(grid.steps)
    index = torch.from_numpy(grid.row_of_step)
    actions = torch.from_numpy(grid.actions["action"])
    rows = Rows(leaves, index, None, actions, few, few, few, few, few[:, None])
    assert unlike_the_others(rows, grid, np.ones(grid.steps, bool)) == "a"


def test_an_environment_that_crashes_ends_its_episode_with_all_leaves_that_there_were() -> None:
    class Crashing(Nested):
        def step(self, action: Any) -> Any:
            if self.steps == 3:
                raise ValueError("gone")
            return super().step(action)

    loop = SyncLoop([Nested(), Crashing()], lambda column: Nested())
    collector = Collector(loop, seed=1, first_slot=0, life=0)
    collector.load(PolicyRunner(Sides().trainer.graph_bytes(1)))
    for _ in range(4):
        collector.step()
    segment = collector.cut()
    assert segment is not None
    check_segment(SPEC, segment)
    assert segment.truncated[:, 1].tolist() == [False, False, True, False]
    assert segment.valid[:, 1].tolist() == [True, True, True, False]
    for name, final in segment.final_observations.items():
        np.testing.assert_array_equal(final[0], segment.observations[name][3, 1])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tools", 3, "observation.tools holds values outside its categories"),
        ("tools", -2, "observation.tools holds values outside its categories"),
        ("wanted", 3, "observation.wanted holds values outside its 4 categories"),
        ("seen.1", 2, "observation.seen.1 holds something else than 0 and 1"),
    ],
)
@pytest.mark.parametrize("group", ["observations", "final_observations"])
def test_impossible_values_of_a_peer_are_refused(group: str, name: str, value: int, words: str) -> None:
    segment = Sides().segment(1)
    check_segment(SPEC, segment)
    leaves = {leaf: array.copy() for leaf, array in getattr(segment, group).items()}
    array = leaves[f"observation.{name}"]
    numbers = array.view(np.uint8) if array.dtype == bool else array
    numbers[(-1,) * numbers.ndim] = value
    with pytest.raises(ProtocolError, match=words):
        check_segment(SPEC, dataclasses.replace(segment, **{group: leaves}))


def test_the_graph_has_an_input_for_each_leaf_and_tensorboard_shows_them() -> None:
    trainer = Sides().trainer
    session = onnxruntime.InferenceSession(trainer.graph_bytes(1), providers=["CPUExecutionProvider"])
    inputs = [f"observation.{name}" for name in NAMES] + ["noise"]
    assert [put.name for put in session.get_inputs()] == inputs
    nodes = {node.name for node in GraphDef.FromString(network_graph(trainer.policy, trainer.critic, SPEC)).node}
    assert set(inputs) <= nodes


def changed(**spaces: gym.Space[Any]) -> Spec:
    return spec_of(gym.spaces.Dict({**Nested.observation_space.spaces, **spaces}), Nested.action_space)


def test_remarks_and_differences_name_the_leaf() -> None:
    picture = changed(arm=gym.spaces.Box(0, 255, (32, 32), np.uint8))
    (line,) = remarks(picture, NetworkConfig())
    assert line.startswith("observation.arm of shape (32, 32) go into a perceptron as 1,024 numbers")
    tools = changed(tools=gym.spaces.MultiDiscrete([2, 2]))
    text = difference(tools, SPEC)
    assert "observation.tools choices (2,) from 0..1, 4 in all" in text
    assert "observation.tools choices (2,) from -1..2, 5 in all" in text
    text = difference_of_runs(tools, SPEC)
    assert "observation.tools as MultiDiscrete(2,) in 0..1" in text
    assert "observation.wanted as Discrete(4, start=-1)" in text


BAD_OBSERVATIONS = {
    "another category": (
        lambda good: good | {"wanted": 7},
        "observation.wanted holds 7: this policy takes integers from -1 to 2",
    ),
    "another choice": (lambda good: good | {"tools": [1, 2]}, r"tools holds 2: .* integers from \[1, -1\] to \[2, 1\]"),
    "another shape": (lambda good: good | {"arm": [0.0]}, r"arm is shape \(1,\): this policy takes shape \(2,\)"),
    "half a tuple": (lambda good: good | {"seen": good["seen"][:1]}, "seen is a tuple of 1: expected a tuple of 2"),
    "more": (lambda good: good | {"more": 1}, "the observation holds more, which this policy does not take"),
    "two sizes": (
        lambda good: good | {"wanted": [1, 1]},
        "1 of observation.arm and a batch of 2 of observation.wanted",
    ),
    "one leaf": (
        lambda good: good["arm"],
        "observation is a value of type ndarray and shape .*: expected a dict with the keys arm",
    ),
    "a whole reset": (lambda good: (good, {}), "pass the observation"),
}


@pytest.mark.parametrize("case", BAD_OBSERVATIONS)
def test_what_a_policy_does_not_take_is_named(case: str) -> None:
    change, words = BAD_OBSERVATIONS[case]
    policy = Policy(Sides().trainer.graph_bytes(1))
    good, _ = Nested().reset(seed=1)
    with pytest.raises(dppo.UsageError, match=words) as caught:
        policy.predict(change(good))
    assert "\n" not in str(caught.value)


def test_a_policy_takes_one_observation_or_a_batch() -> None:
    policy = Policy(Sides().trainer.graph_bytes(1))
    observation, _ = Nested().reset(seed=1)
    action, _ = policy.predict(observation)
    batch = {
        "arm": observation["arm"][None].repeat(3, 0),
        "seen": tuple(leaf[None].repeat(3, 0) for leaf in observation["seen"]),
        "tip": [observation["tip"]] * 3,
        "tools": observation["tools"][None].repeat(3, 0),
        "wanted": [observation["wanted"]] * 3,
    }
    assert policy.predict(batch)[0].tolist() == [action] * 3


@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_run_goes_on_is_evaluated_and_filmed(
    vectorization: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, result = gone_on({"id": "nested_env:Nested-v0", "vectorization": vectorization})
    assert result.lengths == (5, 5, 5)
    environment = Nested()
    environment.action_space.seed(1)
    action, _ = dppo.load_policy("run").predict(environment.reset(seed=1)[0])
    assert environment.action_space.contains(action)
