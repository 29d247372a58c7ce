"""Returns of info["episode"] (RecordEpisodeStatistics, Monitor), from the environment to the learner's curve."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from metrics_env import Telling
from own_return_env import CutShort, counted
from test_api_train import SMALL
from test_own_metrics import collected

import dppo
from dppo.actor.envs.own_returns import TEXT, own_return, own_returns_in
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.protocol.messages import EnvSettings
from dppo.watch.evaluate import evaluate

RECORD = "gymnasium.wrappers:RecordEpisodeStatistics"
HALVED = "own_return_env:Halved"
TELLING = EnvSettings("metrics_env:Telling-v0", vectorization="sync")


def wrapped(*wrappers: Any, **changes: Any) -> EnvSettings:
    return msgspec.structs.replace(TELLING, wrappers_json=json.dumps(wrappers), **changes)


@pytest.mark.parametrize(
    ("wrappers", "returns"), [((RECORD, HALVED), 3.0), ((HALVED, RECORD), 1.5), ((HALVED,), 1.5), ((RECORD,), 3.0)]
)
def test_an_episode_counts_as_the_wrapper_inside_has_counted_it(wrappers: tuple[str, ...], returns: float) -> None:
    _, segment = collected(wrapped(*wrappers))
    np.testing.assert_array_equal(segment.episode_returns, [returns] * 4)
    np.testing.assert_array_equal(segment.episode_lengths, [3] * 4)
    assert segment.rewards.max() == (0.5 if HALVED in wrappers else 1.0)  # what is trained on stays as it is


@pytest.mark.slow
def test_processes_count_the_same() -> None:
    _, segment = collected(wrapped(RECORD, HALVED, vectorization="async"))
    np.testing.assert_array_equal(segment.episode_returns, [3.0] * 4)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
@pytest.mark.parametrize("inside", ["", "yes"])
def test_a_vector_counts_the_same(mode: str, inside: str) -> None:
    kwargs = json.dumps({"mode": mode, "inside": inside})
    env = EnvSettings("own_return_env:CountedVector-v0", vectorization="native", kwargs_json=kwargs)
    _, segment = collected(env, envs=3)
    np.testing.assert_array_equal(segment.episode_returns, [3.0] * 6)
    assert segment.rewards.max() == 0.5


def test_segments_that_were_thrown_away_are_told_of_later() -> None:
    _, segment = collected(wrapped(RECORD, HALVED), steps=3, discarded=3)
    np.testing.assert_array_equal(segment.episode_returns, [3.0] * 4)


def test_an_episode_that_ends_outside_of_the_wrapper_counts_with_its_rewards() -> None:
    _, segment = collected(wrapped(RECORD, HALVED, "own_return_env:CutShort"), steps=4)
    np.testing.assert_array_equal(segment.episode_returns, [1.0] * 4)


@pytest.mark.parametrize("thing", [7, "r", None, [1.0], {}, {"l": 3}, {"r": None}, {"r": "much"}, {"r": math.nan}])
def test_another_thing_of_that_name_changes_nothing(thing: Any) -> None:
    _, segment = collected(wrapped({"own_return_env:Saying": {"thing": thing}}))
    np.testing.assert_array_equal(segment.episode_returns, [3.0] * 4)
    assert math.isnan(own_return({"episode": thing}))


@pytest.mark.parametrize(
    "infos",
    [
        {},
        {"episode": 3},
        {"episode": {"r": 1.0}},
        {"episode": {"r": np.ones(3)}},
        {"episode": {"r": np.ones((2, 1))}},
        {"episode": {"r": np.ones(2)}, "_episode": np.zeros(2, bool)},
        {"episode": {"r": np.ones(2), "_r": np.zeros(2, bool)}},
        {"episode": {"r": np.full(2, math.inf)}},
        np.array([None, None]),
    ],
)
def test_infos_of_a_vector_without_returns(infos: Any) -> None:
    notes: list[str] = []
    assert own_returns_in(infos, {}, np.ones(2, bool), notes.append) == {}
    assert notes == []


def test_infos_of_a_vector_are_read_where_an_episode_has_ended() -> None:
    notes: list[str] = []
    infos = {"episode": {"r": np.array([1.0, 2.0, 3.0])}, "_episode": np.array([True, True, False])}
    assert own_returns_in({}, infos, np.array([False, True, True]), notes.append) == {1: 2.0}
    assert notes == [TEXT]


def test_it_is_noted_once() -> None:
    notes: list[str] = []
    environments = SyncLoop([counted(), counted()], note=notes.append)
    environments.reset([1, 2])
    for _ in range(9):
        environments.step(np.zeros((2, 1), np.int64))
    assert notes == [TEXT]
    plain = SyncLoop([Telling(), CutShort(Telling())], note=notes.append)
    plain.reset([1, 2])
    for _ in range(9):
        assert plain.step(np.zeros((2, 1), np.int64)).own_returns == {}
    assert notes == [TEXT]


@pytest.mark.slow
def test_learner_and_evaluation_report_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    env = {"id": TELLING.id, "wrappers": [RECORD, HALVED]}
    result = dppo.train(config={"env": env}, directory=str(run), **SMALL)
    assert result.mean_return == 3.0
    assert set(result.returns) == {3.0}
    assert result.evaluation is not None
    assert result.evaluation.returns == (3.0, 3.0)
    assert f"actor-0: {TEXT}" in capsys.readouterr().out
    assert evaluate(str(run), episodes=4).returns == (3.0,) * 4
    assert f"note: {TEXT}" in capsys.readouterr().err
