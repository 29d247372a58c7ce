"""The recipe that people expect, by name; and what an environment gets for which there is no preset."""

import pytest

from dppo.cli import run_command
from dppo.local.launch_texts import FirstLine
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of
from dppo.settings.first_line import no_preset_text, preset_text
from dppo.settings.layers import resolve
from dppo.settings.preset_files import CLASSICS


@pytest.mark.parametrize("preset", CLASSICS)
def test_a_classic_preset_is_the_recipe_of_the_papers(preset: str) -> None:
    resolved = resolve(TrainConfig, flags={"env.id": "HalfCheetah-v5"}, preset=preset, environ={})
    learner = resolved.config.learner
    ppo = learner.ppo
    assert (learner.env.id, learner.collect.batch_steps, ppo.epochs, ppo.minibatch_steps) == (
        "HalfCheetah-v5",
        2048,
        10,
        64,
    )
    assert (ppo.learning_rate, ppo.learning_rate_schedule) == (3e-4, "linear")
    assert (ppo.gamma, ppo.gae_lambda, ppo.surrogate, ppo.clip_range) == (0.99, 0.95, "clip", 0.2)
    assert (ppo.normalise_advantages, ppo.max_grad_norm, ppo.entropy_coefficient) == ("minibatch", 0.5, 0.0)
    assert learner.network.normalise_observations == (preset == "mujoco-classic")


def test_a_classic_preset_names_no_environment() -> None:
    for preset in CLASSICS:
        resolved = resolve(TrainConfig, flags={}, preset=preset, environ={})
        assert resolved.sources["env.id"] == "default"


def test_the_first_line_says_what_an_environment_without_a_preset_gets() -> None:
    text = no_preset_text(values_of(resolve(TrainConfig, flags={"env.id": "my:Env-v0"}, environ={}).config))
    assert text == (
        "no preset for my:Env-v0: 2,048 steps x 10 epochs x minibatches of 256, learning rate 0.0003 constant "
        "(defaults where nothing is set); others: --preset mujoco-classic|box2d-classic"
    )


@pytest.mark.parametrize(
    ("env", "preset", "line"),
    [
        ("Absent-v7", "", "no preset for Absent-v7: 2,048 steps"),
        ("Absent-v7", "none", ""),
        ("Absent-v7", "mujoco-classic", "preset mujoco-classic"),
        ("CartPole-v1", "", "preset CartPole-v1, found by the environment's id (--preset none: without)"),
        ("", "", "no environment was named: CartPole-v1 and preset CartPole-v1 by default (name one: --env ID)"),
        ("", "none", "no environment was named: CartPole-v1 by default (name one: --env ID)"),
    ],
)
def test_the_first_line_says_what_nobody_has_chosen(env: str, preset: str, line: str) -> None:
    resolved = resolve(TrainConfig, flags={"env.id": env} if env else {}, preset=preset, environ={})
    text = preset_text(resolved, is_off=preset == "none")
    assert text.startswith(line)
    assert bool(text) == bool(line)


def test_an_error_stands_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(config: TrainConfig, note: object) -> None:
        raise UsageError("no environment 'Absent-v7'")

    monkeypatch.setattr("dppo.local.train.check_before_start", refuse)
    assert run_command(["train", "--env", "Absent-v7"]) == 2
    assert capsys.readouterr().err.splitlines() == ["dppo: error: no environment 'Absent-v7'"]


def test_a_note_comes_below_the_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = FirstLine("preset x")
    line.note("making y once")
    line.show()
    assert capsys.readouterr() == ("making y once\n", "preset x\n")
