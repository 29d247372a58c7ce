"""Where masks are found, and what an environment must not give as one: an error that names them."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from masked_env import MISSING, ONE, Gives

from dppo.actor.envs.interface import Crash, Environments
from dppo.actor.envs.make import make_environments
from dppo.actor.envs.returned_values import BrokenContract
from dppo.actor.envs.subprocess_workers import _InWorker
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import check_segment
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings


def first_crash(environments: Environments, steps: int = 8) -> Crash:
    environments.reset(list(range(environments.envs)))
    for _ in range(steps):
        step = environments.step(np.zeros(environments.envs, np.int64))
        if step.crashes:
            return step.crashes[0]
    raise AssertionError("nothing was wrong")


def in_vector(*makers: Callable[[], Any], mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> VectorEnvironments:
    return VectorEnvironments(SyncVectorEnv(makers, autoreset_mode=mode), "test", "per_column")


WRONG: dict[str, tuple[Any, str]] = {
    "missing": (MISSING, r"step\(\) returned no info\['action_mask'\]{where}, in step 3 of its episode: expected one"),
    "no action": (
        np.zeros(2, bool),
        r"returned as info\['action_mask'\] a mask without any legal choice of action{where}, in step 3 of its episode",
    ),
    "another number of choices": (
        np.ones(3, bool),
        r"as info\['action_mask'\] bool of shape \(3,\){where}, in step 3 of its episode: expected 2 flags of 0 and 1",
    ),
    "two": (
        np.array([0, 2]),
        r"2 in it{where}, in step 3 .*: expected 2 flags .*env\.action_mask: none turns masks off",
    ),
    "text": ("10", r"'10' \(str\){where}, in step 3 of its episode: expected 2 flags"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_step_must_not_give_as_a_mask_is_named_with_column_and_step(case: str) -> None:
    value, words = WRONG[case]
    crash = first_crash(SyncLoop([Gives(), Gives(lambda env: value, at=3)]))
    assert (crash.column, crash.during, type(crash.error)) == (1, "step", BrokenContract)
    assert re.search(words.replace("{where}", ""), str(crash)), str(crash)
    assert "\n" not in str(crash)


@pytest.mark.parametrize("case", ["missing", "no action"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_same_in_a_vector_whatever_its_autoreset_mode(case: str, mode: AutoresetMode) -> None:
    value, words = WRONG[case]
    crash = first_crash(in_vector(Gives, partial(Gives, lambda env: value, at=3), mode=mode))
    assert re.search(words.replace("{where}", " of environment 1"), str(crash)), str(crash)


@pytest.mark.parametrize("case", WRONG)
def test_the_same_in_the_process_of_an_asynchronous_vector(case: str) -> None:
    value, words = WRONG[case]
    environment = _InWorker(Gives(lambda env: value, at=3))
    environment.reset(seed=1)
    for _ in range(2):
        assert environment.step(0)[4]["action_mask"].tolist() == [True, True]
    with pytest.raises(BrokenContract, match=words.replace("{where}", "")):
        environment.step(0)


def test_a_wrong_row_of_a_vectors_masks_is_named() -> None:
    numbers = partial(Gives, first=np.ones(2, np.int8))
    crash = first_crash(in_vector(numbers, partial(numbers, lambda env: np.array([0, 2]), at=3)))
    assert re.search(r"2 in it of environment 1, in step 3 of its episode", str(crash)), str(crash)


@pytest.mark.parametrize("ending", [MISSING, np.zeros(2, bool), "none"], ids=["missing", "no action", "text"])
@pytest.mark.parametrize("mode", ["sync", *AutoresetMode])
def test_the_mask_of_an_observation_that_ends_an_episode_is_not_looked_at(ending: Any, mode: Any) -> None:
    make = partial(Gives, lambda env: ending, at=6, first=ONE)
    environments = SyncLoop([make(), make()]) if mode == "sync" else in_vector(make, make, mode=mode)
    environments.reset([1, 2])
    ended = 0
    for _ in range(20):
        step = environments.step(np.ones(2, np.int64))
        assert not step.crashes, str(step.crashes[0])
        ended += int(step.terminated.sum())
        assert step.observations["action_mask"].any(axis=1).all()
        assert set(step.final_observations) == {"observation"}
    assert ended >= 4


def test_a_mask_that_is_missing_at_a_later_reset_is_a_crash_of_that_reset() -> None:
    class Forgetful(Gives):
        def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
            observation, info = super().reset(**kwargs)
            return observation, info if self.resets < 2 else {}

    crash = first_crash(SyncLoop([Forgetful()]))
    assert crash.during == "reset"
    assert "reset() returned no info['action_mask']" in str(crash)


def trained(environments: Environments) -> PolicyRunner:
    network = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,))
    trainer = Trainer(environments.spec, ppo=PpoConfig(), network=network, seed=1, total_steps=1000)
    return PolicyRunner(trainer.graph_bytes(1))


@pytest.mark.parametrize("value", [np.zeros(2, bool), MISSING, np.ones(3, bool)], ids=["no action", "missing", "shape"])
def test_a_broken_mask_ends_its_episode_as_a_crash_does_and_the_run_goes_on(value: Any) -> None:
    crashes: list[Crash] = []
    made: list[Gives] = []

    def make(column: int) -> Gives:
        made.append(Gives(first=ONE))
        return made[-1]

    loop = SyncLoop([Gives(first=ONE), Gives(lambda env: value, at=3, first=ONE)], make)
    collector = Collector(loop, seed=1, first_slot=0, life=0, on_crash=crashes.append)
    collector.load(trained(loop))
    for _ in range(8):
        collector.step()
    segment = collector.cut()
    assert segment is not None
    check_segment(loop.spec, segment)
    assert [(crash.column, crash.during) for crash in crashes] == [(1, "step")]
    assert segment.valid[:, 1].tolist() == [True, True, False, True, True, True, True, True]
    assert segment.truncated[:, 1].tolist() == [False, True, *[False] * 6]
    assert (segment.actions["action"][segment.valid] == 1).all()
    assert len(made) == 1


def test_a_broken_mask_in_the_very_first_step_ends_the_actor() -> None:
    loop = SyncLoop([Gives(lambda env: np.zeros(2), at=1)])
    collector = Collector(loop, seed=1, first_slot=0, life=0)
    collector.load(trained(loop))
    with pytest.raises(UsageError, match=r"without any legal choice of action.*that was its first step"):
        collector.step()


class Native(VectorEnv[Any, Any, Any]):
    """A native vector of two environments: its masks by a method, or as one array in the infos."""

    num_envs = 2
    single_observation_space, observation_space = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (2, 2))
    single_action_space, action_space = spaces.Discrete(2), spaces.MultiDiscrete([2, 2])
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 -- as Gymnasium has it

    def __init__(self, *, by_method: bool) -> None:
        self.masks = np.array([[1, 0], [1, 1]], np.int8)  # the same array every time, written over
        if by_method:
            self.action_masks = lambda: self.masks
        self._infos = {} if by_method else {"action_mask": self.masks}

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros((2, 2), np.float32), dict(self._infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.masks[0] = self.masks[0, ::-1].copy()
        return np.zeros((2, 2), np.float32), np.ones(2), np.zeros(2, bool), np.zeros(2, bool), dict(self._infos)


@pytest.mark.parametrize("by_method", [True, False])
def test_native_vectors_give_masks_by_method_or_info(by_method: bool) -> None:
    environments = VectorEnvironments(Native(by_method=by_method), "native", "first_column")
    before = environments.reset([1, 2])["action_mask"]
    after = environments.step(np.zeros(2, np.int64)).observations["action_mask"]
    assert before.tolist() == [[True, False], [True, True]], "and it is not written over"
    assert after.tolist() == [[False, True], [True, True]]
    assert ("action_masks()" if by_method else "info['action_mask']") in environments.description


def test_a_policy_with_masks_in_environments_without_is_one_line() -> None:
    masked = SyncLoop([Gives()])
    masked.reset([1])
    runner = trained(masked)
    with pytest.raises(DppoError, match="takes action_mask, which these environments do not give"):
        runner.act({"observation": np.zeros((1, 2), np.float32)}, np.zeros((1, 2), np.float32))


def test_taxis_of_gymnasium_are_masked_by_what_they_say() -> None:
    environments = make_environments(EnvSettings("Taxi-v4"), 2)
    rows = environments.reset([1, 2])
    assert environments.spec.mask[0].shape == (6,)
    for _ in range(250):
        step = environments.step(rows["action_mask"].argmax(axis=1))
        assert not step.crashes
        rows = step.observations
    off = make_environments(EnvSettings("Taxi-v4", action_mask="none"), 2)
    assert "action_mask" not in off.reset([1, 2])
