"""`dppo.load_policy`: the same numbers as the evaluation acts with, in the environment's own format."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import msgspec
import numpy as np
import pytest
import torch
from graphs import gaussian_graph
from hypothesis import given
from hypothesis import strategies as st
from perceptrons import policy_for

import dppo
from dppo.actor.envs.env_actions import EnvActions
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.policy import Policy
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.protocol.specs import spec_of
from dppo.watch.evaluate import evaluate

SEEN: list[tuple[Any, Any]] = []  # (observation, action that the environment was given)


class Noting(gym.Env[Any, Any]):
    """Notes what it observed, and what it was given then."""

    def __init__(self, space: str) -> None:
        self.observation_space = gym.spaces.Box(-5, 5, (3,), np.float64)
        self.action_space = SPACES[space]()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._last = self.np_random.uniform(-5, 5, 3)
        return self._last, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        SEEN.append((self._last, action))
        self._steps += 1
        self._last = self.np_random.uniform(-5, 5, 3)
        return self._last, 0.0, self._steps == 5, False, {}


SPACES: dict[str, Callable[[], gym.Space[Any]]] = {
    "discrete": lambda: gym.spaces.Discrete(4),
    "started": lambda: gym.spaces.Discrete(4, start=-2),
    "float32": lambda: gym.spaces.Box(-1, 1, (2,), np.float32),
    "float64": lambda: gym.spaces.Box(np.array([-0.1, -2.0]), np.array([0.3, 0.7]), dtype=np.float64),
    "float16": lambda: gym.spaces.Box(-0.1, 0.3, (2, 2), np.float16),
    "scalar": lambda: gym.spaces.Box(-1, 1, (), np.float64),
    "unbounded": lambda: gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
}


def graph_of(observation: gym.Space[Any], action: gym.Space[Any], *, seed: int = 0) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    spec = spec_of(observation, action)
    policy = policy_for(
        spec, hidden=(8,), activation="tanh", initial_log_std=0.5, action_bounds="clip", normalise_observations=False,
        generator=generator,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return PolicyExporter(policy, spec).graph_bytes(3)


@functools.cache
def cartpole_graph(seed: int = 0) -> bytes:
    return graph_of(*CARTPOLE, seed=seed)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, Any]]]:
    SEEN.clear()
    gym.register("Noting-v0", entry_point=Noting, order_enforce=False)
    yield SEEN
    del gym.registry["Noting-v0"]


@pytest.mark.parametrize("space", SPACES)
def test_it_acts_as_the_evaluation_does(tmp_path: Path, seen: list[tuple[Any, Any]], space: str) -> None:
    environment = Noting(space)
    (tmp_path / "policy.onnx").write_bytes(graph_of(environment.observation_space, environment.action_space))
    (tmp_path / "config.yaml").write_text(f"env: {{id: Noting-v0, kwargs: {{space: {space}}}}}")
    evaluate(str(tmp_path), episodes=4, envs=3)
    policy = dppo.load_policy(tmp_path)
    assert len(seen) >= 20
    for observation, given_action in seen:
        action, state = policy.predict(observation)
        assert state is None
        assert action in environment.action_space
        assert np.array_equal(action, given_action)
        assert np.asarray(action).dtype == environment.action_space.dtype
    batch, _ = policy.predict(np.stack([observation for observation, _ in seen]))
    assert len(batch) == len(seen)
    # of a batch, rounding may differ in the last bits
    np.testing.assert_allclose(batch, np.stack([np.asarray(action) for _, action in seen]), rtol=1e-3, atol=1e-6)


@given(
    low=st.floats(-1e3, 1e3, width=32), width=st.floats(1e-3, 1e3), seed=st.integers(0, 50),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)  # fmt: skip
def test_box_actions_are_those_of_the_environment_whatever_the_bounds(
    low: float, width: float, seed: int, dtype: type[np.floating[Any]]
) -> None:
    with np.errstate(all="ignore"):
        space = gym.spaces.Box(np.array([low], dtype), np.array([low + width], dtype), dtype=dtype)
    leaf = spec_of(gym.spaces.Box(-1, 1, (1,)), space).action[0]
    acted = np.random.default_rng(seed).normal(low, 3 * width, (5, 1)).astype(np.float32)
    clipped = np.clip(acted, np.float32(leaf.low[0]), np.float32(leaf.high[0]))
    ours = np.array(clipped, np.dtype(leaf.env_dtype or leaf.dtype))
    if leaf.low[0] < leaf.high[0] or dtype != np.float64:
        assert np.array_equal(ours, EnvActions(space).of_all(clipped))
    assert ours.dtype == space.dtype


@pytest.mark.parametrize("space", ["started", "float32"])
def test_sampled_actions_are_those_of_the_graph_with_the_noise_of_the_seed(space: str) -> None:
    environment = Noting(space)
    graph = graph_of(environment.observation_space, environment.action_space)
    policy, observations = Policy(graph, seed=7), np.linspace(-1, 1, 30).reshape(10, 3)
    actions, _ = policy.predict(observations, deterministic=False)
    generator, runner = np.random.default_rng(7), PolicyRunner(graph)
    shape = (10, runner.noise_size)
    noise = (
        generator.standard_normal(shape, np.float32)
        if runner.noise_kind == "normal"
        else generator.gumbel(size=shape).astype(np.float32)
    )
    expected = runner.act({"observation": observations.astype(np.float32)}, noise)[1]
    assert np.array_equal(actions, expected)
    again, _ = policy.predict(observations, deterministic=False)
    assert not np.array_equal(actions, again)
    policy.seed(7)
    assert np.array_equal(policy.predict(observations, deterministic=False)[0], actions)
    assert np.array_equal(Policy(graph, seed=7).predict(observations, deterministic=False)[0], actions)


CARTPOLE = (gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2))


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        ([0.0, 0.0, 0.0], "shape (3,): this policy takes shape (4,), or a batch of shape (N, 4)"),
        (np.zeros((2, 3)), "shape (2, 3)"),
        (np.zeros((2, 2, 4)), "shape (2, 2, 4)"),
        (1.0, "shape ()"),
        (np.zeros((0, 4)), "a batch without rows"),
        ([[0.0] * 4, [0.0]], "a list that is no array"),
        ({"observation": 1}, "a dict that is no array of numbers"),
        ("left", "a str that is no array of numbers"),
        (None, "a NoneType that is no array of numbers"),
        (([0.0] * 4, {}), "reset() returns (observation, info): pass the observation"),
        ([0.0, 0.0, np.nan, 0.0], "holds nan: this policy takes finite numbers"),
    ],
)
def test_another_observation_is_refused_in_one_line(observation: Any, words: str) -> None:
    with pytest.raises(dppo.UsageError) as caught:
        Policy(cartpole_graph()).predict(observation)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_observations_of_any_dtype_and_kind_that_can_be_carried() -> None:
    policy = Policy(cartpole_graph())
    expected, _ = policy.predict(np.array([1.0, 0.0, 0.0, 1.0], np.float32))
    assert type(expected) is np.int64
    for observation in ([1, 0, 0, 1], (1.0, 0.0, 0.0, 1.0), np.array([1, 0, 0, 1], bool), torch.tensor([1.0, 0, 0, 1])):
        assert policy.predict(observation)[0] == expected
    for rows in (1, 2, 5, 2, 1):
        actions, _ = policy.predict([[1, 0, 0, 1]] * rows)
        assert actions.shape == (rows,)
        assert actions.dtype == np.int64
        assert (actions == expected).all()


def test_discrete_observations() -> None:
    policy = Policy(graph_of(gym.spaces.Discrete(5, start=2), gym.spaces.Discrete(3)))
    single, _ = policy.predict(4)
    batch, _ = policy.predict(np.array([4, 4, 2]))
    assert single.shape == ()
    assert batch[0] == batch[1] == single
    for wrong in (1, 7, 4.5):
        with pytest.raises(dppo.UsageError, match="this policy takes integers from 2 to 6"):
            policy.predict(wrong)
    with pytest.raises(dppo.UsageError, match=r"batch of shape \(N,\)"):
        policy.predict([[1, 2]])


def test_integer_observations_are_not_cut_off() -> None:
    policy = Policy(graph_of(gym.spaces.Box(0, 255, (2,), np.uint8), gym.spaces.Discrete(3)))
    assert policy.predict([3.0, 255])[0] == policy.predict(np.array([3, 255], np.uint8))[0]
    for wrong in ([-1, 0], [0, 256], [0.5, 0]):
        with pytest.raises(dppo.UsageError, match="what uint8 can hold"):
            policy.predict(wrong)


def test_what_it_returns_is_not_written_again() -> None:
    policy = Policy(graph_of(gym.spaces.Box(-1, 1, (4,)), gym.spaces.Box(-9, 9, (2,))))
    first, _ = policy.predict([1.0, 0, 0, 0])
    kept = first.copy()
    policy.predict([0.0, 1, 0, 0])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"episode_start": True}, "no argument episode_start: where an episode begins, pass state=None"),
        ({"action_mask": [1]}, "no argument action_mask: did you mean action_masks?"),
        ({"lstm_states": None}, "no argument lstm_states: it is state"),
        ({"whatever": 1}, "no argument whatever: it takes observation, state, deterministic, action_masks"),
        ({"deterministic": np.ones(1, bool)}, "deterministic, the third argument of predict, is a ndarray: give True"),
    ],
)
def test_arguments_of_other_libraries_are_answered_by_predict(arguments: dict[str, Any], words: str) -> None:
    policy = Policy(cartpole_graph())
    with pytest.raises(dppo.UsageError, match=re.escape(words)):
        policy.predict(np.zeros(4, np.float32), **arguments)


def test_a_state_is_refused_where_there_is_no_memory() -> None:
    with pytest.raises(dppo.UsageError, match="no memory"):
        Policy(cartpole_graph()).predict([0, 0, 0, 0], state=np.zeros(3))


def test_which_policy(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(dppo.UsageError, match=r"has no policy\.onnx: train first"):
        dppo.load_policy(run)
    (run / "policy.onnx").write_bytes(cartpole_graph())
    with pytest.raises(dppo.UsageError, match=r"has no policy-best\.onnx"):
        dppo.load_policy(run, best=True)
    (run / "policy-best.onnx").write_bytes(cartpole_graph(1))
    (tmp_path / "moved.onnx").write_bytes((run / "policy.onnx").read_bytes())
    observations = np.random.default_rng(1).normal(size=(200, 4))
    newest, best, file, moved = (
        policy.predict(observations)[0].tolist()
        for policy in (
            dppo.load_policy(run),
            dppo.load_policy(str(run), best=True),
            dppo.load_policy(run / "policy-best.onnx"),
            dppo.load_policy(tmp_path / "moved.onnx"),
        )
    )
    assert newest == moved != best == file
    assert dppo.load_policy(run).version == 3


@pytest.mark.parametrize("content", [b"", b"no graph", gaussian_graph(np.zeros((3, 1)), np.zeros(1))])
def test_a_file_that_is_no_policy_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "policy.onnx").write_bytes(content)
    with pytest.raises(dppo.UsageError, match=r"policy\.onnx: this is no policy of dppo: ") as caught:
        dppo.load_policy(tmp_path)
    assert "\n" not in str(caught.value)


def test_acting_needs_neither_torch_nor_gymnasium(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(cartpole_graph())
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'gymnasium', 'onnx', 'zmq', 'matplotlib')));"
        f"import dppo; print(dppo.load_policy({str(tmp_path / 'policy.onnx')!r}).predict([0, 0, 0, 0]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_dtype_of_actions_travels_in_the_spec() -> None:
    leaf = spec_of(CARTPOLE[0], SPACES["float64"]()).action[0]
    assert leaf.env_dtype == "<f8"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(leaf), type=type(leaf)) == leaf
    assert spec_of(CARTPOLE[0], SPACES["float32"]()).action[0].env_dtype == ""
