"""What `dppo check` names in environments that train badly, and that it finds nothing in those that train well."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from shards import fast_first

from dppo.actor.envs.make import make_environments
from dppo.cli import main
from dppo.ops.check import random_play
from dppo.ops.check.command import check, examine
from dppo.ops.check.deadline import Deadline
from dppo.ops.check.random_actions import RandomActions
from dppo.ops.check.random_play import Play
from dppo.ops.check.speed import speed
from dppo.ops.doctor.finding import Finding
from dppo.protocol.messages import EnvSettings
from dppo.protocol.specs import masked_spec, spec_of
from dppo.settings.check_arguments import CheckConfig
from dppo.settings.fields import build
from tests import faulty_envs

STEPS = 600
NAMED = {  # what is looked at, and a part of the line that tells what to do
    "NotClosing": ("close", "close() failed: LookupError: no such window (faulty_envs.py"),
    "Leaving": ("close", "close() failed: SystemExit: 5"),
    "DeadSensor": ("observation", "[2] = 0"),
    "Blind": ("observation", "is the same"),
    "FarFromZero": ("observation", "Subtract"),
    "Glitching": ("observation", "[1] = 1e+06"),
    "NotFinite": ("steps", "NaN or infinite"),
    "OutOfBounds": ("spaces", "outside of the -1 to 1"),
    "WrongShape": ("steps", "shape (3,)"),
    "NoReward": ("reward", "pay for progress"),
    "HugeReward": ("reward", "ppo.reward_scale"),
    "TinyReward": ("reward", "ppo.reward_scale"),
    "RewardGlitch": ("reward", "ppo.reward_clip"),
    "SameReturn": ("reward", "make no difference"),
    "RewardIsNone": ("steps", "the reward None"),
    "Endless": ("episodes", "TimeLimit"),
    "LimitAsEnd": ("episodes", "truncated=True"),
    "OverAtOnce": ("episodes", "first step"),
    "PaidAtTheEnd": ("episodes", "ppo.gamma: 0.998"),
    "GlobalNoise": ("seed", "np_random"),
    "SeedIgnored": ("seed", "np_random"),
    "LeakingReset": ("reset", "leaks"),
    "ActionLost": ("actions", "handed on"),
    "OneActionLost": ("actions", "action[1]"),
    "Crashing": ("steps", "the joint is gone"),
    "OldApi": ("steps", "before 0.26"),
    "MaskWithoutChoice": ("steps", "without any legal choice"),
}
MORE_SETTINGS = {
    "Unscaled": ("observation", "network.normalise_observations", {"network.normalise_observations": False}),
    "Cart": ("episodes", "ppo.gamma", {"ppo.gamma": 0.5}),
    "Leaking": ("memory", "MiB", {"check_steps": 4_000}),
}
HEALTHY = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "FrozenLake-v1",
    "MountainCarContinuous-v0",
    "tests.faulty_envs:Cart-v0",
)
WITH_EXTRAS = {  # need a simulator
    "Box2D": ("LunarLander-v3", "BipedalWalker-v3"),
    "ale_py": ("ALE/Pong-v5",),
    "mujoco": ("HalfCheetah-v5", "Hopper-v5", "InvertedPendulum-v5", "Reacher-v5"),
}


def config_of(env: str, **settings: object) -> CheckConfig:
    # seconds that do not end it: so many steps on a busy machine too
    return build(CheckConfig, {"env.id": env, "check_steps": STEPS, "check_seconds": 100.0, **settings})


def wrong_in(config: CheckConfig) -> Sequence[Finding]:
    with Deadline(config.learner.env.id, 60) as deadline:
        return [finding for finding in examine(config, deadline) if finding.level != "ok"]


@pytest.mark.parametrize("fault", fast_first(NAMED, 4))
def test_a_fault_is_named_and_nothing_else(fault: str) -> None:
    found = wrong_in(config_of(f"tests.faulty_envs:{fault}-v0"))
    what, text = NAMED[fault]
    assert [finding.what for finding in found] == [what]
    assert text in found[0].line
    assert found[0].line.isprintable()


@pytest.mark.parametrize("fault", ["Unscaled", "Cart", pytest.param("Leaking", marks=pytest.mark.slow)])
def test_a_fault_of_settings_is_named(fault: str) -> None:
    what, text, settings = MORE_SETTINGS[fault]
    found = wrong_in(config_of(f"tests.faulty_envs:{fault}-v0", **settings))
    assert [finding.what for finding in found] == [what]
    assert text in found[0].line


def test_every_planted_fault_is_tried() -> None:
    assert {kind.__name__ for kind in faulty_envs.FAULTY} == {*NAMED, *MORE_SETTINGS} - {"Cart"}


@pytest.mark.fast(2)
@pytest.mark.parametrize("env", HEALTHY)
def test_nothing_is_named_where_nothing_is_wrong(env: str) -> None:
    assert wrong_in(config_of(env)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "env"), [(package, env) for package in WITH_EXTRAS for env in WITH_EXTRAS[package]]
)
def test_nothing_is_named_in_simulators(package: str, env: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    # a process of its own: other tests forget what a package has registered in this one
    command = [sys.executable, "-m", "dppo.cli", "check", env, "--check-steps", "4000", "--check-seconds", "100"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"nothing is wrong: dppo train {env}" in ended.stdout


def test_the_command_prints_and_exits_by_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(config_of("tests.faulty_envs:Blind-v0", json=True)) == 1
    shown = json.loads(capsys.readouterr().out)
    assert not shown["ok"]
    assert [finding["what"] for finding in shown["findings"] if finding["level"] == "error"] == ["observation"]
    assert check(config_of("CartPole-v1")) == 0
    assert "nothing is wrong: dppo train CartPole-v1" in capsys.readouterr().out


def test_the_file_of_a_run_is_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("env: {id: CartPole-v1}\nactors: 4\nppo: {gamma: 0}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["check", "--config", str(file), "--check-steps", "300"])
    assert end.value.code == 0
    assert "ppo.gamma" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["check", "Nothing-v0"], "Nothing-v0"),
        (["check", "CartPole-v1", "--check-steps", "0"], "check_steps"),
        (["check", "CartPole-v1", "--ppo.gama", "1"], "ppo.gamma"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("dppo: error") == 1


def test_random_actions_are_legal_and_within_every_space() -> None:
    import gymnasium as gym

    spaces = gym.spaces
    action = spaces.Dict(
        {
            "a": spaces.Box(np.array([-2, -np.inf], np.float32), np.array([3, np.inf], np.float32)),
            "b": spaces.Discrete(3, start=-1),
            "c": spaces.MultiDiscrete([[2, 3], [1, 4]]),
            "d": spaces.MultiBinary(2),
            "e": spaces.Box(-4, 9, (2,), np.int64),
        }
    )
    spec = masked_spec(spec_of(spaces.Box(-1, 1, (1,)), action))
    draw = RandomActions(spec, 1)
    legal = np.ones((1, spec.mask[0].elements), bool)
    legal[0, :2] = False  # of b only 1 is left
    seen = set()
    for _ in range(200):
        drawn = draw.next({spec.mask[0].name: legal})
        assert isinstance(drawn, dict)
        seen.add(int(drawn["env_action.b"][0]))
        in_space = {name: drawn[f"env_action.{name}"][0].astype(action[name].dtype) for name in "acde"}
        assert all(action[name].contains(value) for name, value in in_space.items())
    assert seen == {1}


class Ticking:
    """A clock that goes on by a millisecond each time that it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_busy_machine_is_no_environment_that_waits(is_busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_play, "queued_seconds", Ticking() if is_busy else lambda: 0.0)
    environments = make_environments(EnvSettings("CartPole-v1", "{}", "sync"), 1)
    result = random_play.play(environments, seed=1, steps=200, seconds=100.0, clock=Ticking())
    text = speed(result, cores=2)[0].means
    assert ("waits" in text) != is_busy  # a millisecond of each step passes, of which its own work is hardly anything


def test_speeds_name_slow_resets_and_waiting() -> None:
    waiting = Play([], rewards=[0.0] * 1_000, lengths=[10], step_seconds=0.1, cpu_share=0.01, reset_seconds=30.0)
    first, *more = speed(waiting, cores=2)
    assert "--actors 8" in first.means
    assert "async" in first.means
    assert [finding.what for finding in more] == ["speed"]
    computing = Play([], rewards=[0.0] * 1_000, lengths=[1_000], step_seconds=0.0001, cpu_share=1.0)
    assert [finding.level for finding in speed(computing, cores=2)] == ["ok"]
