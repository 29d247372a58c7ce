"""Settings of a command compared with those of the run: which are the same, and which may change."""

import json
from pathlib import Path
from typing import Any

import pytest
from begun_runs import RUN, begin, config, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshots import snapshot

from dppo.learner.storage.settings_history import Change
from dppo.local.run_comparison import NOT_OF_THE_RUN, may_change, same, stand
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import build, settings_of, values_of
from dppo.settings.layers import dump_yaml, load_config_file, resolve

SETTINGS = settings_of(TrainConfig)
# other settings without which one does nothing, and is refused
MEMORY = {"network.memory": "gru"}
NEEDED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("network.memory_width", "network.memory_layers", "network.bptt_steps"), MEMORY),
    "collect.late_learners": {"learners": 2},
    "run.backend": {"learners": 2, "run.device": "cuda"},
    "network.exploration_steps": {"network.exploration": "state"},
    "ppo.early_stop_per": {"ppo.early_stop_kl": 0.1},
    "ppo.correction": {"collect.max_staleness": 1},
}
OTHER_RULE = {"minimum": "even_shares", "even_shares": "minimum"}
DEFAULTS = values_of(TrainConfig())
# another value that the checks allow, for every setting
OTHERS: dict[str, Any] = {
    "env.id": "Pendulum-v1",
    "env.kwargs": {"max_episode_steps": 7},
    "env.vectorization": "sync",
    "run.hooks": "my_hooks:Other",
    "collect.on_stop": "drop",
    "collect.rule": "even_shares",
    "collect.max_ingress_bytes": 2**30,
    "ppo.gae_lambda": 0.5,
    "ppo.gamma": 0.5,
    "ppo.kl_band_low": 0.1,
    "ppo.kl_coefficient": 0.25,
    "ppo.kl_coefficient_min": 1e-5,
    "ppo.learning_rate_schedule": "kl",
    "ppo.clip_schedule": "linear",
    "ppo.dual_clip": 3.0,
    "ppo.entropy_schedule": "linear",
    "ppo.early_stop_per": "minibatch",
    "ppo.correction": "vtrace",
    "ppo.divergence": "total_variation",
    "ppo.surrogate": "kl_penalty",
    "ppo.normalise_advantages": "none",
    "ppo.terminal_reward": 1.0,
    "ppo.minibatch_steps": 128,
    "network.policy_hidden": (8,),
    "network.critic_hidden": (8, 8),
    "network.activation": "relu",
    "network.initialisation": "glorot",
    "network.mean": "tanh",
    "network.std": "state",
    "network.std_floor": 2e-3,
    "network.action_bounds": "rescale",
    "network.encoder": "flat",
    "network.encoder_hidden": (8,),
    "network.critic_encoder": "own",
    "network.image_channels": "first",
    "network.head": "a:b",
    "network.distribution": "beta",
    "network.exploration": "state",
    "network.memory": "gru",
    "network.policy": "a:b",
    "env.wrappers": ["a.b:C"],
    "env.action_mask": "none",
    "run.init_from": "elsewhere",
    "run.metrics_address": "127.0.0.1:9464",
    "run.trackers": ("mlflow",),
    "run.project": "another",
    "run.metrics": ("distance",),
    "run.step_metrics": ("speed",),
    "run.init_checkpoint": "best",
    "run.target_return": 5.0,
    "run.device": "cuda",
    "run.backend": "nccl",
}


def other(path: str) -> Any:
    default = DEFAULTS[path]
    if path in OTHERS:
        return OTHERS[path]
    if isinstance(default, bool):
        return not default
    assert isinstance(default, int | float), f"OTHERS needs another value for {path}"
    return default + 1


@pytest.mark.parametrize("path", [path for path in SETTINGS if path not in {*NOT_OF_THE_RUN, "collect.slots"}])
def test_every_setting_is_either_of_the_run_or_may_change(tmp_path: Path, path: str) -> None:
    needs = NEEDED.get(path, {})
    begin(tmp_path, config(tmp_path, **needs))
    changed = config(tmp_path, **needs, **{path: other(path)})
    if path in may_change(TrainConfig):
        standing = stand(changed)
        assert standing.begun
        assert [change.field for change in standing.changes] == [path]
        return
    before = snapshot(tmp_path)
    text = refused(changed)
    assert f"({Change(path, DEFAULTS[path], other(path))})" in text
    assert snapshot(tmp_path) == before
    assert all(choice in text for choice in ("--run.new", "--run.directory NEW", "--config"))


