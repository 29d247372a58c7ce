"""Settings that do not fit the environment are refused before a run starts a process or writes a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dppo.cli import run_command
from dppo.local import preflight
from dppo.local.known_spaces import KNOWN, known_spaces
from dppo.local.preflight import check_before_start
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.specs import Spec, spec_of
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build

CHOICE, BOX = gym.spaces.Discrete(2), gym.spaces.Box(-1, 1, (2,))
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "frames of numbers": ({"network.frame_stack": 4}, "network.frame_stack=4 stacks images"),
    "CNN of numbers": ({"network.encoder": "nature_cnn"}, "is for images"),
    "squashed choices": ({"network.action_bounds": "squash"}, "has nothing to squash"),
    "Beta of choices": ({"network.distribution": "beta"}, "is of numbers, and these actions are choices"),
    "coloured choices": ({"network.noise_colour": 1.0}, "is of numbers, and these actions are choices"),
    "exploring choices": ({"network.exploration": "state"}, "is of numbers, and these actions are choices"),
    "embedded numbers": ({"network.embedding": 8}, "embeds Discrete leaves of observations, and there is none"),
    "long memory": (
        {"network.memory": "gru", "network.bptt_steps": 200, "collect.batch_steps": 2048},
        "network.bptt_steps=200 is more than the 128 steps that each of 16 environments makes for "
        "collect.batch_steps=2048, where sequences end: lower it to 128",
    ),
    "wide memory": (
        {"network.memory": "gru", "network.memory_width": 2**15, "collect.max_rollout_bytes": 10**6},
        "collect.max_rollout_bytes=1000000 is the largest that is accepted",
    ),
    "large rollouts": (
        {"collect.segment_steps": 100_000, "collect.batch_steps": 10**6},
        "collect.max_rollout_bytes=67108864 is the largest that is accepted: lower segment_steps to",
    ),
}


def config(env: str = "CartPole-v1", **values: Any) -> TrainConfig:
    return build(TrainConfig, {"env.id": env, **values})


@pytest.mark.parametrize("what", MISFITS)
def test_misfits_of_a_known_environment_need_no_probe(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "probe", lambda *_, **__: pytest.fail("made"))
    monkeypatch.chdir(tmp_path)
    values, words = MISFITS[what]
    with pytest.raises(UsageError) as caught:
        check_before_start(config(**values), pytest.fail)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", MISFITS)
def test_misfits_of_another_one_are_refused_when_it_has_been_made(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(*_: object, found: Callable[[Spec], None], **__: object) -> None:
        found(spec_of(gym.spaces.Box(-1, 1, (3,)), CHOICE))

    monkeypatch.setattr(preflight, "probe", probe)
    monkeypatch.chdir(tmp_path)
    values, words = MISFITS[what]
    with pytest.raises(UsageError) as caught:
        check_before_start(config("Other-v0", **values), pytest.fail)
    assert words in str(caught.value)


def test_settings_that_fit_start_and_import_nothing_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.learner.session.settings.check_spaces", lambda *_: pytest.fail("sizes are small"))
    monkeypatch.chdir(tmp_path)
    for env, values in (
        ("CartPole-v1", {"network.memory": "gru", "network.bptt_steps": 128}),
        ("CartPole-v1", {"network.memory": "lstm", "collect.batch_steps": 128, "ppo.minibatch_steps": 64}),
        ("Pendulum-v1", {"network.action_bounds": "squash"}),
        ("Pendulum-v1", {"network.distribution": "beta"}),
        ("MountainCarContinuous-v0", {"network.exploration": "state"}),
        ("FrozenLake-v1", {"network.embedding": 8}),
    ):
        check_before_start(config(env, **values), pytest.fail)


def test_a_run_that_has_begun_goes_on_with_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    check_before_start(config(**MISFITS["long memory"][0], **{"run.directory": "run"}), pytest.fail)


def test_images_that_are_taken_as_numbers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(*_: object, found: Callable[[Spec], None], **__: object) -> None:
        found(spec_of(gym.spaces.Box(0, 255, (12, 12), np.uint8), BOX))

    monkeypatch.setattr(preflight, "probe", probe)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"choose --network\.encoder impala_cnn"):
        check_before_start(config("Other-v0", **{"network.frame_stack": 2}), pytest.fail)


@pytest.mark.parametrize("command", [["train", "CartPole-v1"], ["learner", "--env.id", "CartPole-v1"]])
def test_the_command_leaves_nothing_behind(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command([*command, "--network.action-bounds", "squash"]) == 2
    assert not list(tmp_path.iterdir())
    assert [line for line in capsys.readouterr().err.splitlines() if "nothing to squash" in line]


@pytest.mark.parametrize("env_id", sorted(KNOWN))
def test_known_spaces_are_those_of_the_environment(env_id: str) -> None:
    environment = gym.make(env_id)
    assert spec_of(environment.observation_space, environment.action_space) == KNOWN[env_id]
    assert known_spaces(EnvSettings(env_id, metrics=("speed",))) != KNOWN[env_id]
