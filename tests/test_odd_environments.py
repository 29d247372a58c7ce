"""Environments that reuse their arrays, or have no spaces: right, or one line."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from counting import CountingEnv
from gymnasium.vector import AutoresetMode, VectorWrapper
from test_environments import SEEDS, by_law, counting_vector

from dppo.actor.envs.make import make_environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings


class SharedArrays(VectorWrapper):
    """Returns everything in the same arrays, into which a reset writes too, also for columns that it leaves alone."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        kept = ~options["reset_mask"] if options is not None else np.zeros(self.num_envs, bool)
        observations, infos = super().reset(seed=seed, options=options)
        if options is None:
            self.arrays = [observations.copy(), *(np.zeros(self.num_envs, kind) for kind in (np.float32, bool, bool))]
            return self.arrays[0], infos
        self.arrays[0][...] = observations
        self.arrays[0][kept] = -1
        for array in self.arrays[1:]:
            array[...] = 0
        return self.arrays[0], infos

    def step(self, actions: Any) -> Any:
        *values, infos = super().step(actions)
        for array, value in zip(self.arrays, values, strict=True):
            array[...] = value
        return *self.arrays, infos


def test_a_reset_by_us_may_write_into_what_the_step_has_returned() -> None:
    assert by_law(counting_vector(AutoresetMode.DISABLED, SharedArrays), 60)["resets"] == 0


def test_a_success_is_read_before_the_reset_writes_over_it() -> None:
    class Reusing(gym.Wrapper[Any, Any, Any, Any]):
        said = np.zeros((), bool)

        def reset(self, **given: Any) -> Any:
            self.said[...] = False
            return self.env.reset(**given)

        def step(self, action: Any) -> Any:
            *rest, info = self.env.step(action)
            if info.get("is_success") is None:
                return *rest, info
            self.said[...] = info["is_success"]
            return *rest, {**info, "is_success": self.said}

    by_law(SyncLoop([Reusing(CountingEnv()) for _ in SEEDS]), 60)


def _not_connected(environment: object) -> Any:
    raise ConnectionError("not connected yet")


class NotConnected(gym.Env[Any, Any]):
    observation_space: Any = property(_not_connected)


class WithoutSpaces(gym.Env[Any, Any]):
    """Sets them in its first reset, which is too late."""


class NoneForSpaces(gym.Env[Any, Any]):
    observation_space: Any = None
    action_space: Any = None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "NotConnected",
            r"cannot be read: ConnectionError: not connected yet \(test_odd_.*; set both in",
        ),
        ("WithoutSpaces", "cannot be read: AttributeError: .*observation_space"),
        ("NoneForSpaces", "observation: None is no Gymnasium space: set observation_space in __init__"),
    ],
)
def test_spaces_that_cannot_be_read_are_one_line(kind: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_environments(EnvSettings(f"test_odd_environments:{kind}"), 1)
