"""An environment of your own: train in it, judge the policy, act with it. `python examples/own_environment.py`.

The same from the command line, where this file is: `dppo train --env own_environment:Reach --run.metrics '[distance]'`.
"""

from typing import Any

import gymnasium as gym
import numpy as np

import dppo

SIZE = 5.0  # half the width of the field
NEAR = 0.5


class Reach(gym.Env[np.ndarray, np.ndarray]):
    """A point moves to a goal. An episode ends at the goal (terminated) or after 50 steps (truncated)."""

    observation_space = gym.spaces.Box(-2 * SIZE, 2 * SIZE, (2,), np.float32)  # from the point to the goal
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)  # the step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode at random places."""
        super().reset(seed=seed)
        self.way = self.np_random.uniform(-SIZE, SIZE, 2).astype(np.float32)
        self.steps = 0
        return self.way, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move. `is_success` and `distance` are numbers that the run shows."""
        self.way = np.clip(self.way - action, -2 * SIZE, 2 * SIZE).astype(np.float32)
        self.steps += 1
        distance = float(np.linalg.norm(self.way))
        is_there = distance < NEAR
        info = {"is_success": is_there, "distance": distance}
        return self.way, 10.0 * is_there - 0.1 * distance, is_there, self.steps == 50, info


if __name__ == "__main__":  # the actors import this file
    result = dppo.train(
        env="own_environment:Reach",
        actors=2,
        total_steps=30_000,
        collect=dict(batch_steps=1024),
        ppo=dict(learning_rate=1e-3, gamma=0.95),
        run=dict(metrics=["distance"]),
        directory="runs/own-environment",
    )
    print(f"{result.success_rate:.0%} of the last training episodes reach the goal")
    evaluation = dppo.evaluate(result, episodes=50)
    print(f"most likely actions: return {evaluation.mean:.1f}, success {evaluation.success_rate:.0%}")

    policy = result.load_policy()
    env = Reach()
    way, _ = env.reset(seed=1)
    over = False
    while not over:
        action, _ = policy.predict(way)
        way, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        print("to the goal:", way.round(2))
