"""Spaces that are not those of the run, of its weights or of a policy: one line, before anything is played."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from graphs import categorical_graph
from test_initial_weights import SPEC, config, learn_something, old, opened, trained

from dppo.actor.envs.make import make_environments
from dppo.learner.models.onnx_export import with_metadata
from dppo.learner.storage.initial_weights import Source
from dppo.local import expected_spaces as expecting
from dppo.local import preflight
from dppo.local.expected_spaces import expected_spaces, trained_spaces
from dppo.local.launching import checked
from dppo.local.preflight import check_before_start, env_settings
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.specs import Leaf, Spec, spec_to_json
from dppo.settings.commands import TrainConfig
from dppo.watch.evaluate import evaluate
from dppo.watch.policy_spaces import refuse_other_spaces

__all__ = ["learn_something", "old", "opened", "trained"]  # a fixture, and what it needs

OTHER = Spec((Leaf("observation", "<f4", (5,), "box"),), SPEC.action)
CHANGED = "observation is float32 (5,) here, float32 (3,) in the run"


def own(path: Path, **run: object) -> TrainConfig:
    """A run of an environment that has to be made to be known."""
    asked = config(path, **run)
    return TrainConfig(replace(asked, env=replace(asked.env, id="mine:Mine-v0")))


def test_a_run_is_refused_whose_environment_has_other_spaces_now(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained_spaces(old) == SPEC
    asked = own(old)
    check = expected_spaces(asked.learner, env_settings(asked.learner))
    assert check is not None
    check(SPEC)
    with pytest.raises(
        UsageError, match=r"that the run in .*/old was trained on: (.*) or begin another run: --run.new"
    ):
        check(OTHER)
    monkeypatch.setattr(preflight, "probe", lambda *_, found, **__: found(OTHER))
    with pytest.raises(UsageError) as caught:
        check_before_start(asked, print)
    assert CHANGED in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_new_run_may_have_any_spaces_and_known_environments_are_not_made_for_it(old: Path, tmp_path: Path) -> None:
    new = own(tmp_path / "new")
    assert expected_spaces(new.learner, env_settings(new.learner)) is None
    known = config(old)
    assert expected_spaces(known, env_settings(known)) is None
    placeholders = EnvSettings("mine:Mine-v0", '{"port": "{slot}"}')
    assert expected_spaces(own(old).learner, placeholders) is None


def test_weights_of_other_spaces_are_refused_before_a_start_and_before_other_networks(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = own(tmp_path / "new", init_from=str(old))
    check = expected_spaces(asked.learner, env_settings(asked.learner))
    assert check is not None
    check(SPEC)
    with pytest.raises(
        UsageError, match=r"other spaces: observations are Box\(3,\) of f4 there and Box\(5,\) .*--init-from"
    ):
        check(OTHER)
    wider = replace(asked.learner, network=replace(asked.learner.network, policy_hidden=(5,)))
    here = OTHER
    monkeypatch.setattr(expecting, "probe", lambda *_, found, **__: found(here))
    with pytest.raises(UsageError, match="is a run with other spaces"):
        checked(TrainConfig(wider))
    here = SPEC
    with pytest.raises(UsageError, match="has other networks"):
        checked(TrainConfig(wider))
    assert not (tmp_path / "new").exists()


def test_weights_that_are_gone_are_asked_for_once_only(old: Path, tmp_path: Path) -> None:
    """The run that has begun with them needs them no more."""
    asked = own(old, init_from=str(tmp_path / "gone"))
    assert expected_spaces(asked.learner, env_settings(asked.learner)) is not None
    assert expecting._spaces_of(Source(tmp_path, tmp_path / "gone")) is None


def test_a_policy_is_told_apart_from_the_environment_by_its_leaves() -> None:
    env = make_environments(EnvSettings("CartPole-v1"), 1)
    spec = env.spec
    metadata = {"dppo.spec": spec_to_json(spec)}
    bounded = replace_leaf(spec, low=(-1.0,) * 4, high=(1.0,) * 4)
    for same in (spec, bounded):
        refuse_other_spaces(metadata, same, "CartPole-v1")
    refuse_other_spaces({}, OTHER, "CartPole-v1")  # it does not say
    env.close()
    with pytest.raises(UsageError) as caught:
        refuse_other_spaces({"dppo.spec": spec_to_json(OTHER)}, spec, "CartPole-v1")
    assert "observation is float32 (4,) here, float32 (5,) for the policy. Install" in str(caught.value)


def replace_leaf(spec: Spec, **fields: object) -> Spec:
    return msgspec.structs.replace(spec, observation=(msgspec.structs.replace(spec.observation[0], **fields),))


def test_an_evaluation_names_the_spaces_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("env: {id: CartPole-v1}")
    graph = with_metadata(categorical_graph(np.zeros((5, 2))), {"dppo.spec": spec_to_json(OTHER)})
    (tmp_path / "policy.onnx").write_bytes(graph)
    with pytest.raises(UsageError, match=r"the spaces of CartPole-v1 differ from those that the policy was trained on"):
        evaluate(str(tmp_path), episodes=2)
