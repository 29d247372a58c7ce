"""Suggestions: a wrong command, flag, key or variable is answered with the one that is meant."""

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from command_line import let_nothing_run

from dppo.actor.config import ActorConfig
from dppo.cli import main
from dppo.deploy.config import UpConfig
from dppo.protocol.errors import UsageError
from dppo.settings.commands import (
    EvaluateArguments,
    TrainConfig,
)
from dppo.settings.fields import settings_of
from dppo.settings.layers import environment_values, load_config_file
from dppo.settings.suggestions import _ABSENT, _OURS, suggestion
from dppo.settings.tune_arguments import TuneConfig


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No command gets beyond its settings; no variable of whoever tests counts."""
    let_nothing_run(monkeypatch)
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    err = capsys.readouterr().err
    assert caught.value.code == 2, f"{arguments} was taken"
    *presets, line = err.splitlines()
    assert not [text for text in presets if not text.startswith("preset ")], err
    assert line.startswith("dppo: error: ")
    return line


@pytest.mark.parametrize(
    ("flag", "ours"),
    [
        ("--n-steps", "--collect.batch-steps: steps of all environments together"),
        ("--n_steps", "--collect.batch-steps: steps of all environments together"),
        ("--ppo.lr", "--ppo.learning-rate"),
        ("--lr", "--ppo.learning-rate"),
        ("--ent_coef", "--ppo.entropy-coefficient"),
        ("--vf-coef", "--ppo.value-coefficient"),
        ("--clip-coef", "--ppo.clip-range"),
        ("--num-envs", "--collect.envs-per-actor: times actors"),
        ("--total-timesteps", "--run.total-steps"),
        ("--num-workers", "--actors"),
        ("--train_batch_size", "--collect.batch-steps: steps of all environments together"),
        ("--n-epochs", "--ppo.epochs"),
        ("--batch-size", "--ppo.minibatch-steps"),
        ("--env-id", "--env.id"),
        ("--cuda", "--run.device: for example cuda"),
        ("--net-arch", "--network.policy-hidden and --network.critic-hidden"),
        ("--lambda", "--ppo.gae-lambda"),
        ("--features-extractor-class", "--network.encoder: a function of yours, as module:function"),
        (
            "--policy_kwargs",
            "--network.policy-hidden and --network.critic-hidden and --network.activation and --network.encoder: "
            "for net_arch, activation_fn and features_extractor_class",
        ),
        ("--collect.even-shares", "--collect.rule: even_shares"),
    ],
)
def test_the_words_of_other_libraries_are_answered_with_ours(
    capsys: pytest.CaptureFixture[str], flag: str, ours: str
) -> None:
    assert refused(capsys, "train", flag, "1") == f"dppo: error: unknown flag {flag} (here it is {ours})"


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--gamma", "--ppo.gamma"),
        ("--learning-rate", "--ppo.learning-rate"),
        ("--gae-lambda", "--ppo.gae-lambda"),
        ("--max-grad-norm", "--ppo.max-grad-norm"),
        ("--clip-range", "--ppo.clip-range"),
        ("--ppo.learning-rat", "--ppo.learning-rate"),
        ("--device", "--run.device"),
        ("--run.sed", "--run.seed"),
        ("--presett", "--preset"),
        ("--acotrs", "--actors"),
    ],
)
def test_the_right_name_is_suggested(capsys: pytest.CaptureFixture[str], flag: str, meant: str) -> None:
    assert refused(capsys, "train", flag, "1") == f"dppo: error: unknown flag {flag} (did you mean {meant}?)"


@pytest.mark.parametrize("name", sorted({*_OURS, *_ABSENT}))
def test_every_word_of_the_table_leads_to_a_setting_that_exists(name: str) -> None:
    known = {*settings_of(TrainConfig), *settings_of(EvaluateArguments)}
    assert name not in known  # else nobody would ever see the suggestion
    assert suggestion(name, known) != ""
    if name in _OURS:
        for path in _OURS[name][0].split(" and "):
            assert path in known


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ("run: {new: true}", "unknown key run.new (it is no setting, and stands outside of them: give --run.new)"),
        ("preset: none", "unknown key preset (it is no setting, and stands outside of them: give --preset)"),
        ("seeds: 5", "unknown key seeds (it is no setting, but a flag of dppo train, which starts one run a seed"),
        ("run: {trace: true}", "unknown key run.trace (it is no setting, but a flag of the commands dppo train,"),
        ("policy: MlpPolicy", "(the network follows from the spaces: leave MlpPolicy and the like out"),
    ],
)
def test_what_commands_take_beside_settings_is_named_as_such(tmp_path: Path, tree: str, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(tree)
    with pytest.raises(UsageError, match=re.escape(words)):
        load_config_file(file)


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (("MlpPolicy",), "env.id='MlpPolicy'"),
        (("CnnPolicy", "CartPole-v1"), "env.id='CnnPolicy'"),
        (("--network.policy", "MlpPolicy"), "network.policy=MlpPolicy"),
        (("--network.encoder", "CnnLstmPolicy"), "network.encoder=CnnLstmPolicy"),
    ],
)
def test_classes_of_policies_are_answered_with_what_they_are_here(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], setting: str
) -> None:
    line = refused(capsys, "train", *arguments)
    assert line == (
        f"dppo: error: {setting} is a class of Stable-Baselines3: leave it out, the network follows from the spaces "
        "(network.encoder)"
    )


def test_an_encoder_is_found_by_the_name_that_others_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert "(did you mean nature_cnn?)" in refused(capsys, "train", "--network.encoder", "NatureCNN")


def test_keys_of_files_are_suggested_in_their_own_form(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("ppo: {ent_coef: 0.1}\n")
    with pytest.raises(UsageError, match=r"unknown key ppo.ent_coef \(here it is ppo.entropy_coefficient\)"):
        load_config_file(file)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("DPPO_SEED", "(did you mean DPPO_RUN__SEED?)"),
        ("DPPO_GAMMA", "(did you mean DPPO_PPO__GAMMA?)"),
        ("DPPO_ACTOR", "(here it is DPPO_ACTORS)"),
        ("DPPO_RUN_SEED", "(did you mean DPPO_RUN__SEED?)"),
        ("DPPO_LR", "(here it is DPPO_PPO__LEARNING_RATE)"),
        ("DPPO_STEPS", "(here it is DPPO_RUN__TOTAL_STEPS)"),
        ("DPPO_WHATEVER_ELSE", ": rename or unset it"),
    ],
)
def test_a_variable_that_nobody_reads_is_refused(variable: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        environment_values(TrainConfig, {variable: "3"})
    assert str(caught.value).startswith(f"unknown environment variable {variable}")
    assert words in str(caught.value)


def test_variables_of_compose_and_of_environments_are_no_mistakes() -> None:
    ours = {
        "DPPO_TAG": "x",
        "DPPO_RESTART": "x",
        "DPPO_RUNS": "x",
        "DPPO_ARGS": "x",
        "DPPO_JOIN": "x",
        "DPPO_HEALTH_FILE": "x",
    }
    assert environment_values(TrainConfig, {**ours, "DPPO_SLOT": "0", "DPPO_ACTOR": "a", "DPPO_COLUMN": "0"}) == {}
    assert environment_values(TrainConfig, {"DPPO_SEED": ""}) == {}


def test_the_environment_of_compose_is_not_ignored_in_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPPO_ENV", "Pendulum-v1")
    line = refused(capsys, "train")
    assert "DPPO_ENV=Pendulum-v1 is read by docker compose only" in line
    assert "--env Pendulum-v1" in line
    for arguments in (("--env", "CartPole-v1"), ("--env", "Pendulum-v1"), ("Pendulum-v1",)):
        with pytest.raises(SystemExit) as caught:
            main(("train", *arguments))
        assert caught.value.code == 0


def test_an_environment_may_stand_without_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(("train", "Pendulum-v1", "--print-config"))
    assert caught.value.code == 0
    assert "id: Pendulum-v1" in capsys.readouterr().out
    assert "env.id is already" in refused(capsys, "train", "Pendulum-v1", "--env", "CartPole-v1")
    assert "unexpected argument b" in refused(capsys, "train", "CartPole-v1", "b")
    assert "write --ppo.gamma 0.9" in refused(capsys, "train", "-ppo.gamma=0.9")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tarin",), "unknown command tarin (did you mean train?)"),
        (("evalaute", "x"), "(did you mean evaluate?)"),
        (("solve", "CartPole-v1"), "(did you mean bench solve?)"),
        (("--env", "CartPole-v1"), "(did you mean dppo train --env?)"),
        (("CartPole-v1",), "(did you mean dppo train CartPole-v1?)"),
        (("token", "runs/x"), "(dppo token takes one of new, list, add, rotate, revoke, show)"),
        (("bench", "solv", "x"), "(did you mean bench solve?)"),
        (("help", "tarin"), "(did you mean train?)"),
        (("actor", "dppo1.secret@h:1"), "a join line stands alone: give it as --join LINE"),
        (("bench", "solve", "CartPole-v1", "--ppo.gamma", "0.9"), "settings of the runs follow --"),
        (("evaluate", "a", "--n-eval-episodes", "3"), "(here it is --episodes)"),
        (("evaluate", "a", "--actors", "3"), "unknown flag --actors"),
        (("train", "--run.new=yes"), "--run.new takes no value: leave =yes out"),
        (("actor", "host:5555"), "every setting has a name, as in --join VALUE"),
        (("",), "unknown command ''"),
    ],
)
def test_commands_that_are_meant_differently(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    line = refused(capsys, *arguments)
    assert words in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("token", "--help"), ("token rotate RUN", "dppo token ACTION --help")),
        (("help", "token"), ("token rotate RUN",)),
        (("bench", "-h"), ("bench throughput ENV", "-- --ppo.epochs 4")),
        (("bench", "solve", "--help"), ("Settings of the runs follow --", "dppo bench solve ... -- --ppo.epochs 4")),
        (("help", "bench", "solve"), ("--seeds",)),
        (("help", "train"), ("--ppo.gamma", "--preset")),
        (("train", "help"), ("--ppo.gamma",)),
        (("help",), ("usage: dppo COMMAND",)),
        (("evaluate", "--help"), ("--best", "policy-best.onnx")),
        (("--version",), ("dppo ", "(protocol ")),
        (("-V",), ("(protocol ",)),
    ],
)
def test_help_is_where_people_look_for_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(word in out for word in words)


def typing_errors() -> list[tuple[str, str, str]]:
    """Return command, flag and word of every setting whose value is a word of a list."""
    found = {
        (command, f"--{path.replace('_', '-')}", str(word))
        for command, config in (("train", TrainConfig), ("actor", ActorConfig), ("tune", TuneConfig), ("up", UpConfig))
        for path, setting in settings_of(config).items()
        for word in words_of(setting.type)
        if len(str(word)) > 3
    }
    return sorted({(flag, word): (command, flag, word) for command, flag, word in sorted(found)}.values())


def words_of(kind: Any) -> list[str]:
    """Return the words that a type has beside its numbers."""
    if get_origin(kind) is Literal:
        return [word for word in get_args(kind) if isinstance(word, str)]
    return [word for part in get_args(kind) for word in words_of(part)]


OWN_LISTS = [
    *(("train", "--run.trackers", word) for word in ("wandb", "mlflow", "trackio")),
    *(("train", "--network.encoder", word) for word in ("flat", "nature_cnn", "impala_cnn")),
    ("train", "--network.memory", "lstm"),
    ("train", "--preset", "mujoco-classic"),
]


def test_a_mistyped_word_of_a_list_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    found = typing_errors()
    assert len(found) > 40
    for command, flag, word in (*found, *OWN_LISTS):
        line = refused(capsys, command, *(["CartPole-v1"] if command == "train" else []), flag, word[:-2] + word[-1])
        assert f"(did you mean {word}?)" in line, line
