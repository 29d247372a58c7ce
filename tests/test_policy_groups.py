"""Rows in groups: what the policy computes for a slot does not depend on which others its actor has."""

import numpy as np
import pytest
from graphs import categorical_graph
from hypothesis import given
from hypothesis import strategies as st

from dppo.actor.sampling.policy_groups import PolicyGroups, groups_of, in_groups
from dppo.actor.sampling.policy_runner import MAX_GROUP_ROWS, PolicyRunner
from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.onnx_export import GROUP_ROWS, PolicyExporter, group_metadata, with_metadata
from dppo.protocol.errors import ProtocolError
from dppo.protocol.recurrent_state import RESET, STATE, with_state
from dppo.protocol.specs import Leaf, Spec

SLOTS = 32
SPEC = Spec(observation=(Leaf("observation", "<f4", (17,), "box"),), action=(Leaf("action", "<f4", (6,), "box"),))


@pytest.fixture(scope="module")
def graph() -> bytes:
    """A perceptron that 17 numbers go into: with 1, 3, 5 or 7 rows its log_prob differs in the last bit from 8."""
    policy, _ = build_networks(SPEC, NetworkConfig(), 1)
    return PolicyExporter(policy, SPEC).graph_bytes(1) + group_metadata()


def acted(graph: bytes, sizes: list[int]) -> list[np.ndarray]:
    """Actions, env_actions and log_probs of all slots, divided among actors of these sizes."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((SLOTS, 17)).astype(np.float32), rng.standard_normal((SLOTS, 6)).astype(np.float32)
    found: list[list[np.ndarray]] = []
    first = 0
    for size in sizes:
        policy = in_groups(PolicyRunner(graph), first_slot=first, envs=size)
        for _ in range(2):  # the arrays of the first call are used again
            actions, env_action, log_probs = policy.act(
                {"observation": rows[0][first : first + size]}, rows[1][first : first + size]
            )
        assert isinstance(env_action, np.ndarray)
        found.append([actions["action"].copy(), env_action.copy(), log_probs.copy()])
        first += size
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 32])
def test_a_row_is_the_same_in_every_division(graph: bytes, size: int) -> None:
    sizes = [size] * (SLOTS // size) + [SLOTS % size] * (SLOTS % size > 0)
    for found, expected in zip(acted(graph, sizes), acted(graph, [GROUP_ROWS] * (SLOTS // GROUP_ROWS)), strict=True):
        assert found.tobytes() == expected.tobytes()


def test_the_state_of_a_memory_is_handed_on_for_each_row() -> None:
    network = NetworkConfig(memory="gru", memory_width=8)
    spec = with_state(SPEC, 8)
    policy, _ = build_networks(spec, network, 1)
    graph = PolicyExporter(policy, spec).graph_bytes(1)
    rng = np.random.default_rng(1)
    given = {"observation": rng.standard_normal((5, 17)).astype(np.float32)}
    given |= {STATE: rng.standard_normal((5, 8)).astype(np.float32), RESET: np.arange(5) == 2}
    noise = np.zeros((5, 6), np.float32)
    found = []
    for content in (graph, graph + group_metadata()):
        runner = in_groups(PolicyRunner(content), first_slot=6, envs=5)
        runner.act(given, noise)
        found.append(runner.after[STATE].copy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert found[1].any(axis=1).all()


@given(first=st.integers(0, 40), envs=st.integers(1, 40), size=st.integers(1, 12))
def test_each_slot_has_the_place_of_its_number(first: int, envs: int, size: int) -> None:
    found = []
    for group in groups_of(first, envs, size):
        rows, places = range(envs)[group.rows], range(size)[group.places]
        assert len({(first + row) // size for row in rows}) == 1
        assert [(first + row) % size for row in rows] == list(places)
        found += rows
    assert found == list(range(envs))


def test_an_actor_that_has_one_whole_group_needs_no_copies(graph: bytes) -> None:
    runner = PolicyRunner(graph)
    assert in_groups(runner, first_slot=GROUP_ROWS, envs=GROUP_ROWS) is runner
    for first, envs in ((0, GROUP_ROWS - 1), (1, GROUP_ROWS), (0, 2 * GROUP_ROWS)):
        assert isinstance(in_groups(runner, first_slot=first, envs=envs), PolicyGroups)


def test_without_the_metadata_all_rows_are_computed_at_once() -> None:
    runner = PolicyRunner(categorical_graph(np.ones((2, 2))))
    assert in_groups(runner, first_slot=3, envs=5) is runner


@pytest.mark.parametrize("text", ["-1", "two", str(MAX_GROUP_ROWS + 1)])
def test_groups_of_an_unreasonable_size_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="group_rows"):
        PolicyRunner(with_metadata(categorical_graph(np.ones((2, 2))), {"dppo.group_rows": text}))
