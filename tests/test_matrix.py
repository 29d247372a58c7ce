"""Observations x actions x masks x networks x memories x staleness x vectorisations, combined: everything that no
listed rule refuses trains, resumes to the same bits, is evaluated, and loses no step of any environment.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import combined_env
import numpy as np
import pytest
import torch
from combined_env import MASKS, MODES, Combined, counted
from matrix_factors import (
    EXPLORATIONS,
    FACTORS,
    MEMORIES,
    NETWORKS,
    RARE,
    REFUSED,
    STACKED,
    STALENESS,
    Combination,
    refusal,
)
from processes import assert_closes
from trainer_batches import assert_bit_equal

import dppo
from dppo.actor.envs.interface import Environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.models.graph_check import check_graph
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import checked_segment
from dppo.learner.storage import checkpoint
from dppo.networks import LeafEncoder
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import pack

COMBINATIONS = 50
ENVS = 2
BATCH = 128


class Halves(torch.nn.Module):
    """An encoder of a user's, for leaves of any kind: numbers and flags side by side through a layer."""

    def __init__(self, leaves: Any) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(LeafEncoder(leaf, normalise=leaf.kind == "box") for leaf in leaves)
        self.layer = torch.nn.Linear(sum(leaf.features for leaf in leaves), 6)

    def forward(self, *leaves: torch.Tensor) -> torch.Tensor:
        numbers = [part(leaf) for part, leaf in zip(self.parts, leaves, strict=True)]
        halves: torch.Tensor = torch.tanh(self.layer(torch.cat(numbers, 1)))
        return halves


def make_encoder(leaves: Any) -> torch.nn.Module:
    return Halves(leaves)


def pairs(of: Combination) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return set(itertools.combinations(of.items(), 2))


def combinations() -> Iterator[Combination]:
    """As many as wanted that are not refused, each of a few random ones the one with the most pairs of values that
    were not together yet.
    """
    random = np.random.default_rng(11)
    seen: set[Any] = set()
    left = Counter(RARE)
    for _ in range(COMBINATIONS):
        drawn = [{name: values[random.integers(len(values))] for name, values in FACTORS.items()} for _ in range(400)]
        allowed = [of for of in drawn if not refusal(of) and all(left[value] for value in RARE if value in of.values())]
        best = max(allowed, key=lambda of: len(pairs(of) - seen))
        seen |= pairs(best)
        left.subtract(best.values())
        yield best


def name_of(of: Combination) -> str:
    return "-".join(value.replace(" ", "_") for value in of.values())


WORKING = {name_of(of): of for of in combinations()}
IMPALA = [of for of in WORKING.values() if of["network"] == "impala"][:4]
WORKING |= {name_of(of): of for of in ({**of, "network": "stacked"} for of in IMPALA)}


def test_there_are_enough_combinations_and_every_value_is_in_some() -> None:
    assert len(WORKING) >= 48
    for name, values in FACTORS.items():
        assert {of[name] for of in WORKING.values()} == {*values, *(STACKED if name == "network" else ())}


def env_settings(of: Combination, counts: str = "") -> dict[str, Any]:
    native = of["vectorisation"] in MODES
    kwargs = {"observation": of["observation"], "action": of["action"], "mask": of["mask"], "counts": counts}
    return {
        "id": "combined_env:Combined-v0",
        "kwargs": {**kwargs, "autoreset": of["vectorisation"]} if native else kwargs,
        "vectorization": "native" if native else of["vectorisation"],
        "action_mask": "auto" if of["vectorisation"] == "sync" and of["mask"] != MASKS[3] else of["mask"],
    }


def network_settings(of: Combination) -> dict[str, Any]:
    small = {"policy_hidden": (8,), "critic_hidden": (8,)}
    return {
        **small,
        **(NETWORKS | STACKED)[of["network"]],
        **MEMORIES[of["memory"]],
        **EXPLORATIONS[of["exploration"]],
    }


def run_settings(of: Combination, counts: str) -> dict[str, Any]:
    return {
        "env": env_settings(of, counts),
        "network": network_settings(of),
        "ppo": {"minibatch_steps": 32, "epochs": 2},
        "collect": {"batch_steps": BATCH, "envs_per_actor": ENVS},
        "actors": 0,
        "directory": "run",
        "verbose": False,
    }


