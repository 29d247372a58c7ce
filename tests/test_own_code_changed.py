"""Code of a user's networks that changes while a run rests: refused where it computes otherwise."""

import logging
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from test_own_networks import CONTINUOUS, DISCRETE, PPO, trained, trainer_of

import dppo
from dppo.learner.config import NetworkConfig
from dppo.learner.models.building import build_networks
from dppo.learner.models.fixed_outputs import difference, fixed_outputs
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.storage import checkpoint
from dppo.learner.storage.initial_weights import begin_from, find_source
from dppo.learner.storage.network_record import KEY, load_same, record
from dppo.local.network_check import Task, main
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec

CODE = """
import torch
from torch import nn
from dppo.networks import Categorical, LeafEncoder

class Waves(nn.Module):
    def __init__(self, leaf):
        super().__init__()
        self.leaf = LeafEncoder(leaf, normalise=True)
        self.layer = nn.Linear(leaf.features, 5)
    def forward(self, observation):
        return self.layer(self.leaf(observation)).sin()

def make_encoder(leaves):
    return Waves(leaves[0])

class Bounded(nn.Module):
    def __init__(self, inputs, choices):
        super().__init__()
        self.layer = nn.Linear(inputs, choices)
    def forward(self, outputs):
        return Categorical((2 * self.layer(outputs).tanh()).log_softmax(-1))

def make_head(layout, inputs):
    return Bounded(inputs, layout.choices[0])
"""
ENCODER = {"encoder": "rewritten:make_encoder"}
BOTH = {**ENCODER, "head": "rewritten:make_head", "critic_encoder": "own"}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes the module with an edit, as if another process had not imported it yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def write(old: str = "", new: str = "") -> None:
        assert old in CODE
        (tmp_path / "rewritten.py").write_text(CODE.replace(old, new) if old else CODE)
        sys.modules.pop("rewritten", None)

    write()
    yield write
    sys.modules.pop("rewritten", None)


def config(**own: Any) -> NetworkConfig:
    return NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), **own)


def saved(trainer: Trainer, network: NetworkConfig, spec: Spec, run: Path) -> checkpoint.Checkpoint:
    state = {"trainer": trainer.counters(), "progress": {"updates": 2, "steps": 9}, "spec": msgspec.to_builtins(spec)}
    checkpoint.save(run / "checkpoints", 2, trainer.tensors(), {**state, "env": "E-v0", **record(trainer, network)})
    found = checkpoint.newest(run / "checkpoints", pytest.fail)
    assert found is not None
    return found


@pytest.mark.parametrize(("old", "new", "differs"), [("", "", False), ("sin()", "cos()", True)])
def test_outputs_on_fixed_observations_tell_whether_code_computes_the_same(
    code: Any, old: str, new: str, *, differs: bool
) -> None:
    network = config(**BOTH)
    policy, critic = build_networks(DISCRETE, network, 1)
    code(old, new)
    others = build_networks(DISCRETE, network, 1)
    text = difference(fixed_outputs(policy, critic), fixed_outputs(*others))
    assert bool(re.fullmatch(r"its encoder gives \S+ instead of \S+", text)) == differs


CHANGES = {
    "a function of the encoder": (
        ENCODER,
        ".sin()",
        ".cos()",
        "encoder=rewritten:make_encoder computes .*its encoder",
    ),
    "a shift": (ENCODER, "return self.layer(", "return 1e-2 + self.layer(", "its encoder gives"),
    "what is normalised": (ENCODER, "normalise=True", "normalise=False", "is unknown"),
    "a head": (
        BOTH,
        "(2 * self",
        "(3 * self",
        "make_encoder and network.head=rewritten:make_head .*log_prob",
    ),
    "a width": (ENCODER, "features, 5", "features, 6", r"does not make the network .* shape \(5, 3\), not \(6, 3\)"),
}


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("case", CHANGES)
def test_code_that_computes_otherwise_is_refused_in_one_line(case: str, code: Any, tmp_path: Path) -> None:
    own, old, new, words = CHANGES[case]
    spec, network = DISCRETE if "head" in own else CONTINUOUS, config(**own)
    found = saved(trained(trainer_of(spec, network), range(2)), network, spec, tmp_path / "run")
    code(old, new)
    with pytest.raises(UsageError, match=words) as caught:
        load_same(trainer_of(spec, network), found, network, tmp_path / "run")
    text = str(caught.value)
    assert re.search(r" at update 2 \(\d{4}-\d\d-\d\d \d\d:\d\d\)", text)
    assert "A run keeps its network: put the code back, or begin another run: --run.new" in text
    assert ("--init-from" in text) == (case not in ("a width", "what is normalised"))
    assert "\n" not in text


