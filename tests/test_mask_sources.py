"""Sources of masks: found at the first reset, or as set; what the environment cannot keep is named."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from graphs import categorical_graph
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from masked_env import LEAF, MISSING, Gives, Late, Masked, Source
from test_masks_of_environments import first_crash

from dppo.actor.envs.returned_values import BrokenForGood
from dppo.actor.envs.subprocess_workers import NOTES, _InWorker
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.protocol.errors import DppoError, UsageError
from dppo.watch.rendering import Shown

EVEN = PolicyRunner(categorical_graph(np.zeros((2, 2))))


def test_a_mask_only_from_step_on_is_refused_and_can_be_turned_off() -> None:
    crash = first_crash(SyncLoop([Gives(at=1, first=MISSING)]))
    assert re.search(r"step\(\) returned info\['action_mask'\], and the first reset\(\) did not", str(crash))
    assert "env.action_mask: none" in str(crash)
    environments = SyncLoop([Gives(at=1, first=MISSING)], action_mask="none")
    environments.reset([1])
    assert not environments.step(np.zeros(1, np.int64)).crashes
    assert not environments.spec.mask


def steps(collector: Collector, count: int) -> None:
    for _ in range(count):
        collector.step()


@pytest.mark.parametrize("from_step", [False, True])
@pytest.mark.parametrize("vectorisation", ["sync", "vector"])
def test_a_mask_that_first_comes_in_a_later_episode_ends_the_actor_for_good(
    vectorisation: str, *, from_step: bool
) -> None:
    make = partial(Late, from_step=from_step)
    environments: Any = SyncLoop([make()], lambda column: make())
    if vectorisation == "vector":
        vector = partial(SyncVectorEnv, [make])
        environments = VectorEnvironments(vector(), "test", "per_column", vector)
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    collector.load(EVEN)
    with pytest.raises(DppoError) as caught:
        steps(collector, 20)
    assert caught.value.exit_code == 1
    assert re.fullmatch(
        r"the environment must be changed: (environment 0|the vector environment) failed in (step|reset): "
        r"(step|reset)\(\) returned info\['action_mask'\], and the first reset\(\) did not: return it from every reset "
        r"and step; env\.action_mask: none turns masks off",
        str(caught.value),
    )


def test_a_late_mask_of_a_process_is_the_same_error() -> None:
    environment = _InWorker(Late())
    environment.reset(seed=1)
    with pytest.raises(BrokenForGood, match=r"reset\(\) returned info\['action_mask'\]"):
        environment.reset()


class Assigned(Masked):
    """An environment that makes its method anew in each reset."""

    def __init__(self) -> None:
        super().__init__(spaces.Discrete(3))
        self.source = "method"

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**options)
        of_this_episode = self.resets = vars(self).get("resets", 0) + 1
        self.action_masks = lambda: self.masks() if self.resets == of_this_episode else pytest.fail("of an old one")
        return observation, info


@pytest.mark.parametrize("action_mask", ["auto", "method"])
@pytest.mark.parametrize("kind", ["sync", "process"])
def test_a_method_that_reset_makes_is_found_after_each(kind: str, action_mask: str) -> None:
    if kind == "process":
        environment = _InWorker(Assigned(), action_mask)
        _, info = environment.reset(seed=1)
        assert {"action_mask"} == {*info} - {NOTES} == {*environment.reset()[1]}
        return
    loop = SyncLoop([Assigned(), Assigned()], lambda column: Assigned(), action_mask=action_mask)
    rows = loop.reset([1, 2])
    for _ in range(40):
        step = loop.step(rows["action_mask"].argmax(axis=1))
        assert not step.crashes, str(step.crashes[0])
        rows = step.observations
    assert loop.restart([1], [3])["action_mask"].any()


def test_a_method_that_a_vectors_reset_makes_is_found() -> None:
    class Made(SyncVectorEnv):
        def reset(self, **options: Any) -> Any:
            self.action_masks = lambda: np.ones((1, 2), np.int8)
            return super().reset(**options)

    make = partial(Made, [partial(Gives, first=MISSING)])
    for action_mask in ("auto", "method"):
        environments = VectorEnvironments(make(), "test", "per_column", make, action_mask=action_mask)
        assert environments.reset([1])["action_mask"].all()
        assert environments.restart([0], [2])["action_mask"].all()


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
        kind(made, action_mask=setting).reset([1])


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
