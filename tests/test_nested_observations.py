"""Observations of several leaves in every vectorisation: carried without loss, or the leaf is named."""

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from saying_env import Says, saying

from dppo.actor.envs.contract import Contract
from dppo.actor.envs.finite import Finite
from dppo.actor.envs.returned_values import BrokenContract
from dppo.actor.envs.subprocess_workers import _InWorker
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import spec_of

ARM = gym.spaces.Box(-1, 1, (2,))
SPACE = gym.spaces.Dict(
    {
        "arm": ARM,
        "held": gym.spaces.Discrete(3, start=1),
        "keys": gym.spaces.MultiBinary(2),
        "parts": gym.spaces.Tuple([gym.spaces.MultiDiscrete([2, 3]), gym.spaces.Box(0, 255, (2, 2), np.uint8)]),
    }
)
LEAVES = [leaf.name for leaf in spec_of(SPACE, gym.spaces.Discrete(2)).observation]


def good(**changes: Any) -> dict[str, Any]:
    return {
        "arm": np.zeros(2, np.float32),
        "held": np.int64(2),
        "keys": np.zeros(2, np.int8),
        "parts": (np.zeros(2, np.int64), np.zeros((2, 2), np.uint8)),
    } | changes


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in good().items() if name != key}


BAD: dict[str, tuple[Any, str]] = {
    "a missing key": (without("held"), "observation a dict with the keys arm, keys, parts: expected .*arm, held, keys"),
    "a number": (1.0, "observation a value of type float: expected a dict with the keys"),
    "an array": (np.zeros(3), r"observation a value of type ndarray and shape \(3,\): expected a dict"),
    "half a tuple": (good(parts=(np.zeros(2, int),)), r"observation\.parts a tuple of 1: expected a tuple of 2"),
    "another shape": (good(arm=np.zeros(3)), r"observation\.arm shape \(3,\): expected float32 \(2,\)"),
    "a text": (good(arm="up"), r"observation\.arm 'up' \(str\): expected float32 \(2,\)"),
    "None": (good(held=None), r"observation\.held None"),
    "another category": (good(held=4), r"observation\.held 4: expected an integer of Discrete\(3, start=1\)"),
    "half a category": (good(held=1.5), r"observation\.held .*1\.5"),
    "a flag of 2": (good(keys=np.array([0, 2], np.int8)), r"observation\.keys array\(\[0, 2\].*MultiBinary"),
    "half a flag": (good(keys=np.array([0, 0.5])), r"observation\.keys float64 with values .*0\.5 at \[1\]"),
    "another choice": (good(parts=(np.array([1, 3]), good()["parts"][1])), r"observation\.parts\.0 array\(\[1, 3\]\)"),
    "floats as bytes": (good(parts=(good()["parts"][0], np.full((2, 2), 0.5))), r"observation\.parts\.1 .*0\.5 at"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("where", ["loop", "process", "vector"])
@pytest.mark.filterwarnings("ignore")
def test_what_an_environment_must_not_return_names_the_leaf_and_what_was_expected(case: str, where: str) -> None:
    answer, words = BAD[case]
    environment = Says(SPACE, reset=lambda env: (good(), {}), step=saying(answer))
    if where == "loop":
        loop = SyncLoop([environment])
        loop.reset([1])
        (crash,) = loop.step(np.zeros(1, np.int64)).crashes
        said = str(crash)
    elif where == "process":
        worker = _InWorker(environment)
        worker.reset(seed=1)
        with pytest.raises(BrokenContract) as caught:
            worker.step(0)
        said = str(caught.value)
    else:
        contract = Contract(SPACE, spec_of(SPACE, gym.spaces.Discrete(2)).observation)
        with pytest.raises(BrokenContract) as caught:
            contract.observation(answer, "step")
        said = str(caught.value)
    assert re.search(rf"step\(\) returned as {words}", said), said
    assert "\n" not in said


GOOD: dict[str, Any] = {
    "as it should be": good(),
    "plain values": good(arm=[0, 0], held=2, keys=[False, False], parts=[[0, 0], [[0, 0], [0, 0]]]),
    "other dtypes": good(arm=np.zeros(2), held=2.0, keys=np.zeros(2), parts=(np.zeros(2), np.zeros((2, 2), int))),
    "more than it should": good(more=1, parts=(*good()["parts"], 3)),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_loses_nothing_is_carried(case: str) -> None:
    notes: list[str] = []
    loop = SyncLoop([Says(SPACE, reset=lambda env: (GOOD[case], {}), step=saying(GOOD[case]))], note=notes.append)
    loop.reset([1])
    step = loop.step(np.zeros(1, np.int64))
    assert not step.crashes
    assert list(step.observations) == LEAVES
    assert [array.tolist() for array in step.observations.values()] == [
        [[0, 0]],
        [2],
        [[False, False]],
        [[0, 0]],
        [[[0, 0], [0, 0]]],
    ]
    dtypes = [array.dtype.str for array in step.observations.values()]
    assert dtypes == ["<f4", "<i8", "|b1", "<i8", "|u1"]
    assert len([note for note in notes if "also 2, more" in note]) == (case == "more than it should")


def test_what_is_outside_of_its_bounds_and_what_is_not_finite_names_the_leaf() -> None:
    notes: list[str] = []
    outside = good(arm=np.array([0, 5], np.float32))
    loop = SyncLoop([Says(SPACE, reset=lambda env: (outside, {}))], note=notes.append)
    loop.reset([1])
    assert notes == [
        "environment 0 observes observation.arm = 5 at [1], outside of the -1 to 1 that its observation_space says; it "
        "is used as it is"
    ]
    finite = Finite(loop.spec, 1, indivisible=False)
    wrong = good(arm=np.array([0, np.nan], np.float32))
    loop = SyncLoop([Says(SPACE, reset=lambda env: (wrong, {}))])
    with pytest.raises(BrokenContract, match=r"observation\.arm is NaN or infinite \(nan at \[1\]\)"):
        finite.refuse_first(loop.reset([1]), loop.given)
    wide = gym.spaces.Dict({"a": gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)})
    loop = SyncLoop([Says(wide, reset=lambda env: ({"a": np.array([0, 1e300])}, {}))])
    with pytest.warns(RuntimeWarning):
        first = loop.reset([1])
    with pytest.raises(BrokenContract, match=r"observation\.a holds 1e\+300 at \[1\], above what float32 holds"):
        Finite(loop.spec, 1, indivisible=False).refuse_first(first, loop.given)


class Counted(gym.Env[Any, int]):
    """Observes how many steps and episodes there were, in the same objects every time; each 3rd step is the last."""

    observation_space = gym.spaces.Dict(
        {"steps": gym.spaces.Box(0, 99, (1,)), "both": gym.spaces.Tuple([gym.spaces.Discrete(99), ARM])}
    )
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.steps, self.episodes = 0, -1
        self._array, self._arm = np.zeros(1, np.float32), np.zeros(2, np.float32)

    def _observation(self) -> Any:
        self._array[...] = self.steps
        self._arm[...] = self.steps / 100
        return {"steps": self._array, "both": (np.int64(self.episodes), self._arm)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.episodes = 0, self.episodes + 1
        return self._observation(), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        return self._observation(), 1.0, False, self.steps == 3, {}


class Copied(gym.ObservationWrapper):
    """Other objects every time: Gymnasium's own vectors hand final observations out after the reset."""

    def observation(self, observation: Any) -> Any:
        return {
            "steps": observation["steps"].copy(),
            "both": (observation["both"][0], observation["both"][1].copy()),
        }


class DenseFinals(VectorWrapper):
    """Final observations as a native vector may give them: arrays for all columns, in the structure of observations."""

    def step(self, actions: Any) -> Any:
        *rest, infos = super().step(actions)
        sparse = infos.get("final_obs")
        if sparse is None:
            return *rest, infos
        junk = {"steps": np.full(1, -1, np.float32), "both": (np.int64(-1), np.zeros(2, np.float32))}
        all_of = [junk if final is None else final for final in sparse]
        dense = {
            "steps": np.stack([final["steps"] for final in all_of]),
            "both": (np.array([final["both"][0] for final in all_of]), np.stack([f["both"][1] for f in all_of])),
        }
        return *rest, infos | {"final_obs": dense}


def vector_of(mode: AutoresetMode, dense: bool = False) -> VectorEnvironments:
    vector: Any = SyncVectorEnv([lambda: Copied(Counted())] * 2, autoreset_mode=mode)
    return VectorEnvironments(DenseFinals(vector) if dense else vector, "test", "per_column")


WAYS = {
    "loop": lambda: SyncLoop([Counted(), Counted()]),
    "next step": lambda: vector_of(AutoresetMode.NEXT_STEP),
    "same step": lambda: vector_of(AutoresetMode.SAME_STEP),
    "dense": lambda: vector_of(AutoresetMode.SAME_STEP, dense=True),
    "disabled": lambda: vector_of(AutoresetMode.DISABLED),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_leaf_is_followed_through_the_ends_of_episodes(way: str) -> None:
    environments = WAYS[way]()
    observations = environments.reset([1, 2])
    assert list(observations) == ["observation.both.0", "observation.both.1", "observation.steps"]
    first_episode = int(observations["observation.both.0"][0])
    seen, finals = [], []
    for _ in range(9):
        step = environments.step(np.zeros(2, np.int64))
        assert not step.crashes
        numbers = step.observations["observation.steps"][:, 0]
        np.testing.assert_allclose(step.observations["observation.both.1"][:, 0], numbers / 100)
        assert (numbers == numbers[0]).all()
        seen.append((int(step.observations["observation.both.0"][0]) - first_episode, int(numbers[0])))
        if step.truncated.any():
            arrays = step.final_observations
            finals += zip(arrays["observation.both.0"] - first_episode, arrays["observation.steps"][:, 0], strict=True)
            np.testing.assert_allclose(arrays["observation.both.1"][:, 1], 0.03)
    if way == "next step":
        assert seen == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)]
        assert finals == [(0, 3), (0, 3), (1, 3), (1, 3)]
    else:
        assert seen == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]
        assert finals == [(0, 3), (0, 3), (1, 3), (1, 3), (2, 3), (2, 3)]


def test_a_process_keeps_the_last_observation_of_an_episode_apart_from_the_next_ones_first() -> None:
    """Gymnasium's worker resets before it sends the last observation, into which Counted then writes."""
    worker = _InWorker(Counted())
    worker.reset(seed=1)
    for _ in range(3):
        last, _, _, truncated, _ = worker.step(0)
    assert truncated
    worker.reset()
    assert (last["steps"][0], last["both"][0]) == (3, 0)


def test_environments_of_other_keys_are_named() -> None:
    other = gym.spaces.Dict({**SPACE.spaces, "arm": gym.spaces.Box(-1, 1, (3,))})
    with pytest.raises(UsageError, match="spaces of environment 1 differ"):
        SyncLoop([Says(SPACE, reset=lambda env: (good(), {})), Says(other, reset=lambda env: (good(), {}))])
