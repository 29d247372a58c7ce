"""The recipe that people expect, by name; and what an environment gets for which there is no preset."""

import pytest

from dppo.cli import run_command
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of
from dppo.settings.layers import CLASSICS, no_preset_text, resolve


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
    ("arguments", "said"),
    [
        (["--env", "Absent-v7"], True),
        (["--env", "Absent-v7", "--preset", "none"], False),
        (["--env", "Absent-v7", "--preset", "mujoco-classic"], False),
    ],
)
def test_the_first_line_is_said_where_no_preset_was_chosen(
    arguments: list[str], said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", *arguments]) == 2  # there is no such environment, found out after the line
    assert ("no preset for Absent-v7" in capsys.readouterr().err.splitlines()[0]) == said
