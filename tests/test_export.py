import gymnasium as gym
import msgspec
import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
import torch
from perceptrons import policy_for

from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import PolicyExporter, _slot
from dppo.protocol.errors import DppoError
from dppo.protocol.specs import Spec, spec_of

CASES = {
    "box to box": (gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Box(-2, 2, (2,))),
    "box to discrete": (gym.spaces.Box(-np.inf, np.inf, (4,)), gym.spaces.Discrete(3, start=1)),
    "discrete to discrete": (gym.spaces.Discrete(6), gym.spaces.Discrete(2)),
    "images to a scalar": (gym.spaces.Box(0, 255, (4, 4, 2), np.int16), gym.spaces.Box(0, 10, ())),
    "scalar to matrix": (gym.spaces.Box(-np.inf, np.inf, ()), gym.spaces.Box(-1, np.inf, (2, 2))),
}


def made(observation: gym.Space, action: gym.Space) -> tuple[Spec, PolicyNetwork]:
    spec = spec_of(observation, action)
    policy = policy_for(
        spec,
        hidden=(16, 16),  # two layers of one shape with equal (zero) biases
        activation="tanh",
        initial_log_std=-1.0,
        action_bounds="rescale",
        normalise_observations=True,
        generator=torch.Generator().manual_seed(3),
    )
    return spec, policy


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def inputs(spec: Spec, policy: PolicyNetwork, E: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    leaf = spec.observation[0]
    high = leaf.categories or (256 if leaf.dtype == "|u1" else 0)
    observation = rng.integers(0, high, (E, *leaf.shape)) if high else rng.normal(size=(E, *leaf.shape))
    noise = rng.gumbel(size=(E, policy.outputs)) if policy.noise == "gumbel" else rng.normal(size=(E, policy.outputs))
    return {"observation": observation.astype(leaf.dtype), "noise": noise.astype(np.float32)}


def assert_same(session: onnxruntime.InferenceSession, policy: PolicyNetwork, feed: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        expected = policy(torch.from_numpy(feed["observation"]), torch.from_numpy(feed["noise"]))
    for got, want in zip(session.run(["action", "env_action", "log_prob"], feed), expected, strict=True):
        assert got.dtype == want.numpy().dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want.numpy(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_graph_computes_what_the_policy_computes_also_after_a_weight_swap(case: str) -> None:
    spec, policy = made(*CASES[case])
    exporter = PolicyExporter(policy, spec)
    session = session_of(exporter.graph_bytes(0))
    for E in (1, 2, 7):
        assert_same(session, policy, inputs(spec, policy, E, seed=E))
    with torch.no_grad():
        for tensor in policy.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape) - 0.5)
    session = session_of(exporter.graph_bytes(1))
    for E in (1, 5):
        assert_same(session, policy, inputs(spec, policy, E, seed=E))


def test_zero_noise_gives_the_same_action_every_time() -> None:
    spec, policy = made(*CASES["box to box"])
    session = session_of(PolicyExporter(policy, spec).graph_bytes(0))
    feed = inputs(spec, policy, 4, seed=0) | {"noise": np.zeros((4, 2), np.float32)}
    first, second = session.run(["env_action"], feed)[0], session.run(["env_action"], feed)[0]
    np.testing.assert_array_equal(first, second)
    with torch.no_grad():
        mean = policy.body(policy.encoder(torch.from_numpy(feed["observation"])))
    np.testing.assert_allclose(session.run(["action"], feed)[0], mean, atol=1e-6)


def test_the_metadata_say_how_to_feed_the_graph() -> None:
    for case, noise in (("box to box", "normal"), ("box to discrete", "gumbel")):
        spec, policy = made(*CASES[case])
        exporter = PolicyExporter(policy, spec)
        exporter.graph_bytes(3)
        metadata = session_of(exporter.graph_bytes(4)).get_modelmeta().custom_metadata_map
        assert metadata["dppo.noise"] == noise
        assert metadata["dppo.version"] == "4"
        assert msgspec.json.decode(metadata["dppo.spec"].encode(), type=Spec) == spec


def test_equal_weights_give_equal_bytes() -> None:
    spec, policy = made(*CASES["box to box"])
    exporter = PolicyExporter(policy, spec)
    assert exporter.graph_bytes(1) == exporter.graph_bytes(1) == PolicyExporter(policy, spec).graph_bytes(1)


def test_the_graph_passes_the_checker_and_exporting_leaves_the_policy_alone() -> None:
    spec, policy = made(*CASES["box to box"])
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    onnx.checker.check_model(onnx.load_from_string(PolicyExporter(policy, spec).graph_bytes(0)), full_check=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


def test_a_weight_that_the_exporter_hid_is_an_error_that_names_it() -> None:
    with pytest.raises(DppoError, match="log_std"):
        _slot({}, "log_std", torch.zeros(2))
    with pytest.raises(DppoError, match="body"):
        _slot(
            {"body": onnx.helper.make_tensor("body", onnx.TensorProto.FLOAT, [3, 2], [0.0] * 6)},
            "body",
            torch.zeros(2, 3),
        )


def test_memory_does_not_grow_with_the_versions_published() -> None:
    """Found by half an hour of chaos: the graph's message kept the weights of every version there ever was."""
    spec = spec_of(gym.spaces.Box(-np.inf, np.inf, (4,)), gym.spaces.Discrete(2))
    policy = policy_for(
        spec,
        hidden=(512, 512),
        activation="tanh",
        initial_log_std=-1.0,
        action_bounds="rescale",
        normalise_observations=True,
        generator=torch.Generator().manual_seed(3),
    )
    exporter = PolicyExporter(policy, spec)
    graph = exporter.graph_bytes(0)
    assert len(graph) > 1e6
    before = psutil.Process().memory_info().rss
    for version in range(100):
        exporter.graph_bytes(version)
    assert psutil.Process().memory_info().rss - before < 20 * len(graph)
