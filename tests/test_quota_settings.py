"""Settings of the rule `quota`: what they follow from, and what contradicts it."""

from typing import Any

import pytest

from dppo.learner.config import LearnerConfig
from dppo.learner.session.settings import session_settings
from dppo.learner.storage.run_directory import StartIdentity
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import build

QUOTA = {"collect.rule": "quota"}


@pytest.mark.parametrize(("actors", "slots"), [(0, 4), (1, 4), (3, 12)])
def test_a_local_run_has_the_environments_of_all_its_actors(actors: int, slots: int) -> None:
    config = build(TrainConfig, {**QUOTA, "actors": actors, "collect.envs_per_actor": 4})
    assert config.learner.collect.slots == slots
    assert build(TrainConfig, {"actors": actors}).learner.collect.slots == 0


def test_environments_are_stepped_one_after_the_other() -> None:
    identity = StartIdentity("run", 1, 1, ())
    for rule, expected in (("quota", "sync"), ("minimum", "auto")):
        config = build(LearnerConfig, {"collect.rule": rule, "collect.slots": 8 if rule == "quota" else 0})
        assert session_settings(config, identity).env.vectorization == expected


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({**QUOTA, "collect.stop_at_episode_end": True}, "stop_at_episode_end=true ends a batch with an episode"),
        ({"collect.rule": "quorum", "collect.stop_at_episode_end": True}, "and with collect.rule=quorum it ends by"),
        ({**QUOTA, "env.vectorization": "native"}, "env.vectorization=native: under collect.rule=quota"),
        ({**QUOTA, "collect.on_stop": "drop"}, "and under collect.rule=quota it cuts nothing"),
        ({**QUOTA, "collect.slots": 9}, "collect.slots=9 environments, and 2 x collect.envs_per_actor=8 are 16"),
        (
            {"collect.slots": 9},
            "collect.slots=9 counts the environments of collect.rule=quota, and the rule is minimum",
        ),
        ({"collect.slots": 70_000, **QUOTA}, "must be at most 65536"),
    ],
)
def test_what_contradicts_the_rule_is_refused(values: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        build(TrainConfig, values)


def test_a_learner_must_know_how_many_environments_will_join() -> None:
    with pytest.raises(UsageError, match=r"collect.rule=quota needs collect.slots"):
        build(LearnerProcessConfig, QUOTA)
    assert build(LearnerProcessConfig, {**QUOTA, "collect.slots": 6}).learner.collect.slots == 6
