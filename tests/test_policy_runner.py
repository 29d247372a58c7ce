import numpy as np
import pytest
from graphs import categorical_graph, gaussian_graph, tabular_graph
from onnx import TensorProto, helper

from dppo.actor.sampling import policy_runner
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.protocol.errors import ProtocolError

WEIGHTS = np.array([[0.5, -1.0], [2.0, 0.25], [-0.75, 1.0]], np.float32)
LOG_STD = np.array([-0.5, 0.3], np.float32)
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_a_runner_knows_what_the_graph_says_of_itself() -> None:
    runner = PolicyRunner(gaussian_graph(WEIGHTS, LOG_STD, version=17))
    assert (runner.noise_kind, runner.noise_size, runner.version) == ("normal", 2, 17)
    assert PolicyRunner(categorical_graph(WEIGHTS)).noise_kind == "gumbel"


@pytest.mark.parametrize("envs", [1, 8])
def test_a_gaussian_policy_is_mean_plus_std_times_noise(envs: int) -> None:
    runner = PolicyRunner(gaussian_graph(WEIGHTS, LOG_STD, bound=0.5))
    for _ in range(3):  # the first call finds out the shapes, later ones use them
        observation, noise = normal(envs, 3), normal(envs, 2)
        actions, env_action, log_prob = runner.act({"observation": observation}, noise)
        mean, std = observation @ WEIGHTS, np.exp(LOG_STD)
        expected = mean + std * noise
        density = np.exp(-(((expected - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
        assert list(actions) == ["action"]
        np.testing.assert_allclose(actions["action"], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(env_action, np.clip(expected, -0.5, 0.5), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(log_prob, np.log(density).sum(axis=1), rtol=1e-4, atol=1e-5)
        assert log_prob.shape == (envs,)


def test_a_categorical_policy_takes_the_highest_log_probability_plus_noise() -> None:
    runner = PolicyRunner(categorical_graph(WEIGHTS, start=5))
    observation, noise = normal(50, 3), normal(50, 2)
    actions, env_action, log_prob = runner.act({"observation": observation}, noise)
    log_probs = log_softmax(observation @ WEIGHTS)
    chosen = np.argmax(log_probs + noise, axis=1)
    np.testing.assert_array_equal(actions["action"], chosen)
    np.testing.assert_array_equal(env_action, chosen + 5)
    np.testing.assert_allclose(log_prob, log_probs[np.arange(50), chosen], rtol=1e-4, atol=1e-5)
    assert actions["action"].dtype == np.int64


def test_gumbel_noise_samples_the_categorical_distribution() -> None:
    runner = PolicyRunner(tabular_graph(np.log([[0.1, 0.6, 0.3]])))
    noise = np.random.default_rng(1).gumbel(size=(20_000, 3)).astype(np.float32)
    actions, _, _ = runner.act({"observation": np.zeros(20_000, np.int64)}, noise)
    np.testing.assert_allclose(np.bincount(actions["action"]) / 20_000, [0.1, 0.6, 0.3], atol=0.015)


def test_discrete_observations_have_no_dimension_but_the_columns() -> None:
    runner = PolicyRunner(tabular_graph(np.eye(4) * 9))
    actions, _, _ = runner.act({"observation": np.array([2, 0, 3])}, np.zeros((3, 4), np.float32))
    assert actions["action"].tolist() == [2, 0, 3]


def test_the_number_of_environments_may_change_between_calls() -> None:
    runner = PolicyRunner(gaussian_graph(WEIGHTS, LOG_STD))
    for envs in (2, 5, 1):
        actions, _, log_prob = runner.act({"observation": normal(envs, 3)}, normal(envs, 2))
        assert (len(actions["action"]), len(log_prob)) == (envs, envs)


def test_observations_may_be_views_in_any_order() -> None:
    runner = PolicyRunner(gaussian_graph(WEIGHTS, LOG_STD))
    observation, noise = np.asfortranarray(normal(4, 3)), normal(8, 2)[::2]
    for _ in range(2):
        actions, _, _ = runner.act({"observation": observation}, noise)
        np.testing.assert_allclose(actions["action"], observation @ WEIGHTS + np.exp(LOG_STD) * noise, rtol=1e-4)


@pytest.mark.parametrize("graph", [b"", b"junk", gaussian_graph(WEIGHTS, LOG_STD)[:-200]])
def test_a_graph_that_cannot_be_read_is_the_peers_fault(graph: bytes) -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        PolicyRunner(graph)


def identity_graph(names: tuple[str, str], noise: list[int | str], metadata: dict[str, str]) -> bytes:
    """Both outputs are the noise, under the given names."""
    nodes = [helper.make_node("Identity", ["noise"], [name]) for name in names]
    value = helper.make_tensor_value_info
    outputs = [value(name, TensorProto.FLOAT, noise) for name in names]
    graph = helper.make_graph(nodes, "policy", [value("noise", TensorProto.FLOAT, noise)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


SAID = {"dppo.noise": "normal", "dppo.version": "1"}


@pytest.mark.parametrize(
    ("names", "noise", "metadata", "said"),
    [
        (("env_action", "logits"), ["E", 2], SAID, "lacks log_prob"),
        (("env_action", "log_prob"), ["E", "n"], SAID, "fixed n"),
        (("env_action", "log_prob"), ["E"], SAID, "fixed n"),
        (("env_action", "log_prob"), ["E", 2], SAID | {"dppo.noise": "white"}, "kind 'white'"),
        (("env_action", "log_prob"), ["E", 2], {"dppo.noise": "normal"}, "version"),
        (("env_action", "log_prob"), ["E", 2], SAID | {"dppo.version": "-1"}, "version"),
    ],
)
def test_a_graph_that_lacks_what_an_actor_needs_is_the_peers_fault(
    names: tuple[str, str], noise: list[int | str], metadata: dict[str, str], said: str
) -> None:
    with pytest.raises(ProtocolError, match=said):
        PolicyRunner(identity_graph(names, noise, metadata))


@pytest.mark.parametrize("graph", [gaussian_graph(WEIGHTS, LOG_STD), categorical_graph(WEIGHTS)])
def test_a_graph_that_is_made_ready_the_short_way_gives_the_same_numbers(
    graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(graph) <= policy_runner.SMALL_GRAPH
    short = PolicyRunner(graph)
    monkeypatch.setattr(policy_runner, "SMALL_GRAPH", 0)
    whole = PolicyRunner(graph)
    for envs in (1, 7, 16):
        given, noise = {"observation": normal(envs, 3)}, normal(envs, 2)
        actions, env_action, log_prob = short.act(given, noise)
        expected_actions, expected_env_action, expected_log_prob = whole.act(given, noise)
        np.testing.assert_array_equal(actions["action"], expected_actions["action"])
        np.testing.assert_array_equal(env_action, expected_env_action)
        np.testing.assert_array_equal(log_prob, expected_log_prob)