def test_a_run_under_quota_keeps_its_number_of_environments(tmp_path: Path) -> None:
    quota = {"collect.rule": "quota", "collect.envs_per_actor": 4}
    begin(tmp_path, config(tmp_path, actors=2, **quota))
    assert stand(config(tmp_path, actors=2, **quota, **{"collect.slots": 8})).changes == ()
    assert "(collect.slots: 8 -> 12)" in refused(config(tmp_path, actors=3, **quota))
    with pytest.raises(UsageError, match=r"collect.slots=8 environments, and 3 x collect.envs_per_actor=4 are 12"):
        config(tmp_path, actors=3, **quota, **{"collect.slots": 8})


def test_a_refusal_names_the_free_directory_and_is_not_longer_than_it_must_be(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "CartPole-v1"
    begin(directory, config(directory))
    (tmp_path / "runs" / "CartPole-v1-2").mkdir()
    excluded = (
        "ppo.kl_band_low",
        "ppo.dual_clip",
        "ppo.recompute_advantages",
        "ppo.reuse",
    )  # do not go with the others
    changed = {path: other(path) for path in SETTINGS if path.startswith("ppo.") and path not in excluded}
    text = refused(config(directory, **changed, **{"env.kwargs": {"x": "y" * 1000}}))
    assert f"--run.new ({directory}-3)" in text
    assert f"and {len(changed) + 1 - 5} more" in text
    assert len(text) < 900


def test_another_seed_is_offered_as_several(tmp_path: Path) -> None:
    begin(tmp_path, config(tmp_path))
    text = refused(config(tmp_path, **{"run.seed": 2}))
    assert "run.seed: 1 -> 2" in text
    assert "--run.new --seeds 1,2" in text  # a directory that is named holds one run


@pytest.mark.parametrize(
    "flags",
    [
        {"run.total_steps": 1e6},
        {"env.kwargs": {}},
        {"ppo.gamma": 0.99, "network.policy_hidden": [64, 64], "ppo.learning_rate": 3e-4},
    ],
)
def test_values_that_mean_the_same_are_the_same(tmp_path: Path, flags: dict[str, Any]) -> None:
    begin(tmp_path, config(tmp_path))
    asked = resolve(TrainConfig, flags={RUN: str(tmp_path), **flags}, preset="none", environ={}).config
    assert stand(asked).changes == ()


def test_a_preset_is_the_same_as_its_values_spelled_out(tmp_path: Path) -> None:
    flags = {"env.id": "Pendulum-v1", RUN: str(tmp_path)}
    by_name = resolve(TrainConfig, flags=flags, environ={}).config
    begin(tmp_path, by_name)
    spelled = resolve(TrainConfig, flags=values_of(by_name), preset="none", environ={}).config
    assert stand(spelled).changes == ()
    (tmp_path / "mine.yaml").write_text(dump_yaml(by_name))
    assert stand(resolve(TrainConfig, flags={}, file=str(tmp_path / "mine.yaml"), environ={}).config).changes == ()


@pytest.mark.parametrize(("former", "rule"), [("true", "even_shares"), ("false", "minimum")])
def test_a_run_that_began_when_even_shares_was_a_setting_of_its_own_goes_on(
    tmp_path: Path, former: str, rule: str
) -> None:
    launch = config(tmp_path, **{"collect.rule": rule})
    begin(tmp_path, launch)
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace(f"  rule: {rule}\n", f"  even_shares: {former}\n"))
    assert "even_shares: " in file.read_text()
    assert stand(launch).changes == ()
    assert "collect.rule" in refused(config(tmp_path, **{"collect.rule": OTHER_RULE[rule]}))


def test_a_file_with_both_names_of_a_setting_is_refused_where_they_differ(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("collect: {even_shares: true, rule: even_shares}")
    assert load_config_file(file) == {"collect.rule": "even_shares"}
    file.write_text("collect: {even_shares: true, rule: minimum}")
    with pytest.raises(UsageError, match=r"collect.even_shares is collect.rule=even_shares today, .* remove one"):
        load_config_file(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40)
@given(JSON, JSON)
def test_plain_values_are_the_same_exactly_when_their_json_is(old: Any, new: Any) -> None:
    assert same(old, new) == (json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))


def test_numbers_are_compared_by_value_and_truth_is_no_number() -> None:
    assert same({"g": 15}, {"g": 15.0})
    assert not same({"g": 1}, {"g": True})
    assert not same(None, 0)


def test_the_run_of_a_learner_goes_on_in_a_local_run_and_the_other_way_round(tmp_path: Path) -> None:
    local = config(tmp_path, actors=3)
    alone = build(LearnerProcessConfig, {RUN: str(tmp_path), "bind": "ipc:///tmp/x"})
    begin(tmp_path, alone)
    assert stand(local).changes == ()
    (tmp_path / "config.yaml").write_text(dump_yaml(local))
    assert stand(alone).changes == ()
    wrong = build(LearnerProcessConfig, {RUN: str(tmp_path), "ppo.gamma": 0.5})
    assert "ppo.gamma: 0.99 -> 0.5" in refused(wrong)
