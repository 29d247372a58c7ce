"""Environments that raise or give numbers that are not finite: what their actor records, restarts and tells."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from counting import CountingEnv
from graphs import categorical_graph
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from troubled_env import INFINITE, LONG, NAN, Troubled, gives_at, raises_at

from dppo.actor.envs.crash_recovery import MAX_IN_A_ROW
from dppo.actor.envs.interface import Crash
from dppo.actor.envs.make import make_environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.noise import environment_seeds, restart_seed
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.session.rollout_validation import check_segment
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.rollout import Segment

EVEN = PolicyRunner(categorical_graph(np.zeros((4, 3))))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "instances", 0)
    monkeypatch.setattr(Troubled, "seeds", [])


class Source:
    """A collector whose crashes are kept."""

    def __init__(self, envs: int = 2, *, vector: AutoresetMode | None = None) -> None:
        self.crashes: list[Crash] = []
        if vector is None:
            environments: Any = SyncLoop([Troubled() for _ in range(envs)], lambda column: Troubled())
        else:
            make = partial(SyncVectorEnv, [Troubled] * envs, autoreset_mode=vector)
            environments = VectorEnvironments(make(), "test", "per_column", make)
        self.spec = environments.spec
        self.collector = Collector(environments, seed=5, first_slot=3, life=2, on_crash=self.crashes.append)
        self.collector.load(EVEN)

    def collect(self, rows: int) -> Segment:
        for _ in range(rows):
            self.collector.step()
        segment = self.collector.cut()
        assert segment is not None
        check_segment(self.spec, segment)
        return segment


def seen(segment: Segment, column: int) -> list[tuple[int, int, int]]:
    """(instance, episode, step) of every observation of a column."""
    return [tuple(map(int, row[:3])) for row in segment.observations["observation"][:, column]]


@pytest.mark.parametrize(
    "trouble",
    [
        raises_at(1, 4),
        raises_at(1, 4, SystemExit(2)),
        gives_at(1, 4, NAN),
        gives_at(1, 4, INFINITE),
        gives_at(1, 4, float("nan")),
        gives_at(1, 4, float("-inf")),
        gives_at(1, 4, np.zeros(3)),  # another shape than it promised
    ],
)
def test_a_crash_ends_its_episode_as_truncated_at_the_step_before_and_costs_no_other_column_anything(
    monkeypatch: pytest.MonkeyPatch, trouble: Any
) -> None:
    monkeypatch.setattr(Troubled, "in_step", staticmethod(trouble))
    source = Source()
    segment = source.collect(6)
    assert seen(segment, 0) == [(0, 0, step) for step in range(7)]
    assert seen(segment, 1) == [(1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 0, 3), (2, 0, 0), (2, 0, 1), (2, 0, 2)]
    assert segment.valid.T.tolist() == [[True] * 6, [True, True, True, False, True, True]]
    assert segment.truncated.T.tolist() == [[False] * 6, [False, False, True, False, False, False]]
    assert not segment.terminated.any()
    assert segment.rewards.T.tolist() == [[1.0] * 6, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]]
    np.testing.assert_array_equal(segment.final_observations["observation"], segment.observations["observation"][3, 1:])
    assert segment.steps == 11
    (crash,) = source.crashes
    assert (crash.column, crash.during) == (1, "step")


def test_broken_episodes_are_not_told_and_whole_ones_after_them_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_step", staticmethod(raises_at(1, 4)))
    segment = Source().collect(30)
    episodes = list(zip(segment.episode_columns, segment.episode_lengths, segment.episode_returns, strict=True))
    assert sorted(episodes) == [(0, LONG, LONG), (0, LONG, LONG), (1, LONG, LONG), (1, LONG, LONG)]


@pytest.mark.parametrize("before", [1, 2, 3, 4])
def test_an_episode_that_breaks_off_in_the_first_row_of_a_segment_is_not_told_either(
    monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """before: rows in the segment before the one with the crash, which is at the fourth step."""
    monkeypatch.setattr(Troubled, "in_step", staticmethod(raises_at(0, 4)))
    source = Source(1)
    first = source.collect(before)
    second = source.collect(40 - before)
    assert first.episode_lengths.tolist() == []
    assert second.episode_lengths.tolist() == [LONG] * 3
    np.testing.assert_array_equal(first.observations["observation"][-1], second.observations["observation"][0])
    assert int(first.truncated.sum() + second.truncated.sum()) == 3 + (before != 3)
    # where the row before is in the segment before, its last observation is what the learner bootstraps from
    if before == 3:
        assert seen(first, 0)[-1] == (0, 0, 3)
        assert not second.valid[0, 0]


def test_a_segment_of_one_lost_row_is_not_cut_and_its_episode_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_step", staticmethod(raises_at(0, 4)))
    source = Source(1)
    source.collect(3)
    source.collector.step()
    assert source.collector.cut() is None
    segment = source.collect(LONG)
    assert seen(segment, 0)[0] == (1, 0, 0)
    assert segment.episode_lengths.tolist() == [LONG]
    assert segment.episode_returns.tolist() == [LONG]


def test_two_columns_that_end_in_one_row_keep_their_own_final_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Column 1 reaches its limit in row 11, and columns 0 and 2 break off there by crashing in row 12."""

    def trouble(instance: int, step: int) -> None:
        if instance in (0, 2, 4) and step == (LONG if instance == 4 else LONG + 1):
            raise RuntimeError

    monkeypatch.setattr(Troubled, "in_step", staticmethod(trouble))
    source = Source(3)
    for environment in (0, 2):  # their episodes run on past the limit of the one between them
        source.collector._environments._environments[environment].step_of_episode = 50
    segment = source.collect(LONG + 2)
    assert segment.truncated[LONG - 1].tolist() == [True, True, True]
    finals = segment.final_observations["observation"]
    assert finals[:, 0].tolist() == [0, 1, 2]
    assert finals[:, 2].tolist() == [50 + LONG, LONG, 50 + LONG]