@pytest.mark.thin(7)
@pytest.mark.slow
@pytest.mark.parametrize("of", WORKING.values(), ids=WORKING)
def test_a_combination_trains_resumes_and_is_evaluated(
    of: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    counts = tmp_path / "counts"
    counts.mkdir()
    settings = run_settings(of, str(counts))
    dppo.train(**settings, total_steps=2 * BATCH, evaluation_episodes=0)
    dppo.train(**settings, total_steps=3 * BATCH, evaluation_episodes=0)
    steps = counted(counts)
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [1, 2, 3]
    assert max(line["first_pass_ratio_error"] for line in lines) < 1e-4
    assert sum(line["env_restarts"] for line in lines) == 0, "an action was outside its space, or forbidden"
    ledger = json.loads(Path("run/ledger.json").read_text())
    assert_closes(ledger)
    assert ledger["total"]["trained"] >= 3 * BATCH
    assert ledger["total"]["sealed"] == steps, "a step was lost"
    assert dppo.evaluate("run", episodes=2).episodes == 2
    _predict(of)
    _same_bits_after_resuming(of, tmp_path / "saved")


def _predict(of: Combination) -> None:
    """A policy takes the environment's own observations and masks, and gives its own actions."""
    env = Combined(of["observation"], of["action"], of["mask"])
    observation, _ = env.reset(seed=1)
    policy, state = dppo.load_policy("run"), None
    for deterministic in (True, False):
        masks = env.legal if of["mask"] in {"info", "method"} else None
        action, state = policy.predict(observation, state, deterministic=deterministic, action_masks=masks)
        assert (state is None) == (of["memory"] == "forgets" and of["network"] not in STACKED)
        observation = env.step(action)[0]


def environments(of: Combination) -> Environments:
    """Its environments in this process."""
    kwargs = {"observation": of["observation"], "action": of["action"], "mask": of["mask"]}
    mask = of["mask"]  # said, where runs find it out by themselves
    if of["vectorisation"] in MODES:
        vector = combined_env.make_vector(ENVS, of["vectorisation"], **kwargs)
        return VectorEnvironments(vector, "test", "per_column", action_mask=mask)
    return SyncLoop([Combined(**kwargs) for _ in range(ENVS)], action_mask=mask)


class Sides:
    """An actor without a socket, and the trainers that its segments go to."""

    def __init__(self, of: Combination) -> None:
        self._environments = environments(of)
        self._network = NetworkConfig(**network_settings(of))
        _, self._correction = STALENESS[of["staleness"]]
        self.spec = rollout_spec(self._environments.spec, self._network)
        self._collector = Collector(self._environments, seed=1, first_slot=0, life=0)
        self._sent = 0

    def trainer(self) -> Trainer:
        correction: Any = self._correction
        ppo = PpoConfig(minibatch_steps=16, epochs=2, entropy_coefficient=0.01, correction=correction)
        return Trainer(self._environments.spec, ppo=ppo, network=self._network, seed=1, total_steps=1000)

    def collected(self, graph: bytes, version: int) -> Received:
        """Return the part that the learner accepts of one segment that this graph has acted."""
        self._collector.load(PolicyRunner(graph))
        for _ in range(24):
            self._collector.step()
        segment = self._collector.cut()
        assert segment is not None
        self._sent += 1
        counts = segment.counts
        header = Rollout(self._sent, 1, version, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
        accepted = checked_segment(self.spec, header, bytes(pack(self.spec, segment)), envs=ENVS)
        return Received("actor", b"12345678", self._sent, 0, accepted, 1, version)


def _same_bits_after_resuming(of: Combination, folder: Path) -> None:
    """A trainer that was saved and loaded does in its next update what the saved one does, with the batch in hand: with
    staleness, rollouts of older policies and of the newest, one behind the other.
    """
    sides = Sides(of)
    most, _ = STALENESS[of["staleness"]]
    first, second = sides.trainer(), sides.trainer()
    in_hand: list[Received] = []
    for version in range(1, max(most, 1) + 1):
        graph = first.graph_bytes(version)
        batch = sides.collected(graph, version)
        if most:
            in_hand.append(sides.collected(graph, version))
        first.update([batch], version)
    newest = max(most, 1) + 1
    tensors = checkpoint.with_rollouts(first.tensors(), past=first.past())
    checkpoint.save(folder, 1, tensors, {"trainer": first.counters()})
    found = checkpoint.newest(folder, pytest.fail)
    assert found is not None
    second.load(found.tensors, found.state["trainer"], found.past)
    in_hand.append(sides.collected(first.graph_bytes(newest), newest))
    for trainer in (first, second):
        report = trainer.update(in_hand, newest)
        assert report.ratio_excess <= 1, report.first_pass_ratio_error
        assert report.staleness_max == most
        assert report.steps_left_out == 0
    assert_bit_equal(first.tensors(), second.tensors())
    graph = first.graph_bytes(newest + 1)
    assert graph == second.graph_bytes(newest + 1)
    check_graph(graph, first.policy, sides.spec)


BARRED = {
    "masks of numbers alone": {"action": "box", "mask": "info", "vectorisation": "async"},
    "a convolution without an image": {"network": "impala"},
    "an embedding of nothing": {"network": "embedding"},
    "a tanh without bounds": {"action": "endless box", "exploration": "squash"},
    "a Beta without bounds": {"action": "tuple", "exploration": "beta"},
    "noise of states for choices": {"action": "flags", "exploration": "state"},
    "coloured noise for choices": {"action": "discrete", "exploration": "coloured"},
    "a memory behind one of two trunks": {"network": "two trunks", "memory": "gru"},
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", REFUSED)
def test_what_is_refused_is_refused_by_its_rule_and_leaves_nothing(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = {name: values[0] for name, values in FACTORS.items()}
    of = {**plain, "action": "discrete", **BARRED[rule]}
    applies, words = REFUSED[rule]
    assert applies(of)
    with pytest.raises(dppo.UsageError, match=re.escape(words)) as caught:
        dppo.train(**run_settings(of, ""), total_steps=BATCH)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
