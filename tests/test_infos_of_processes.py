"""Infos of environments in processes of their own: what is read arrives, and nothing else has to fit into a message."""

import json
from typing import Any, Literal

import numpy as np
import pytest
from odd_infos_env import OddInfos, TakesNothing, TakesSeedOnly
from test_own_metrics import collected

from dppo.actor.envs.crash_recovery import CrashRecovery
from dppo.actor.envs.crash_reports import CrashReports
from dppo.actor.envs.first_calls import check_first_calls, given_to_reset
from dppo.actor.envs.make import make_environments
from dppo.actor.envs.returned_values import BrokenContract
from dppo.actor.envs.subprocess_workers import _InWorker
from dppo.actor.envs.vector_infos import told_at_the_end
from dppo.actor.watchdog.activity import Activity
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings

BY_COLUMN = '{"column": "{column}"}'


def settings(kind: str, vectorization: Literal["sync", "async"], kwargs: str = BY_COLUMN) -> EnvSettings:
    return EnvSettings(f"odd_infos_env:{kind}", kwargs, vectorization, metrics=("distance",))


@pytest.mark.parametrize("vectorization", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_what_is_read_of_odd_infos_is_the_same_in_every_vectorisation(vectorization: Literal["sync", "async"]) -> None:
    _, segment = collected(settings("OddInfos-v0", vectorization), steps=6)
    assert segment.steps == 12
    np.testing.assert_array_equal(segment.episode_metrics[:, 0], [0, 0.75, 0, 0.75])
    np.testing.assert_array_equal(segment.episode_successes, [np.nan, 1, np.nan, 1])
    np.testing.assert_array_equal(segment.episode_returns, [10, 0.5, 10, 0.5])


def test_a_process_tells_what_is_read_and_nothing_else() -> None:
    environment = _InWorker(OddInfos(1), metrics=("distance", "absent"))
    assert environment.reset(seed=1)[1] == {}
    infos = [environment.step(np.int64(0))[4] for _ in range(3)]
    assert infos == [{}, {}, {"distance": 0.75, "is_success": 1.0, "episode": {"r": 0.5}}]


@pytest.mark.parametrize("value", [None, "far", 1e300, np.zeros(3), {"a": 1}, lambda: 1])
def test_whatever_a_value_is_its_type_in_a_message_is_the_same(value: Any) -> None:
    told = told_at_the_end({"distance": value, "is_success": value, "episode": value}, ("distance",))
    assert {name: type(number) for name, number in told.items()} == {"distance": float, "is_success": float}


@pytest.mark.parametrize("vectorization", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_a_reset_need_not_take_options(vectorization: Literal["sync", "async"]) -> None:
    environments = make_environments(settings("TakesSeedOnly", vectorization), 2)
    try:
        environments.reset([1, 2])
        ended = [environments.step(np.zeros(2, np.int64)).terminated.all() for _ in range(4)]
    finally:
        environments.close()
    assert ended == [False, False, True, False]


def test_a_reset_that_takes_no_seed_is_named_with_what_to_write() -> None:
    environments = make_environments(settings("TakesNothing", "sync"), 1)
    with pytest.raises(
        UsageError, match=r"reset\(\) got an unexpected .*'seed': write it as def reset\(self, \*, seed="
    ):
        CrashRecovery(
            environments, seed=1, first_slot=0, life=0, on_crash=lambda crash: None, activity=Activity()
        ).first_observations()


def test_a_step_that_takes_no_action_is_named_with_what_to_write() -> None:
    class StepsAlone(OddInfos):
        step: Any = lambda self: OddInfos.step(self, np.int64(0))

    environment = StepsAlone(0)
    check_first_calls(environment)
    with pytest.raises(BrokenContract, match=r"step\(\) too many positional arguments: write it as def step"):
        environment.step(0)


@pytest.mark.parametrize("vectorization", ["sync", pytest.param("async", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("own class", "SimulatorError: the arm is stuck"),
        ("with a lock", "RuntimeError: ('the arm is stuck', <unlocked _thread.lock"),
        ("textless", "TextlessError: <exception str() failed>"),
        ("exit", "SystemExit: the arm is stuck"),
        ("plain", "ValueError: the arm is stuck"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # with which Gymnasium reports the process's error
def test_whatever_an_environment_raises_arrives_as_its_kind_text_and_place(
    error: str, words: str, vectorization: Literal["sync", "async"]
) -> None:
    environments = make_environments(settings("Raising", vectorization, json.dumps({"error": error})), 1)
    try:
        environments.reset([1])
        assert not environments.step(np.zeros(1, np.int64)).crashes
        (crash,) = environments.step(np.zeros(1, np.int64)).crashes
    finally:
        environments.close()
    text = str(crash)
    assert text.startswith(f"environment 0 failed in step: {words}")
    assert text.endswith(" in step)")
    assert "odd_infos_env.py:" in text
    reports = CrashReports()
    assert reports.line_for(crash) == text
    assert reports.line_for(crash) == ""


def test_only_arguments_that_were_given_are_handed_on() -> None:
    assert given_to_reset(None, None) == {}
    assert given_to_reset(0, None) == {"seed": 0}
    assert given_to_reset(1, {}) == {"seed": 1, "options": {}}
    assert TakesSeedOnly(0).reset(**given_to_reset(3, None))[0].shape == (1,)
    assert TakesNothing(0).reset(**given_to_reset(None, None))[0].shape == (1,)
