"""A run that begins with what another one has learnt: which checkpoint, what is taken, and what must be the same."""

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dppo.learner.config import LearnerConfig, NetworkConfig, RunConfig
from dppo.learner.opening import open_run
from dppo.learner.run import Run
from dppo.learner.storage.initial_weights import difference, find_source
from dppo.learner.storage.settings_history import KeptSettings
from dppo.local.launching import checked
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Leaf, Spec
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml

SPEC = Spec((Leaf("observation", "<f4", (3,), "box"),), (Leaf("action", "<f4", (1,), "box", low=(-1.0,), high=(1.0,)),))
CONFIG = LearnerConfig(
    network=NetworkConfig(policy_hidden=(4,), critic_hidden=(4,)),
    run=RunConfig(checkpoint_seconds=0.0, checkpoint_share=0.0, tensorboard=False),
)


def config(path: Path, **run: Any) -> LearnerConfig:
    return replace(CONFIG, run=dataclasses.replace(CONFIG.run, directory=str(path), **run))


def opened(config: LearnerConfig) -> Run:
    settings = KeptSettings(dump_yaml(TrainConfig(config)))
    return open_run(config, lambda: settings, launched_at=0.0, time_of_day=5.0, note=print)


def learn_something(run: Run, shift: float) -> None:
    """As an update does."""
    trainer = run._trainer
    assert trainer is not None
    tensors = {name: tensor + shift for name, tensor in trainer.tensors().items()}
    trainer.load(tensors, {**trainer.counters(), "updates": 1, "steps_trained": 100})
    run.progress.updates += 1
    run.progress.steps += 100
    run.next_graph()
    run.save(run.books(run.session()), 100.0 * run.progress.updates)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two updates, the first of which was the best."""
    path = tmp_path_factory.mktemp("trained") / "old"
    run = opened(config(path, seed=7))
    run.prepare(SPEC)
    learn_something(run, 1.0)
    learn_something(run, 1.0)
    run.directory.close()
    (path / "checkpoints/best.json").write_text(json.dumps({"update": 1, "mean_return": 3.0}))
    return path


@pytest.fixture
def old(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(trained, tmp_path / "old", symlinks=True))


def tensors(run: Run) -> dict[str, torch.Tensor]:
    assert run._trainer is not None
    return run._trainer.tensors()


@pytest.mark.parametrize(("which", "update"), [("newest", 2), ("best", 1)])
def test_weights_and_normalisers_are_taken_and_everything_else_begins_anew(
    old: Path, tmp_path: Path, which: str, update: int
) -> None:
    fresh = opened(config(tmp_path / "fresh"))
    fresh.prepare(SPEC)
    run = opened(config(tmp_path / "new", init_from=str(old), init_checkpoint=which))
    version, _ = run.prepare(SPEC)
    theirs = torch_tensors(old / f"checkpoints/{update:08d}")
    ours, random = tensors(run), tensors(fresh)
    assert {name.partition(".")[0] for name in ours} == {
        "policy",
        "critic",
        "observations",
        "values",
        "rewards",
        "adam",
    }
    for name, tensor in ours.items():
        expected = random if name.startswith(("adam.", "rewards.")) else theirs
        assert torch.equal(tensor, expected[name]), name
    assert not torch.equal(ours["policy.body.0.weight"], random["policy.body.0.weight"])
    assert run._trainer is not None
    assert fresh._trainer is not None
    assert run._trainer.counters() == fresh._trainer.counters()
    assert (version, run.progress.updates, run.progress.steps) == (1, 0, 0)
    for each in (run, fresh):
        each.directory.close()


def torch_tensors(path: Path) -> dict[str, torch.Tensor]:
    from dppo.learner.storage.checkpoint import read

    return read(path).tensors


def test_where_the_weights_come_from_is_noted_once(old: Path, tmp_path: Path) -> None:
    asked = config(tmp_path / "new", init_from=str(old))
    run = opened(asked)
    run.prepare(SPEC)
    learn_something(run, 1.0)
    run.directory.close()
    (line,) = (tmp_path / "new/history.jsonl").read_text().splitlines()
    noted = json.loads(line)
    assert (noted["field"], noted["update"], noted["time"]) == ("weights", 0, "1970-01-01T00:00:05+00:00")
    assert noted["new"] == {
        "run": str(old.resolve()),
        "run_id": json.loads((old / "run.json").read_text())["run_id"],
        "env": "CartPole-v1",
        "checkpoint": "00000002",
        "update": 2,
        "steps": 200,
    }
    before = tensors(run)
    for file in (old / "checkpoints").rglob("*"):  # a run that has begun needs its source no more
        if file.is_file():
            file.unlink()
    again = opened(asked)
    again.prepare(SPEC)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(again).items())
    assert len((tmp_path / "new/history.jsonl").read_text().splitlines()) == 1
    again.directory.close()


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/00000001"])
def test_a_run_its_checkpoints_and_one_of_them_can_be_named(old: Path, name: str) -> None:
    source = find_source(str(old / name), "newest")
    assert source.run == old
    assert source.checkpoint.name == ("00000001" if "1" in name else "00000002")


def test_best_of_one_checkpoint_makes_no_sense(old: Path) -> None:
    with pytest.raises(UsageError, match="one checkpoint already"):
        find_source(str(old / "checkpoints/00000001"), "best")


def test_a_torn_newest_checkpoint_is_passed_over(old: Path) -> None:
    (old / "checkpoints/00000002/state.json").write_text("{")
    assert find_source(str(old), "newest").checkpoint.name == "00000001"


OTHER_SPACES = [
    (Spec((Leaf("observation", "<f4", (4,), "box"),), SPEC.action), r"observations are Box\(3,\) of f4"),
    (Spec((Leaf("observation", "|u1", (3,), "box"),), SPEC.action), r"Box\(3,\) of u1 here"),
    (
        Spec(SPEC.observation, (Leaf("action", "<i8", (), "discrete", categories=2),)),
        r"actions are Box\(1,\) of f4 in -1..1 there and Discrete\(2\) here",
    ),
    (
        Spec(SPEC.observation, (Leaf("action", "<f4", (1,), "box", low=(-2.0,), high=(2.0,)),)),
        r"actions are .* in -1..1 there and .* in -2..2 here",
    ),
]


@pytest.mark.parametrize(("spec", "complaint"), OTHER_SPACES)
def test_other_spaces_are_one_line(old: Path, tmp_path: Path, spec: Spec, complaint: str) -> None:
    run = opened(config(tmp_path / "new", init_from=str(old)))
    with pytest.raises(UsageError, match=complaint) as caught:
        run.prepare(spec)
    run.directory.close()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new/policy.onnx").exists()


def test_the_same_spaces_have_no_difference() -> None:
    assert difference(SPEC, SPEC) == ""


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("network", "policy_hidden", (5,)),
        ("network", "activation", "relu"),
        ("network", "action_bounds", "rescale"),
        ("network", "std", "state"),
        ("network", "normalise_observations", False),
        ("ppo", "normalise_values", False),
    ],
)
def test_settings_that_change_what_weights_mean_are_one_line(
    old: Path, tmp_path: Path, section: str, name: str, value: object
) -> None:
    asked = config(tmp_path / "new", init_from=str(old))
    assert not checked(TrainConfig(asked)).begun
    changed = replace(asked, **{section: replace(getattr(asked, section), **{name: value})})
    with pytest.raises(UsageError, match=rf"has other networks \({section}.{name}: ") as caught:
        checked(TrainConfig(changed))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("network", "initial_log_std", -1.0), ("ppo", "gamma", 0.5), ("ppo", "learning_rate", 1e-5), ("run", "seed", 9)],
)
def test_others_may_differ(old: Path, tmp_path: Path, section: str, name: str, value: object) -> None:
    asked = config(tmp_path / "new", init_from=str(old))
    assert not checked(
        TrainConfig(replace(asked, **{section: replace(getattr(asked, section), **{name: value})}))
    ).begun


def test_a_run_that_has_begun_takes_no_other_weights(old: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run.init_from: \(empty\) -> "):
        checked(TrainConfig(config(old, seed=7, init_from=str(tmp_path))))
