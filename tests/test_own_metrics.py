"""Numbers of the user's own, from the environment's info to the curve."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from graphs import categorical_graph

from dppo.actor.envs.make import make_environments
from dppo.actor.envs.metrics import as_real
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import EnvConfig, LearnerConfig
from dppo.learner.run_config import RunConfig
from dppo.learner.session.rollout_validation import check_segment
from dppo.learner.session.settings import session_settings, why_not_trained
from dppo.learner.storage.progress import Progress
from dppo.learner.storage.run_directory import StartIdentity
from dppo.learner.storage.summary import summary
from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.learner.telemetry.metrics import MetricsWriter
from dppo.learner.telemetry.update_metrics import unreported
from dppo.local.live_table import _metrics
from dppo.local.preflight import env_settings
from dppo.local.run_summary import closing_text
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import EnvSettings
from dppo.protocol.metric_names import MAX_METRICS
from dppo.protocol.rollout import Segment, pack, unpack
from dppo.protocol.specs import Spec, check_spec

NAMES = ("distance", "is_good", "huge", "nothing", "text", "absent")
TELLING = EnvSettings("metrics_env:Telling-v0", vectorization="sync")


def asked(metrics: tuple[str, ...], step_metrics: tuple[str, ...] = (), **changes: Any) -> EnvSettings:
    return msgspec.structs.replace(TELLING, metrics=metrics, step_metrics=step_metrics, **changes)


def collected(env: EnvSettings, *, envs: int = 2, steps: int = 7, discarded: int = 0) -> tuple[Any, Segment]:
    environments = make_environments(env, envs)
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    collector.load(PolicyRunner(categorical_graph(np.zeros((1, 2), np.float32))))
    for _ in range(discarded):
        collector.step()
    collector.discard()
    for _ in range(steps):
        collector.step()
    segment = collector.cut()
    environments.close()
    assert segment is not None
    return environments.spec, segment


def test_the_last_info_of_every_episode_is_told() -> None:
    spec, segment = collected(asked(NAMES))
    assert spec.metrics == NAMES
    nan = math.nan
    np.testing.assert_array_equal(segment.episode_metrics, [[0.25, 1.0, nan, nan, nan, nan]] * 4)
    assert segment.episode_metrics.dtype == np.float32


def test_named_values_of_every_step_are_averaged_over_the_episode() -> None:
    _, segment = collected(asked(("distance",), ("progress", "absent")))
    np.testing.assert_array_equal(segment.episode_metrics, [[0.25, 2.0, math.nan]] * 4)


@pytest.mark.slow
def test_processes_tell_the_same() -> None:
    _, segment = collected(asked(("distance",), ("progress",), vectorization="async"))
    np.testing.assert_array_equal(segment.episode_metrics, [[0.25, 2.0]] * 4)


def test_a_vector_tells_what_its_masks_say() -> None:
    env = asked(("distance",), id="metrics_env:TellingVector-v0", vectorization="native")
    _, segment = collected(env, envs=3, steps=4)
    np.testing.assert_array_equal(segment.episode_metrics, [[0.0], [math.nan], [0.5]])
    with pytest.raises(UsageError, match=r"run\.step_metrics need single environments"):
        make_environments(msgspec.structs.replace(env, step_metrics=("progress",)), 1)
    auto = msgspec.structs.replace(env, step_metrics=("progress",), vectorization="auto")
    assert make_environments(auto, 1).description.startswith("sync")


def test_segments_that_were_thrown_away_are_told_of_later() -> None:
    _, segment = collected(asked(("distance",), ("progress",)), steps=3, discarded=3)
    np.testing.assert_array_equal(segment.episode_metrics, [[0.25, 2.0]] * 4)


def test_without_names_nothing_is_carried_and_nothing_is_wrapped() -> None:
    spec, segment = collected(TELLING)
    assert spec.metrics == ()
    assert segment.episode_metrics.shape == (4, 0)
    plain = dataclasses.replace(segment, episode_metrics=np.empty((0, 0), np.float32))
    assert pack(spec, segment) == pack(spec, plain)
    named, with_metrics = collected(asked(("distance",)))
    assert len(pack(named, with_metrics)) == len(pack(spec, segment)) + 4 * 4


def test_they_arrive_as_they_were_sent() -> None:
    spec, segment = collected(asked(NAMES, ("progress",)))
    arrived = unpack(spec, segment.counts, pack(spec, segment))
    np.testing.assert_array_equal(arrived.episode_metrics, segment.episode_metrics)
    check_segment(spec, arrived)
    with pytest.raises(ProtocolError, match="bytes, not"):
        unpack(msgspec.structs.replace(spec, metrics=NAMES), segment.counts, pack(spec, segment))
    infinite = dataclasses.replace(segment, episode_metrics=np.full((4, 7), np.inf, np.float32))
    with pytest.raises(ProtocolError, match="a metric of an episode is infinite"):
        check_segment(spec, infinite)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([f"m{i}" for i in range(MAX_METRICS + 1)], "there are 17 metrics; at most 16"),
        (["a", "a"], "a metric is named twice"),
        ([""], "is no name of a metric"),
        (["x" * 65], "is no name of a metric"),
        (["a\x1b[2J"], "is no name of a metric"),
        (["ä"], "is no name of a metric"),
    ],
)
def test_names_are_few_short_and_printable_on_both_sides(names: list[str], why: str) -> None:
    spec, _ = collected(TELLING)
    with pytest.raises(ProtocolError, match=why):
        check_spec(msgspec.structs.replace(spec, metrics=tuple(names)))
    with pytest.raises(UsageError, match=rf"^run\.metrics and run\.step_metrics: .*{why}"):
        RunConfig(metrics=tuple(names[:1]), step_metrics=tuple(names[1:]))


def test_an_actor_cannot_bring_metrics_of_its_own() -> None:
    config = LearnerConfig(env=EnvConfig(TELLING.id), run=RunConfig(metrics=("distance",)))
    spec, _ = collected(TELLING)
    assert "metrics none are not those of this run (distance)" in why_not_trained(spec, config)
    assert not why_not_trained(msgspec.structs.replace(spec, metrics=("distance",)), config)
    told = session_settings(config, StartIdentity("run", term=1, start=1, former_terms=frozenset())).env
    assert told == env_settings(config)
    assert told.metrics == ("distance",)


def test_means_are_over_the_episodes_that_report() -> None:
    window = EpisodeWindow(3)
    numbers = np.array([[9.0, 1.0], [1.0, math.nan], [2.0, math.nan], [6.0, 4.0]], np.float32)
    window.add([1.0] * 4, [1] * 4, [math.nan] * 4, numbers)
    assert window.mean_metrics(("a", "b", "c")) == {"a": 3.0, "b": 4.0}
    again = EpisodeWindow.from_dict(3, json.loads(json.dumps(window.to_dict())))
    assert again.mean_metrics(("a", "b")) == {"a": 3.0, "b": 4.0}
    window.add([1.0], [1], [math.nan])
    assert window.mean_metrics(("a", "b")) == {"a": 4.0, "b": 4.0}


def test_a_name_of_ours_is_not_hidden_in_the_curve_nor_on_screen(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, False, pytest.fail)
    writer.write(1, 10, 1.0, {"update/kl": 0.5, "metrics/kl": 2.0, "metrics/a/b": math.nan})
    writer.close()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (row["kl"], row["metrics/kl"], row["metrics/a/b"]) == (0.5, 2.0, None)
    assert _metrics({"kl": 0.5, "metrics/distance": 2.0}).plain.split() == ["distance=2", "kl=0.5"]


def test_they_are_in_the_summary_and_in_its_text() -> None:
    config = LearnerConfig(env=EnvConfig(TELLING.id), run=RunConfig(metrics=("distance",), step_metrics=("absent",)))
    window = EpisodeWindow(3)
    window.add([1.0], [1], [math.nan], np.array([[0.25, math.nan]], np.float32))
    written = summary(config, Progress(), window, Ledger().to_state()["total"])
    assert written["metrics"] == {"distance": 0.25, "absent": None}
    text = closing_text({**written, "reason": "over", "elapsed_seconds": 1.0})
    assert "\nmetrics: distance 0.25\n" in text


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (True, 1.0), (np.float32(0.5), 0.5), (np.array(2), 2.0), (-1e38, -1e38)],
)
def test_numbers_of_any_kind_count(value: Any, number: float) -> None:
    assert as_real(value) == number


@pytest.mark.parametrize("value", [None, "1", b"1", [1, 2], np.zeros(2), math.inf, math.nan, 1e39, 10**400, {}])
def test_whatever_is_no_number_does_not(value: Any) -> None:
    assert math.isnan(as_real(value))


def test_a_metric_that_no_episode_reports_is_asked_about_once() -> None:
    spec = Spec((), (), metrics=("distance", "distanse"))
    window, questions = EpisodeWindow(100), []
    for _ in range(8):
        before = window.total
        row = np.array([[1.0, math.nan]] * 3, np.float32)
        window.add(np.ones(3), np.ones(3, int), np.full(3, math.nan), row)
        questions += [text for _, text in unreported(window, spec, before)]
    assert len(questions) == 1
    assert questions[0].startswith("none of 12 episodes has reported 'distanse'")
