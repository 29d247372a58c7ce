"""Environments that start processes of their own, for tests of what is left: "starting:Starting-v0"."""

import multiprocessing
import os
import subprocess
import time
from typing import Any

import gymnasium as gym
import numpy as np


def serve(connection: Any) -> None:
    while True:
        connection.send(connection.recv())


class Starting(gym.Env[np.ndarray, np.int64]):
    """Starts a simulator, by whatever way; hangs at its n-th step, if told."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str, hang_at: int = 0, slow: float = 0.0, close: bool = True) -> None:
        self._countdown, self._slow, self._close = hang_at or -1, slow, close
        self._connection: Any = None
        self._process: Any = None
        if how in ("fork", "daemon"):
            context = multiprocessing.get_context("fork")
            self._connection, there = context.Pipe()
            self._process = context.Process(target=serve, args=(there,), daemon=how == "daemon")
            self._process.start()
        elif how == "orphan":
            os.system("sleep 4321 &")
        else:
            self._process = subprocess.Popen(["sleep", "4321"], start_new_session=how == "session")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._t += 1
        self._countdown -= 1
        if self._countdown == 0:
            time.sleep(10_000)
        time.sleep(self._slow)
        if self._connection is not None:
            self._connection.send(1)
            self._connection.recv()
        return np.zeros(2, np.float32), float(action), False, self._t >= 20, {}

    def close(self) -> None:
        if self._close and self._process is not None:
            self._process.terminate()


gym.register("Starting-v0", entry_point=Starting)
