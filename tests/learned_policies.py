"""Policies of learning tests, judged in an environment of their own."""

from typing import Any

import gymnasium as gym
import numpy as np

from dppo.api.policy import Policy


def mean_reward(environment: gym.Env[Any, Any], policy: Policy, *, deterministic: bool = True) -> float:
    """Return the mean reward of 500 steps in an environment whose episodes need no end."""
    observation, _ = environment.reset(seed=99)
    rewards = []
    for _ in range(500):
        action, _ = policy.predict(observation, deterministic=deterministic)
        observation, reward, *_ = environment.step(action)
        rewards.append(float(reward))
    return float(np.mean(rewards))