SAME = {
    "nothing": ("", ""),
    "a comment": ("class Waves", "# waves\nclass Waves"),
    "an equal formula": ("return self.layer(self.leaf(observation)).sin()", "x = self.layer(self.leaf(observation))\n"
                         "        return -(-x).sin()"),
}  # fmt: skip


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.parametrize("case", SAME)
def test_code_that_computes_the_same_goes_on_to_the_bit(case: str, code: Any, tmp_path: Path) -> None:
    network = config(**BOTH)
    trainer = trained(trainer_of(DISCRETE, network), range(2))
    found = saved(trainer, network, DISCRETE, tmp_path)
    code(*SAME[case])
    again = trainer_of(DISCRETE, network, seed=1)
    load_same(again, found, network, tmp_path)
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in trainer.tensors().items())


@pytest.mark.slow
def test_what_was_not_recorded_is_not_compared(code: Any, tmp_path: Path) -> None:
    built_in = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
    assert record(trainer_of(CONTINUOUS, built_in), built_in) == {}
    network = config(**ENCODER)
    found = saved(trained(trainer_of(CONTINUOUS, network), range(1)), network, CONTINUOUS, tmp_path)
    code(".sin()", ".cos()")
    of_an_earlier_release = {name: value for name, value in found.state.items() if name != KEY}
    found = checkpoint.Checkpoint(found.path, found.update, found.tensors, of_an_earlier_release)
    load_same(trainer_of(CONTINUOUS, network), found, network, tmp_path)
    drawn_otherwise = {**of_an_earlier_release, KEY: {"inputs": 0, "outputs": {}}}
    found = checkpoint.Checkpoint(found.path, found.update, found.tensors, drawn_otherwise)
    load_same(trainer_of(CONTINUOUS, network), found, network, tmp_path)


@pytest.mark.slow
def test_weights_that_begin_another_run_in_other_code_are_named(
    code: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = config(**ENCODER)
    saved(trained(trainer_of(CONTINUOUS, network), range(2)), network, CONTINUOUS, tmp_path / "first")
    source = find_source(str(tmp_path / "first"), "newest")
    begin_from(trainer_of(CONTINUOUS, network), source, CONTINUOUS)
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    code(".sin()", ".cos()")
    begin_from(trainer_of(CONTINUOUS, network), source, CONTINUOUS)
    (line,) = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert re.search(r"run\.init_from=.*first: the network computes something else than there \(its encoder", line)


@pytest.mark.slow
def test_the_process_that_tries_networks_refuses_them_before_a_run_starts(
    code: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = config(**ENCODER)
    saved(trained(trainer_of(CONTINUOUS, network), range(2)), network, CONTINUOUS, tmp_path / "run")
    task = msgspec.msgpack.encode(Task(network, 1, CONTINUOUS, PPO, str(tmp_path / "run")))
    assert main(task) == 0
    code(".sin()", ".cos()")
    assert main(task) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dppo: error: network.encoder=rewritten:make_encoder computes something else than at update")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_run_whose_code_changed_is_refused_untouched_and_goes_on_once_it_is_back(code: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "env": "CartPole-v1",
        "actors": 0,
        "directory": "run",
        "verbose": False,
        "evaluation_episodes": 0,
        "collect": {"batch_steps": 256},
        "network": BOTH,
    }
    dppo.train(**settings, total_steps=512)
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code(".sin()", ".cos()")
    with pytest.raises(dppo.UsageError, match=r"computes something else .* begin another run: new=True, or from its"):
        dppo.train(**settings, total_steps=1024)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files
    code("class Waves", "# as it was\nclass Waves")
    dppo.train(**settings, total_steps=1024)
    code(".sin()", ".cos()")
    other = dppo.train(**{**settings, "directory": "other"}, total_steps=512, init_from="run")
    assert other.steps >= 512
