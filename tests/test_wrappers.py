"""Wrappers by name: form, classes, order, spaces, in every vectorisation, in evaluation and film."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml
from processes import Place

from dppo.actor.envs.env_numbers import Place as Slots
from dppo.actor.envs.make import make_environments
from dppo.actor.session.actions import MakeEnvironments
from dppo.learner.config import EnvConfig, LearnerConfig
from dppo.learner.session.settings import session_settings
from dppo.learner.storage.run_directory import StartIdentity
from dppo.local.env_probe import probe
from dppo.local.known_spaces import needs_no_probe
from dppo.local.preflight import env_settings
from dppo.local.spaces_here import looking_for_spaces
from dppo.protocol.env_wrappers import EnvWrapper, parse_wrappers, read_wrappers
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import parse_flags
from dppo.settings.layers import dump_yaml, load_config_file, merge, resolve_file
from dppo.watch.rendering import make_watched

COUNTING = "wrapping_env:Wrapping-v0"
RESCALE = {"gymnasium.wrappers.RescaleAction": {"min_action": -1, "max_action": 1}}
ADD = {"wrapping_env:Adding": {"amount": 1}}
DOUBLE = "wrapping_env.Doubling"
FLATTEN = "gymnasium.wrappers:FlattenObservation"
LIMIT = {"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 3}}

Vectorization = Literal["auto", "sync", "async", "native"]


def settings(*wrappers: Any, vectorization: Vectorization = "sync", env: str = COUNTING) -> EnvSettings:
    return EnvSettings(env, "{}", vectorization, wrappers_json=json.dumps(wrappers))


def first_rewards(env: EnvSettings, place: Slots = Slots()) -> list[float]:
    """Return the rewards of one step of two environments with the largest action, 4 (or 1 where rescaled)."""
    environments = make_environments(env, 2, place=place)
    try:
        environments.reset([1, 2])
        (leaf,) = environments.spec.action
        step = environments.step(np.broadcast_to(np.asarray(leaf.high, np.float32), (2, *leaf.shape)).copy())
        return [float(reward) for reward in step.rewards]
    finally:
        environments.close()


def why_not(*wrappers: Any, vectorization: Vectorization = "sync", env: str = COUNTING) -> str:
    with pytest.raises(UsageError) as caught:
        make_environments(settings(*wrappers, vectorization=vectorization, env=env), 1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_is_the_innermost() -> None:
    assert first_rewards(settings()) == [4.0, 4.0]
    assert first_rewards(settings(ADD, DOUBLE)) == [10.0, 10.0]
    assert first_rewards(settings(DOUBLE, ADD)) == [9.0, 9.0]


@pytest.mark.slow
def test_processes_have_the_same_wrappers() -> None:
    env = settings(ADD, DOUBLE, RESCALE, FLATTEN, vectorization="async")
    assert first_rewards(env) == [10.0, 10.0]
    environments = make_environments(env, 1)
    environments.close()
    assert environments.spec == make_environments(settings(ADD, DOUBLE, RESCALE, FLATTEN), 1).spec


def test_spaces_are_those_outside_of_all_wrappers() -> None:
    plain, changed = (make_environments(settings(*wrappers), 1).spec for wrappers in ((), (RESCALE, FLATTEN)))
    assert (plain.observation[0].shape, plain.action[0].low) == ((2, 2), (0.0,))
    assert (changed.observation[0].shape, changed.action[0].low, changed.action[0].high) == ((4,), (-1.0,), (1.0,))


def test_a_limit_of_steps_truncates() -> None:
    environments = make_environments(settings(LIMIT), 1)
    environments.reset([1])
    ends = [bool(environments.step(np.zeros((1, 1), np.float32)).truncated[0]) for _ in range(6)]
    assert ends == [False, False, True, False, False, True]


def test_arguments_have_placeholders() -> None:
    env = settings({"wrapping_env:Adding": {"amount": "{100*slot}"}})
    assert first_rewards(env, Slots("a", first_slot=7)) == [704.0, 804.0]


def test_auto_leaves_the_native_vector_and_native_is_refused() -> None:
    clip = "gymnasium.wrappers.TimeAwareObservation"
    environments = make_environments(settings(clip, env="CartPole-v1", vectorization="auto"), 2)
    assert environments.description.startswith("sync")
    assert environments.spec.observation[0].shape == (5,)
    assert make_environments(settings(env="CartPole-v1", vectorization="auto"), 2).description.startswith("native")
    assert "env.vectorization=native has none: take sync" in why_not(clip, env="CartPole-v1", vectorization="native")
    with pytest.raises(UsageError, match="take sync or async"):
        EnvConfig(wrappers=[clip], vectorization="native")


@pytest.mark.parametrize(
    ("wrapper", "why"),
    [
        (
            "no_such_module:Wrapper",
            "cannot import 'no_such_module', the module of the wrapper no_such_module:Wrapper: No",
        ),
        ("wrapping_env:Ading", "wrapping_env has no class Ading: did you mean wrapping_env:Adding"),
        ("gymnasium.wrappers:RescaleActions", "did you mean gymnasium.wrappers:RescaleAction"),
        ("gymnasium.wrappers.Monitor", "gymnasium.wrappers has no class Monitor"),
        ("wrapping_env:function", "is a function, and not a class derived from gymnasium.Wrapper"),
        ("wrapping_env:Counting", "is the class Counting, and not a class derived from gymnasium.Wrapper"),
        ("gymnasium.wrappers.vector:ClipReward", "wraps vectors of environments: name one for single environments"),
        ("wrapping_env:Adding", "in wrapping_env:Adding with {}: "),
        ({"wrapping_env:Adding": {"amonut": 1}}, "with {'amonut': 1}: "),
        (
            {"gymnasium.wrappers:TimeLimit": {"max_episode_steps": 0}},
            "with {'max_episode_steps': 0}: ValueError: Expect",
        ),
        (RESCALE, "cannot wrap observations Box(-10.0, 10.0, (2, 2), float32) and actions Discrete(2) in gymna"),
        ("wrapping_env:Forgetful", "AttributeError: "),
        ("wrapping_env:Silent", "it called sys.exit('gone')"),
    ],
    ids=str,
)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_what_does_not_work_is_one_line(wrapper: Any, why: str, vectorization: Vectorization) -> None:
    within = ["wrapping_env:Choosing"] if wrapper is RESCALE else []
    said = why_not(*within, wrapper, vectorization=vectorization)
    assert why in said
    assert "--env.kwargs" not in said


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([1], "1 names no wrapper: write module:Class, or"),
        ([{"a:B": {}, "a:C": {}}], "has 2 names: every wrapper is an entry"),
        ([{}], "has 0 names"),
        (["Wrapper"], "'Wrapper' is no name of a class in a module"),
        (["a/b.py:Wrapper"], "is no name of a class in a module"),
        (["a:B:C"], "is no name of a class in a module"),
        (["a.:B"], "is no name of a class in a module"),
        (["a:lambda"], "is no name of a class in a module"),
        (["a:\x1b[2J"], r"'a:\x1b[2J' is no name"),
        ([{"a:B": [1]}], r"the arguments of 'a:B' must be a mapping, not [1]"),
        ([{"a:B": {"port": "{slat}"}}], "env.wrappers: a:B.port: {slat} in '{slat}' is no placeholder"),
        ([{"a:B": {"day": {1, 2}}}], "must be plain JSON values"),
        ([{"a:B": {"text": "x" * 3000}}], "env.kwargs and env.wrappers take 30"),
    ],
    ids=str,
)
def test_another_form_is_refused_before_any_import(entries: list[Any], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        EnvConfig(wrappers=entries)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "{}", '"a:B"', "[" * 2000, "[1]", '[{"a:B": 3}]'])
def test_a_message_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^env\.wrappers"):
        read_wrappers(text)


def test_both_names_of_a_class_and_no_arguments_mean_the_same() -> None:
    forms = ["a.b:C", "a.b.C", {"a.b:C": None}, {"a.b.C": {}}]
    assert set(map(str, parse_wrappers(forms))) == {str(EnvWrapper("a.b", "C", {}))}


def test_flags_files_and_config_yaml_have_the_same(tmp_path: Path) -> None:
    wrappers = [DOUBLE, RESCALE]
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"env": {"wrappers": wrappers}}))
    known = settings_of(TrainConfig)
    flags = [
        parse_flags(["--env.wrappers", text], known).values
        for text in (
            f"[{DOUBLE}, {{gymnasium.wrappers.RescaleAction: {{min_action: -1, max_action: 1}}}}]",
            json.dumps(wrappers),
        )
    ]
    assert flags == [{"env.wrappers": wrappers}] * 2
    assert load_config_file(file, TrainConfig) == {"env.wrappers": wrappers}
    assert parse_flags(["--env.wrappers", DOUBLE], known).values == {"env.wrappers": [DOUBLE]}
    kept = tmp_path / "config.yaml"
    kept.write_text(dump_yaml(resolve_file(TrainConfig, str(file), flags={}).config))
    assert resolve_file(TrainConfig, str(kept), flags={}).config.learner.env.wrappers == wrappers
    assert merge(TrainConfig, []).config.learner.env.wrappers == []
    with pytest.raises(UsageError, match=r"--env\.wrappers: '\[a' is not a list such as \[module:Wrapper\]"):
        parse_flags(["--env.wrappers", "[a"], known)
    with pytest.raises(UsageError, match=r"--env\.wrappers: 3 is not a list"):
        parse_flags(["--env.wrappers", "3"], known)


def test_every_side_gets_the_wrappers_of_the_configuration() -> None:
    config = LearnerConfig(env=EnvConfig(COUNTING, wrappers=[DOUBLE, RESCALE]))
    told = session_settings(config, StartIdentity("run", term=1, start=1, former_terms=())).env
    assert told == env_settings(config)
    assert read_wrappers(told.wrappers_json) == parse_wrappers([DOUBLE, RESCALE])
    made = MakeEnvironments(told, 1, 1, 0, 0)

    class Wanted:
        env, envs = EnvSettings(COUNTING), 1

    assert made.refusal(Wanted()).startswith("the learner now wants env.wrappers [] (here [")


def test_they_are_tried_before_anything_starts() -> None:
    assert needs_no_probe(settings(env="CartPole-v1"))
    assert not needs_no_probe(settings(FLATTEN, env="CartPole-v1"))


@pytest.mark.slow
def test_the_probe_finds_their_errors_and_their_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    found: list[Any] = []
    probe(settings(FLATTEN), pytest.fail, found=found.append)
    assert found[0].observation[0].shape == (4,)
    with pytest.raises(UsageError, match="did you mean wrapping_env:Adding"):
        probe(settings("wrapping_env:Ading"), pytest.fail)


def test_spaces_are_not_looked_for_where_each_may_have_others() -> None:
    env = settings({"wrapping_env:Adding": {"amount": "{slot}"}})
    with looking_for_spaces(env, 8) as future:
        assert "env.wrappers has placeholders" in future.result(1.0).why_unknown


def test_film_has_them() -> None:
    environment = make_watched(EnvConfig(COUNTING, wrappers=[ADD, DOUBLE, FLATTEN]), "rgb_array")
    environment.reset(seed=1)
    observation, reward, *_ = environment.step(np.array([4.0], np.float32))
    assert (reward, observation.shape) == (10.0, (4,))


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--actors", "0"), ("--actors", "1", "--env.vectorization", "async")], ids=" ".join)
def test_a_run_trains_and_plays_what_its_wrappers_make_of_it(how: tuple[str, ...]) -> None:
    wrappers = json.dumps([{"wrapping_env:Adding": {"amount": 1000}}, FLATTEN, LIMIT])
    with Place() as place:
        (place.path / "wrapping_env.py").write_text((Path(__file__).parent / "wrapping_env.py").read_text())
        command = place.start(
            *("train", "--env", COUNTING, "--env.wrappers", wrappers, "--run.total-steps", "96", *how),
            *("--collect.batch-steps", "48", "--collect.envs-per-actor", "2", "--ppo.minibatch-steps", "24"),
            *("--run.directory", "run", "--evaluation-episodes", "2", "--run.tensorboard", "false"),
        )
        place.ends(command, code=0)
        row = json.loads((place.path / "run/metrics.jsonl").read_text().splitlines()[-1])
        assert row["mean_length"] == 3
        assert 3000 <= row["mean_return"] <= 3012
        assert "2 episodes, most likely actions: return 3,0" in command.said()
        other = place.start("train", "--env", COUNTING, "--run.directory", "run", *how)
        place.ends(other, code=2)
        assert "env.wrappers" in other.complained()
        place.leaves_nothing()
