"""Settings in layers: who wins, what text becomes, and what a mistake is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from dppo.actor.config import ActorConfig
from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.protocol.errors import UsageError
from dppo.settings.bench_arguments import BenchSolve
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import build, nearest, settings_of, values_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import dump_yaml, load_config_file, resolve, resolve_file
from dppo.settings.preset_files import FAMILIES, preset_names, preset_of


def yaml_file(directory: Path, text: str) -> str:
    file = directory / "settings.yaml"
    file.write_text(text)
    return str(file)


def from_flags(*arguments: str) -> dict[str, object]:
    return parse_flags(arguments, settings_of(TrainConfig)).values


def test_the_settings_of_the_learner_stand_at_the_top_of_each_command_that_has_one() -> None:
    paths = list(settings_of(TrainConfig))
    assert paths[0] == "env.id"
    assert paths[-2:] == ["actors", "evaluation_episodes"]
    assert set(settings_of(LearnerConfig)) == set(paths) - {
        "actors",
        "learners",
        "evaluation_episodes",
        "evaluation_seconds",
        "force",
    }


def test_values_and_build_are_inverse() -> None:
    config = TrainConfig(LearnerConfig(ppo=PpoConfig(gamma=0.5)), actors=7)
    assert build(TrainConfig, values_of(config)) == config


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "ppo: {gamma: 0.3, gae_lambda: 0.3, epochs: 3}")
    resolved = resolve(
        TrainConfig,
        file=file,
        preset="Pendulum-v1",
        environ={"DPPO_PPO__GAE_LAMBDA": "0.4", "DPPO_PPO__EPOCHS": "4"},
        flags={"ppo.epochs": 5},
    )
    ppo, sources = resolved.config.learner.ppo, resolved.sources
    assert (ppo.learning_rate, sources["ppo.learning_rate"]) == (1e-3, "preset Pendulum-v1")
    assert (ppo.gamma, sources["ppo.gamma"]) == (0.3, f"file {file}")
    assert (ppo.gae_lambda, sources["ppo.gae_lambda"]) == (0.4, "environment")
    assert (ppo.epochs, sources["ppo.epochs"]) == (5, "flag")
    assert (ppo.clip_range, sources["ppo.clip_range"]) == (0.2, "default")


def test_only_the_final_values_have_to_fit_together(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "collect: {batch_steps: 100}")  # below the preset's minibatch
    config = resolve(TrainConfig, file=file, preset="Pendulum-v1", environ={}, flags={"ppo.minibatch_steps": 50}).config
    assert config.learner.collect.batch_steps == 100


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "0.3e-3", "0.0003", "+3e-4", "'3e-4'"])
def test_a_number_in_a_file_may_be_written_as_people_do(tmp_path: Path, text: str) -> None:
    file = yaml_file(tmp_path, f"ppo:\n  learning_rate: {text}\n")
    assert load_config_file(file) == {"ppo.learning_rate": 3e-4}


def test_a_number_means_the_same_in_file_environment_and_flag(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "ppo: {learning_rate: 3e-4}\nrun: {total_steps: 2e5}\nenv: {kwargs: {g: 1e-3}}")
    of_file = load_config_file(file)
    environ = {"DPPO_PPO__LEARNING_RATE": "3e-4", "DPPO_RUN__TOTAL_STEPS": "200_000", "DPPO_ENV__KWARGS": "{g: 1e-3}"}
    of_environment = values_of(resolve(TrainConfig, flags={}, environ=environ, preset="none").config)
    of_flags = from_flags("--ppo.learning-rate=3e-4", "--run.total-steps", "2e5", "--env.kwargs", '{"g": 1e-3}')
    assert of_file == of_flags == {"ppo.learning_rate": 3e-4, "run.total_steps": 200_000, "env.kwargs": {"g": 1e-3}}
    assert {path: of_environment[path] for path in of_file} == of_file
    assert type(of_flags["run.total_steps"]) is int


def test_lists_and_nothing_and_booleans_in_a_file(tmp_path: Path) -> None:
    text = "network: {policy_hidden: [32, 16]}\nrun:\n  target_return: null\n  tensorboard: false\nppo:\n"
    assert load_config_file(yaml_file(tmp_path, text)) == {
        "network.policy_hidden": (32, 16),
        "run.target_return": None,
        "run.tensorboard": False,
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ppo: {gama: 1}", "unknown key ppo.gama (did you mean ppo.gamma?)"),
        ("gamma: 1", "unknown key gamma (did you mean ppo.gamma?)"),
        ("pppo: {gamma: 1}", "unknown key pppo (did you mean ppo?)"),
        ("ppo: {gamma: high}", "ppo.gamma: 'high' is not a number"),
        ("ppo: {gamma: .nan}", "ppo.gamma: nan is not a finite number"),
        ("ppo: {gamma: true}", "ppo.gamma: True is not a number"),
        ("ppo: {epochs: 2.5}", "ppo.epochs: 2.5 is not a whole number"),
        ("ppo: {clip_schedule: lineer}", "'lineer' is not one of constant, linear (did you mean linear?)"),
        ("ppo: 3", "ppo: 3 is not a mapping"),
        ("env: {id: 3}", "env.id: 3 is not text"),
        ("env: {kwargs: [1]}", "env.kwargs: [1] is not a mapping with text keys"),
        ("run: {tensorboard: 1}", "run.tensorboard: 1 is not true or false"),
        ("network: {policy_hidden: {a: 1}}", "network.policy_hidden: {'a': 1} is not a list such as [64, 64]"),
        ("network: {policy_hidden: wide}", "network.policy_hidden: 'wide' is not a whole number"),
        ("network: {policy_hidden: true}", "network.policy_hidden: True is not a whole number"),
        ("run: {metrics: {a: 1}}", "run.metrics: {'a': 1} is not a list such as [first, second]"),
        ("run: {metrics: 3}", "run.metrics: 3 is not text"),
        ("env: {wrappers: 3}", "env.wrappers: 3 is not a list such as [module:Wrapper]"),
        ("network: {policy_hidden: [a]}", "network.policy_hidden: 'a' is not a whole number"),
        ("ppo:\n  gamma: 1\n  gamma: 2", "key gamma is there twice"),
        ("ppo: [", "is not valid YAML"),
        ("- 1", "the top level must be a mapping"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_file_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = yaml_file(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_config_file(file)
    assert complaint in str(caught.value)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="No such file"):
        load_config_file(tmp_path / "missing.yaml")
    with pytest.raises(UsageError, match="not a text file"):
        load_config_file(tmp_path / "binary.yaml")


def test_a_value_out_of_range_says_which_layer_it_came_from(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "ppo: {gamma: 2}")
    with pytest.raises(UsageError, match=r"ppo\.gamma=2\.0 is outside .*\[from file .*settings\.yaml\]"):
        resolve(TrainConfig, file=file, environ={}, flags={})


def test_a_file_for_one_command_is_good_for_its_sibling_but_not_its_mistakes(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "actors: 4\nppo: {gamma: 0.5}")
    assert load_config_file(file, LearnerProcessConfig) == {"ppo.gamma": 0.5}
    with pytest.raises(UsageError, match="unknown key actors"):
        load_config_file(file, ActorConfig)
    with pytest.raises(UsageError, match=r"unknown key actrs \(did you mean actors\?\)"):
        load_config_file(yaml_file(tmp_path, "actrs: 4"))


def test_environment_variables_are_checked_too() -> None:
    def resolved(**environ: str) -> TrainConfig:
        return resolve(TrainConfig, flags={}, environ=environ, preset="none").config

    assert resolved(DPPO_ACTORS="3", DPPO_PPO__GAMMA="").actors == 3  # empty: not set
    assert resolved(DPPO_RUN__TENSORBOARD="off").learner.run.tensorboard is False
    assert resolved(DPPO_NETWORK__POLICY_HIDDEN="32,16").learner.network.policy_hidden == (32, 16)
    assert resolved(DPPO_RUN__TARGET_RETURN="none").learner.run.target_return is None
    assert resolved(DPPO_HEALTH_FILE="/tmp/x").actors == 2  # not a setting, and not ours to judge
    with pytest.raises(UsageError, match=r"DPPO_PPO__GAMA \(did you mean DPPO_PPO__GAMMA\?\)"):
        resolved(DPPO_PPO__GAMA="1")
    with pytest.raises(UsageError, match="DPPO_PPO__GAMMA: 'x' is not a number"):
        resolved(DPPO_PPO__GAMMA="x")


def test_flags_have_short_forms_negations_lists_and_negative_numbers() -> None:
    values = from_flags(
        *("--env", "Pendulum-v1", "--seed", "3", "--steps", "1e5", "--run.no-tensorboard", "--run.stop-at-target"),
        *("--ppo.normalise-values", "false", "--network.policy-hidden", "32", "16", "--run.target-return", "-200"),
        *("--network.critic-hidden=8,8", "--network.initial_log_std=-1"),
    )
    assert values == {
        "env.id": "Pendulum-v1",
        "run.seed": 3,
        "run.total_steps": 100_000,
        "run.tensorboard": False,
        "run.stop_at_target": True,
        "ppo.normalise_values": False,
        "network.policy_hidden": (32, 16),
        "run.target_return": -200.0,
        "network.critic_hidden": (8, 8),
        "network.initial_log_std": -1.0,
    }


@pytest.mark.fast(2)
@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_comes_back_equal(name: str, tmp_path: Path) -> None:
    resolved = resolve(TrainConfig, flags={}, environ={}, preset=name)
    config = resolved.config
    assert config.learner.run.total_steps <= RunConfig().total_steps or name in FAMILIES.values()
    file = yaml_file(tmp_path, dump_yaml(config))
    assert resolve(TrainConfig, file=file, flags={}, environ={}, preset="none").config == config


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_the_presets_that_are_benchmarks_of_time_have_a_target(name: str) -> None:
    config = resolve(TrainConfig, flags={}, environ={}, preset=name).config
    assert config.learner.env.id == name
    assert config.learner.run.target_return is not None
    assert resolve(TrainConfig, flags={"env.id": name}, environ={}).config == config


def test_presets_in_folders_write_to_run_directories_of_their_own() -> None:
    names = [name for name in preset_names() if "/" in name]
    directories = [
        resolve(TrainConfig, flags={}, environ={}, preset=name).config.learner.run.directory for name in names
    ]
    assert directories == [f"runs/{name}" for name in names]


def test_presets_for_the_two_first_environments_exist() -> None:
    assert {"CartPole-v1", "Pendulum-v1"} <= set(preset_names())


def test_a_preset_is_found_by_id_also_with_a_module_before_it() -> None:
    assert preset_of("my_package:CartPole-v1") == "CartPole-v1"
    assert preset_of("Unknown/CartPole-v1") == ""


def test_a_family_of_environments_has_a_preset() -> None:
    assert preset_of("ALE/Pong-v5") == preset_of("ale_py:ALE/Breakout-v5") == "atari"
    learner = resolve(TrainConfig, flags={"env.id": "ALE/Breakout-v5"}, environ={}).config.learner
    assert learner.env.id == "ALE/Breakout-v5"
    assert (learner.network.frame_stack, learner.env.kwargs["stack_num"]) == (4, 1)


def test_no_preset_where_none_is_wanted_or_none_is_there() -> None:
    assert resolve(TrainConfig, flags={}, environ={}, preset="none").config == TrainConfig()
    unknown = resolve(TrainConfig, flags={"env.id": "Other-v0"}, environ={})
    assert (unknown.preset, unknown.config.learner.run.target_return) == ("", None)


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"did you mean CartPole-v1.*choose one of Acrobot-v1, .*Pendulum-v1, .*none"):
        resolve(TrainConfig, flags={}, environ={}, preset="Cartpole-v1")


def test_the_yaml_form_is_exact_also_for_awkward_values(tmp_path: Path) -> None:
    config = LearnerProcessConfig(
        LearnerConfig(
            env=EnvConfig(
                id="x:#y",
                kwargs={"yes": "no", "n": 1, "f": 1e-7, "deep": {"a": [1, None, "3e-4"]}, "s": "", "t": "a\n b"},
            ),
            collect=CollectConfig(lease_seconds=1e9),
            ppo=PpoConfig(learning_rate=1e-05),
            network=NetworkConfig(policy_hidden=(), critic_hidden=(7,)),
            run=RunConfig(directory="ünï", target_return=-1e300),
        ),
        bind="ipc:///tmp/a b",
    )
    file = yaml_file(tmp_path, dump_yaml(config))
    assert resolve_file(LearnerProcessConfig, file, flags={}).config == config
    later = resolve_file(LearnerProcessConfig, file, flags={"bind": "ipc://c"}).config
    assert later == replace(config, bind="ipc://c")


def test_a_child_of_a_local_run_reads_its_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPPO_PPO__GAMMA", "0.1")
    config = resolve_file(LearnerProcessConfig, yaml_file(tmp_path, "env: {id: Pendulum-v1}"), flags={}).config
    assert config.learner == LearnerConfig(env=EnvConfig(id="Pendulum-v1"))


def test_a_required_setting_says_how_to_give_it() -> None:
    with pytest.raises(UsageError, match="env is missing: give --env VALUE or set DPPO_ENV"):
        resolve(BenchSolve, flags={}, environ={})
    assert resolve(BenchSolve, flags={}, environ={"DPPO_ENV": "X-v0"}).config.env == "X-v0"


def test_where_the_learner_is_comes_from_the_environment_too() -> None:
    assert resolve(ActorConfig, flags={}, environ={"DPPO_LEARNER": "tcp://a:1"}).config.learner == "tcp://a:1"


def test_the_nearest_name_is_nothing_when_nothing_is_near() -> None:
    assert nearest("qqqqqq", ["ppo.gamma"]) == ""


def test_keyword_arguments_that_do_not_fit_into_a_message_are_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="2048 fit into a message"):
        EnvConfig(kwargs={"text": "x" * 3000})
    with pytest.raises(UsageError, match="plain JSON"):
        EnvConfig(kwargs={"set": {1, 2}})


def test_a_name_that_no_learner_would_take_is_refused_before_the_first_message() -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        ActorConfig(learner="tcp://host:5555", name="two words")