def test_a_reset_that_raises_costs_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_reset", staticmethod(raises_at(0, 1)))
    source = Source(1)
    segment = source.collect(LONG + 2)
    assert segment.steps == LONG + 2
    assert segment.episode_lengths.tolist() == [LONG]
    assert seen(segment, 0)[LONG:] == [(1, 0, 0), (1, 0, 1), (1, 0, 2)]
    assert segment.final_observations["observation"][0].tolist()[:3] == [0, 0, LONG]
    assert [crash.during for crash in source.crashes] == ["reset"]


def test_a_reset_that_gives_nan_costs_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_reset", staticmethod(gives_at(0, 1, NAN)))
    source = Source(1)
    segment = source.collect(LONG + 2)
    assert segment.steps == LONG + 2
    assert seen(segment, 0)[LONG:] == [(1, 0, 0), (1, 0, 1), (1, 0, 2)]
    assert [crash.during for crash in source.crashes] == ["reset"]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_is_made_again_as_a_whole_and_all_its_open_episodes_are_truncated(
    monkeypatch: pytest.MonkeyPatch, mode: AutoresetMode
) -> None:
    # a vector makes one more to look at; 2 and 3 come after the crash
    source = Source(2, vector=mode)
    first = Troubled.instances - 2
    monkeypatch.setattr(Troubled, "in_step", staticmethod(raises_at(first + 1, 4)))
    segment = source.collect(6)
    assert segment.valid.tolist() == [[True] * 2] * 3 + [[False] * 2] + [[True] * 2] * 2
    assert segment.truncated.tolist() == [[False] * 2] * 2 + [[True] * 2] + [[False] * 2] * 3
    assert [instance for instance, _, _ in seen(segment, 0)][3:] == [first, first + 2, first + 2, first + 2]
    assert segment.steps == 10
    assert segment.episode_lengths.size == 0


@pytest.mark.parametrize("value", [NAN, float("inf")], ids=str)
def test_a_vector_that_gives_nan_in_one_column_is_made_again(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    source = Source(2, vector=AutoresetMode.SAME_STEP)
    first = Troubled.instances - 2
    monkeypatch.setattr(Troubled, "in_step", staticmethod(gives_at(first, 3, value)))
    segment = source.collect(6)
    assert segment.valid.all(axis=1).tolist() == [True, True, False, True, True, True]
    assert [crash.column for crash in source.crashes] == [0]


def test_no_seed_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_step", staticmethod(lambda instance, step: 1 / 0 if step == 3 else None))
    source = Source(2)
    for _ in range(40):
        source.collector.step()
    assert len(source.crashes) > 20
    assert len(set(Troubled.seeds)) == len(Troubled.seeds) == 2 + len(source.crashes)
    assert Troubled.seeds[:2] == environment_seeds(5, first_slot=3, envs=2, life=2)
    assert Troubled.seeds[2] == restart_seed(5, slot=3, life=2, restart=1)
    assert all(0 <= seed < 2**31 for seed in Troubled.seeds)


def test_who_crashes_at_every_step_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_step", staticmethod(lambda instance, step: 1 / 0))
    source = Source(1)
    with pytest.raises(DppoError, match=r"^environment 0 failed in step: ZeroDivisionError: .*test_repairs") as caught:
        source.collect(20)
    assert not isinstance(caught.value, UsageError)
    assert len(source.crashes) == MAX_IN_A_ROW + 1
    assert "\n" not in str(caught.value)


def test_who_gets_through_a_step_now_and_then_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_step", staticmethod(lambda instance, step: 1 / 0 if step == 2 else None))
    source = Source(1)
    segment = source.collect(60)
    assert segment.steps == len(source.crashes) == 30


def test_resets_that_raise_again_and_again_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Troubled, "in_reset", staticmethod(lambda instance, episode: 1 / 0 if instance else None))
    monkeypatch.setattr(Troubled, "in_step", staticmethod(raises_at(0, 4)))
    source = Source(1)
    with pytest.raises(DppoError, match="failed in reset: ZeroDivisionError"):
        source.collect(6)


def test_what_cannot_be_made_again_ends_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = make_environments(EnvSettings("counting:Counting-v0", vectorization="sync"), 2)
    monkeypatch.setattr(CountingEnv, "__init__", lambda self: 1 / 0)
    with pytest.raises(DppoError, match="cannot be made again: ZeroDivisionError"):
        environments.restart([1], [7])


@pytest.mark.parametrize("trouble", [raises_at(0, 0), gives_at(0, 0, NAN)])
def test_a_first_reset_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, trouble: Any) -> None:
    monkeypatch.setattr(Troubled, "in_reset", staticmethod(trouble))
    with pytest.raises(DppoError, match=r"failed in reset: .*; so no episode can be started"):
        Source()


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_made_environments_are_restarted_with_their_keyword_arguments(vectorization: Any) -> None:
    settings = EnvSettings("CartPole-v1", '{"max_episode_steps": 2}', vectorization)
    environments = make_environments(settings, 2)
    environments.reset([1, 2])
    environments.restart([0, 1], [3, 4])
    actions = np.zeros(2, int)
    assert not environments.step(actions).truncated.any()
    assert environments.step(actions).truncated.all()
