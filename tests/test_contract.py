"""What environments return against their own spaces: carried without loss, or named. In every vectorisation."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from graphs import categorical_graph
from gymnasium.wrappers import TimeLimit
from saying_env import BYTES, FLOATS, ZEROS, Answer, Says, saying

from dppo.actor.envs.first_calls import check_first_calls
from dppo.actor.envs.interface import Crash
from dppo.actor.envs.returned_values import BrokenContract
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.protocol.errors import UsageError


def first_crash(make: Callable[[], gym.Env[Any, Any]], steps: int = 3) -> Crash:
    loop = SyncLoop([make()])
    loop.reset([1])
    for _ in range(steps):
        step = loop.step(np.zeros(1, np.int64))
        if step.crashes:
            return step.crashes[0]
    raise AssertionError("nothing was wrong")


BAD_STEPS: dict[str, tuple[Any, Answer, str]] = {
    "old API": (
        FLOATS,
        lambda env: (ZEROS, 1.0, False, {}),
        r"step\(\) must return .*truncated, info\); .*4 values.*0\.26",
    ),
    "one too many": (FLOATS, lambda env: (ZEROS, 1.0, False, False, {}, 1), "it returned 6 values"),
    "None": (FLOATS, lambda env: None, "it returned None"),
    "info None": (FLOATS, lambda env: (ZEROS, 1.0, False, False, None), "info was None.*expected a dict"),
    "reward array": (
        FLOATS,
        saying(reward=np.array([1.0])),
        r"the reward array\(\[1\.\]\).*shape \(1,\).*one real number",
    ),
    "reward None": (FLOATS, saying(reward=None), "the reward None.*one real number"),
    "reward text": (FLOATS, saying(reward="1.0"), r"the reward '1\.0' \(str\)"),
    "reward complex": (FLOATS, saying(reward=1j), "reward 1j.*complex"),
    "reward beyond float32": (FLOATS, saying(reward=1e300), r"reward 1e\+300.*1e\+18"),
    "reward of many digits": (FLOATS, saying(reward=10**400), r"trained on are at most 1e\+18"),
    "reward NaN": (FLOATS, saying(reward=float("nan")), "the reward is nan"),
    "terminated array": (FLOATS, saying(terminated=np.array([False])), "terminated = array.*expected True or False"),
    "truncated None": (FLOATS, saying(truncated=None), "truncated = None"),
    "terminated text": (FLOATS, saying(terminated="no"), "terminated = 'no'"),
    "terminated 2": (FLOATS, saying(terminated=2), "terminated = 2"),
    "another shape": (FLOATS, saying(np.zeros(3)), r"shape \(3,\): expected float32 \(2,\)"),
    "a row of it": (FLOATS, saying(np.zeros((1, 2))), r"shape \(1, 2\): expected float32 \(2,\)"),
    "a number": (FLOATS, saying(0.5), r"the float 0\.5: expected float32 \(2,\)"),
    "observation None": (FLOATS, saying(None), "the observation None"),
    "observation dict": (FLOATS, saying({"x": 1}), "dict"),
    "ragged": (FLOATS, saying([[1], [1, 2]]), "list"),
    "complex": (FLOATS, saying(np.zeros(2, complex)), "complex"),
    "declared to be no value": (FLOATS, saying(np.ma.masked_array(np.zeros(2), [0, 1])), "masked_array"),
    "floats as bytes": (
        BYTES,
        saying(np.full(2, 0.5, np.float32)),
        r"float32 with values .*0\.5 at \[0\].*expected uint8",
    ),
    "negative bytes": (BYTES, saying(np.array([3, -1])), r"int64 with values .*-1 at \[1\]"),
    "large bytes": (BYTES, saying(np.array([3, 256])), r"256 at \[1\]"),
    "NaN as bytes": (BYTES, saying(np.array([np.nan, 0])), "nan"),
    "category below": (
        gym.spaces.Discrete(3, start=2),
        saying(1),
        r"observation 1: expected an integer of Discrete\(3, start=2\)",
    ),
    "category above": (gym.spaces.Discrete(3, start=2), saying(np.int64(5)), "5"),
    "half a category": (gym.spaces.Discrete(3), saying(0.5), r"0\.5"),
    "array of a category": (gym.spaces.Discrete(3), saying(np.array([1])), r"shape \(1,\)"),
    "more than 64 bits": (
        gym.spaces.Box(0, 9, (2,), np.int64),
        saying(np.full(2, 2**63, np.uint64)),
        "9223372036854775808",
    ),
}


@pytest.mark.parametrize("case", BAD_STEPS)
@pytest.mark.filterwarnings("ignore")
def test_what_a_step_must_not_return_is_named(case: str) -> None:
    space, answer, words = BAD_STEPS[case]
    crash = first_crash(lambda: Says(space, step=answer, at=2))
    assert isinstance(crash.error, BrokenContract)
    assert (crash.column, crash.during) == (0, "step")
    assert re.search(words, str(crash)), str(crash)
    assert "\n" not in str(crash)


@pytest.mark.parametrize("case", BAD_STEPS)
@pytest.mark.filterwarnings("ignore")
def test_the_same_in_the_process_of_an_asynchronous_vector(case: str) -> None:
    """Without the process: the wrapper that it puts around its environment."""
    from dppo.actor.envs.subprocess_workers import _InWorker

    space, answer, words = BAD_STEPS[case]
    environment = _InWorker(Says(space, step=answer))
    environment.reset(seed=1)
    with pytest.raises(BrokenContract, match=words):
        environment.step(0)


GOOD_STEPS: dict[str, tuple[Any, Answer, Any, float]] = {
    "as it should be": (FLOATS, saying(np.array([0.5, 1], np.float32)), [0.5, 1], 1.0),
    "a list": (FLOATS, saying([0.5, 1]), [0.5, 1], 1.0),
    "integers": (FLOATS, saying(np.array([0, 1])), [0, 1], 1.0),
    "bools": (FLOATS, saying(np.array([True, False])), [1, 0], 1.0),
    "a tensor with gradients": (FLOATS, saying(torch.tensor([0.5, 1], requires_grad=True)), [0.5, 1], 1.0),
    "a narrow reward": (FLOATS, saying(reward=np.float16(3)), [0, 0], 3.0),
    "narrow floats": (FLOATS, saying(np.array([0.5, 1], np.float16)), [0.5, 1], 1.0),
    "whole floats as bytes": (BYTES, saying(np.array([3.0, 255.0])), [3, 255], 1.0),
    "wide integers as bytes": (BYTES, saying(np.array([3, 255])), [3, 255], 1.0),
    "other byte order": (FLOATS, saying(np.array([0.5, 1], ">f4")), [0.5, 1], 1.0),
    "depth": (gym.spaces.Box(0, 65535, (2,), np.uint16), saying(np.array([0, 65535], np.uint16)), [0, 65535], 1.0),
    "counts": (
        gym.spaces.Box(0, 2**32 - 1, (2,), np.uint32),
        saying(np.array([0, 2**32 - 1], np.uint32)),
        [0, 2**32 - 1],
        1.0,
    ),
    "a category": (gym.spaces.Discrete(3, start=-1), saying(np.int32(1)), 1, 1.0),
    "a category without dimensions": (gym.spaces.Discrete(3), saying(np.array(2)), 2, 1.0),
    "a whole float for a category": (gym.spaces.Discrete(3), saying(2.0), 2, 1.0),
    "reward without dimensions": (FLOATS, saying(reward=np.array(2.5)), [0, 0], 2.5),
    "reward bool": (FLOATS, saying(reward=np.True_), [0, 0], 1.0),
    "reward int": (FLOATS, saying(reward=3), [0, 0], 3.0),
    "terminated 0": (FLOATS, saying(terminated=0, truncated=np.False_), [0, 0], 1.0),
}


@pytest.mark.parametrize("case", GOOD_STEPS)
def test_what_can_be_carried_without_loss_is(case: str) -> None:
    space, answer, observation, reward = GOOD_STEPS[case]
    loop = SyncLoop([Says(space, step=answer)])
    loop.reset([1])
    step = loop.step(np.zeros(1, np.int64))
    assert not step.crashes
    assert step.observations["observation"][0].tolist() == observation
    assert step.rewards.tolist() == [reward]


BAD_RESETS: dict[str, tuple[Answer, str]] = {
    "only an observation": (lambda env: ZEROS, r"reset\(\) must return \(observation, info\).*0\.26 returned no info"),
    "info None": (lambda env: (ZEROS, None), "info was None"),
    "three": (lambda env: (ZEROS, {}, 1), "3 values"),
    "another shape": (lambda env: (np.zeros(()), {}), r"reset\(\) returned .* expected float32 \(2,\)"),
    "NaN": (lambda env: (np.full(2, np.nan, np.float32), {}), r"observation is NaN or infinite \(nan at \[0\]\)"),
}


def collector_of(environments: Any) -> Collector:
    collector = Collector(environments, seed=1, first_slot=0, life=0)
    collector.load(PolicyRunner(categorical_graph(np.zeros((2, 2)))))
    return collector


@pytest.mark.parametrize("case", BAD_RESETS)
def test_a_first_reset_against_the_contract_ends_the_actor_as_a_wrong_setting_does(case: str) -> None:
    answer, words = BAD_RESETS[case]
    with pytest.raises(UsageError, match=f"environment 1 failed in reset: .*{words}"):
        collector_of(SyncLoop([Says(), Says(reset=answer)]))


@pytest.mark.parametrize("case", [case for case in BAD_RESETS if case != "NaN"])
def test_a_later_reset_against_the_contract_is_a_crash_of_its_environment(case: str) -> None:
    answer, words = BAD_RESETS[case]
    loop = SyncLoop([Says(reset=answer, at=2)])
    loop.reset([1])
    crashes = [crash for _ in range(5) for crash in loop.step(np.zeros(1, np.int64)).crashes]
    assert [crash.during for crash in crashes] == ["reset"]
    assert re.search(words, str(crashes[0]))


def test_a_first_step_against_the_contract_ends_the_actor_as_a_wrong_setting_does() -> None:
    collector = collector_of(SyncLoop([Says(step=saying(reward=None))]))
    with pytest.raises(UsageError, match=r"failed in step: step.. returned the reward None.*that was its first step"):
        collector.step()


def test_a_later_step_against_the_contract_costs_one_row() -> None:
    once = lambda env: (ZEROS, None if env.steps == 3 else 1.0, False, False, {})  # noqa: E731
    crashes: list[Crash] = []
    loop = SyncLoop([Says(step=once)], lambda column: Says())
    collector = Collector(loop, seed=1, first_slot=0, life=0, on_crash=crashes.append)
    collector.load(PolicyRunner(categorical_graph(np.zeros((2, 2)))))
    for _ in range(6):
        collector.step()
    segment = collector.cut()
    assert segment is not None
    assert segment.steps == 5
    assert len(crashes) == 1


def test_values_above_float32_are_named_as_that_and_not_as_infinite() -> None:
    wide = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UsageError, match=r"observation holds 1e\+300 at \[1\], above what float32 holds"):
            collector_of(SyncLoop([Says(wide, reset=lambda env: (np.array([0, 1e300]), {}))]))


@pytest.mark.parametrize("error", [SystemExit("no display"), GeneratorExit("no display")], ids=repr)
def test_whatever_an_environment_raises_is_named_with_its_text(error: BaseException) -> None:
    def answer(env: Says) -> Any:
        raise error

    assert "no display" in str(first_crash(lambda: Says(step=answer)))


def test_the_interrupt_of_a_user_is_no_crash() -> None:
    def answer(env: Says) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first_crash(lambda: Says(step=answer))


@pytest.mark.parametrize("method", ["step", "reset"])
def test_the_old_api_is_named_within_wrappers_that_unpack(method: str) -> None:
    answer = {"step": lambda env: (ZEROS, 1.0, False, {}), "reset": lambda env: ZEROS}[method]
    environment = TimeLimit(Says(**{method: answer}), 10)
    check_first_calls(environment)
    if method == "step":
        environment.reset(seed=1)
    with pytest.raises(BrokenContract, match=rf"{method}\(\) must return"):
        environment.step(0) if method == "step" else environment.reset(seed=1)


def test_first_calls_are_looked_at_once_and_leave_nothing_behind() -> None:
    environment = Says()
    check_first_calls(environment)
    environment.reset(seed=1)
    environment.step(0)
    assert not {"step", "reset"} & set(vars(environment))
