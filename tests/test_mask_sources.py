"""Sources of masks: found at the first reset, or as set; what the environment cannot keep is named."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from masked_env import LEAF, MISSING, Gives, Masked, Source
from test_masks_of_environments import first_crash

from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.protocol.errors import UsageError
from dppo.watch.rendering import Shown


def test_a_mask_only_from_step_on_is_refused_and_can_be_turned_off() -> None:
    crash = first_crash(SyncLoop([Gives(at=1, first=MISSING)]))
    assert re.search(r"step\(\) returned info\['action_mask'\], and the first reset\(\) did not", str(crash))
    assert "env.action_mask: none" in str(crash)
    environments = SyncLoop([Gives(at=1, first=MISSING)], action_mask="none")
    environments.reset([1])
    assert not environments.step(np.zeros(1, np.int64)).crashes
    assert not environments.spec.mask


def test_the_line_and_the_note_say_which_source_was_found() -> None:
    found: dict[Source, str] = {"info": "info['action_mask']", "method": "its method action_masks()"}
    for source, words in found.items():
        notes: list[str] = []
        environments = SyncLoop([Masked(spaces.Discrete(3), source)], note=notes.append)
        assert not environments.spec.mask
        environments.reset([1])
        assert environments.description.endswith(f", actions masked by {words}")
        (note,) = notes
        assert words in note
        assert "env.action_mask: none" in note
        assert environments.spec.mask[0].name == "action_mask"


def test_set_sources_are_said_by_the_line_and_noted_no_more() -> None:
    asked: dict[Source, str] = {"info": "info", "method": "method", "leaf": LEAF}
    for source, setting in asked.items():
        environments = SyncLoop([Masked(spaces.Discrete(3), source)], note=pytest.fail, action_mask=setting)
        assert environments.spec.mask, "known before the first reset"
        environments.reset([1])
        assert "masked by" in environments.description


def test_a_leaf_that_looks_like_a_mask_is_pointed_at() -> None:
    notes: list[str] = []
    environments = SyncLoop([Masked(spaces.Discrete(3), "leaf")], note=notes.append)
    environments.reset([1])
    assert not environments.spec.mask
    assert notes == [f"{LEAF} is a feature like others; with env.action_mask: {LEAF} it masks actions"]


def test_a_mask_of_actions_that_are_numbers_is_noted_and_not_used() -> None:
    notes: list[str] = []
    environments = SyncLoop([Gives(space=spaces.Box(-1, 1, (2,)))], note=notes.append)
    environments.reset([1])
    assert not environments.step(np.zeros((1, 2), np.float32)).crashes
    assert not environments.spec.mask
    assert notes == ["the info holds 'action_mask', and the actions are numbers: masks are of choices"]


class Called(Gives):
    """An environment that says what is legal by another name."""

    def __init__(self, key: str = "", **names: Any) -> None:
        super().__init__(first=MISSING)
        self.key = key
        vars(self).update(names)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, _ = super().reset(**options)
        return observation, {self.key: np.ones(2)} if self.key else {}


class AsProperty(Called):
    """An environment whose masks are a property."""

    @property
    def action_masks(self) -> np.ndarray:
        return np.ones(2)


LOOKALIKES: dict[str, tuple[Callable[[], Any], str]] = {
    "plural": (partial(Called, "action_masks"), "info['action_masks'] is not read, and masks no action"),
    "legal": (partial(Called, "legal_actions"), "info['legal_actions'] is not read"),
    "singular": (partial(Called, action_mask=np.ones(2)), "the environment's action_mask is not read"),
    "wrapped": (lambda: TimeLimit(Called(get_action_mask=len), 9), "the environment's get_action_mask is not read"),
    "property": (AsProperty, "the environment's action_masks is no method"),
}


@pytest.mark.parametrize("case", LOOKALIKES)
def test_what_is_called_almost_like_a_mask_is_remarked_on(case: str) -> None:
    make, words = LOOKALIKES[case]
    notes: list[str] = []
    environments = SyncLoop([make()], note=notes.append)
    environments.reset([1])
    assert not environments.spec.mask
    (note,) = notes
    assert note.startswith(words)


def test_other_names_in_an_info_are_not_remarked_on() -> None:
    SyncLoop([Called("is_success", unmasked=1)], note=pytest.fail).reset([1])


class NoMask(Gives):
    """An environment without masks, whose observations are nested."""

    def __init__(self) -> None:
        super().__init__(first=MISSING)
        self.observation_space = spaces.Dict({"a": spaces.Box(0, 1, (3,)), "b": spaces.Box(0, 1, (2,))})


USAGE: dict[str, tuple[Callable[[], Any], str, str]] = {
    "no method": (Gives, "method", r"has no method action_masks\(\)"),
    "no leaf": (NoMask, "observation.c", r"leaves of observations are observation\.a, observation\.b"),
    "another shape": (NoMask, "observation.a", r"shape \(3,\).* has here shape \(2,\)"),
    "the only leaf": (Gives, "observation", "nothing to observe"),
    "numbers": (partial(Gives, space=spaces.Box(-1, 1)), "info", "the actions are numbers"),
}


@pytest.mark.parametrize("case", USAGE)
@pytest.mark.parametrize("vectorisation", ["sync", "vector"])
def test_a_setting_that_the_environment_cannot_keep_is_named(case: str, vectorisation: str) -> None:
    make, setting, words = USAGE[case]
    made: Any = [make()] if vectorisation == "sync" else SyncVectorEnv([make])
    kind: Any = SyncLoop if vectorisation == "sync" else partial(VectorEnvironments, kind="test", seeding="per_column")
    with pytest.raises(UsageError, match=words):
        kind(made, action_mask=setting)


def test_an_info_that_lacks_the_mask_that_was_asked_for_ends_the_actor_at_its_first_reset() -> None:
    with pytest.raises(UsageError, match=r"environment 0 failed in reset: reset\(\) returned no info\['action_mask'\]"):
        Collector(SyncLoop([NoMask.__mro__[1](first=MISSING)], action_mask="info"), seed=1, first_slot=0, life=0)


@pytest.mark.parametrize("source", ["info", "method", "leaf"])
def test_an_environment_in_a_window_has_a_mask_also_behind_its_last_step(source: Source) -> None:
    loop = SyncLoop([Shown(Masked(spaces.Discrete(3), source))], action_mask=LEAF if source == "leaf" else "auto")
    for seed in range(3):
        rows, ended = loop.reset([seed]), False
        while not ended:
            step = loop.step(rows[loop.spec.mask[0].name].argmax(axis=1))
            assert not step.crashes, str(step.crashes[0])
            rows, ended = step.observations, bool(step.terminated.any() or step.truncated.any())
        assert rows[loop.spec.mask[0].name].any()
