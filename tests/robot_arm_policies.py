"""Scripted policies for RobotArm-v0: inverse kinematics, to hold the goal, or to leave it and come back."""

from collections.abc import Callable

import gymnasium as gym
import numpy as np

import dppo.actor.envs.registration  # noqa: F401  registers RobotArm-v0
from dppo.actor.envs.robot_arm.dynamics import BASE, LINK, TURN_RADIANS, Arms
from dppo.actor.envs.robot_arm.vector_env import RobotArmVectorEnv

Policy = Callable[[Arms], np.ndarray]  # the state of all arms -> actions [E, 2]


def reach(arms: Arms, positions: np.ndarray) -> np.ndarray:
    """Actions [E, 2] that bring fingers to positions [E, 2] as fast as joints turn, elbow always on the same side."""
    away = positions - BASE
    half = np.arccos(np.clip(np.hypot(*away.T) / (2 * LINK), 0, 1))  # between a link and the line to the position
    direction = np.arctan2(away[:, 1], away[:, 0])
    wanted = np.stack([direction + half, direction - half], axis=1)
    turns = np.mod(wanted - arms.angles + np.pi, 2 * np.pi) - np.pi  # the shorter way round
    return np.clip(turns / TURN_RADIANS, -1, 1)


def hold(arms: Arms) -> np.ndarray:
    return reach(arms, arms.goals)


def leave_after(held_steps: int) -> Policy:
    """Go to the goal, stay for so many steps, step out, come back."""

    def act(arms: Arms) -> np.ndarray:
        outwards = arms.goals + (BASE - arms.goals) / 2
        leaving = arms.held_steps >= held_steps
        return np.where(leaving[:, None], reach(arms, outwards), hold(arms))

    return act


def play(policy: Policy, *, episodes: int, mode: str, reward: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns [episodes] and successes [episodes] of one episode a column."""
    vector = gym.make_vec("RobotArm-v0", num_envs=episodes, mode=mode, reward=reward)
    assert isinstance(vector, RobotArmVectorEnv)
    vector.reset(seed=1)
    returns = np.zeros(episodes)
    while True:
        _, rewards, _, truncated, infos = vector.step(policy(vector.arms))
        returns += rewards
        if truncated.all():
            return returns, infos["final_info"]["is_success"]
