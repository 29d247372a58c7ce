"""Rewards that a wrapper halves, outside of one that has counted them; alone and as vectors."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVector
from gymnasium.wrappers.vector import TransformReward
from metrics_env import Telling


class Halved(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> Any:
        return reward / 2


class CutShort(TimeLimit):
    """Ends episodes of three steps after two."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env, 2)


class Saying(gym.Wrapper[Any, Any, Any, Any]):
    """Puts something else under the key into every info."""

    def __init__(self, env: gym.Env[Any, Any], thing: Any) -> None:
        super().__init__(env)
        self._thing = thing

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        *result, info = super().step(action)
        return (*result, info | {"episode": self._thing})


def counted() -> gym.Env[Any, Any]:
    return Halved(RecordEpisodeStatistics(Telling()))


def _vector(num_envs: int, mode: str = "NEXT_STEP", inside: str = "", **_: Any) -> VectorEnv[Any, Any, Any]:
    make = (lambda: RecordEpisodeStatistics(Telling())) if inside else Telling
    vector: VectorEnv[Any, Any, Any] = SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode[mode])
    return TransformReward(vector if inside else RecordVector(vector), lambda rewards: rewards / 2)


gym.register("CountedVector-v0", entry_point=counted, vector_entry_point=_vector)
