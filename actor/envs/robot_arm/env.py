"""RobotArm-v0, one arm. Knows Gymnasium; the arithmetic is in dynamics.py, the pictures in rendering.py.

The task: bring the finger into the goal and hold it there for 51 steps in a row. That is success (`is_success` in info,
true from that step to the episode's end), and nothing terminates: an episode that ended at success would make holding
worth no more than its first moments, and with rewards below 0 on the way it would not even say what is wanted
afterwards. Episodes end by their time limit only, and are truncated.
"""

from collections import deque
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dppo.actor.envs.robot_arm.dynamics import (
    Arms,
    Posture,
    at_rest,
    check_goal,
    check_task,
    draw_start,
    observation_bounds,
    observe,
    posture,
    rewards_of,
    turn,
)
from dppo.actor.envs.robot_arm.rendering import FRAMES_PER_SECOND, Scene, Window, frame, load_pygame
from dppo.protocol.errors import UsageError

TRACE_STEPS = 40


class RobotArmEnv(gym.Env[np.ndarray, np.ndarray]):
    """Two links, two joint velocities as actions.

    mode "easy" has one goal for all episodes, "hard" draws one anywhere within reach. reward "hold" is to be used,
    "tutorial" is the original's, which can be farmed. In render_mode "human" the goal follows the mouse and the arrow
    keys add to the action; closing the window ends the program with exit code 0 (SystemExit out of `step` or `reset`).
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # Env's is an instance variable by its annotation only
        "render_modes": ["human", "rgb_array"],
        "render_fps": FRAMES_PER_SECOND,
    }

    def __init__(self, *, mode: str = "easy", reward: str = "hold", render_mode: str | None = None) -> None:
        """Raises UsageError for an unknown name, and where pygame or the display is missing."""
        self._mode, self._reward = check_task(mode, reward)
        low, high = observation_bounds(self._reward)
        self.observation_space = gym.spaces.Box(low, high)
        self.action_space = gym.spaces.Box(-1, 1, (2,))
        self.render_mode = render_mode
        self._arms: Arms | None = None
        self._now: Posture
        self._step = 0
        self._trace: deque[np.ndarray] = deque(maxlen=TRACE_STEPS)
        self._window: Window | None = None
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"RobotArm-v0 has no render_mode {render_mode!r}: choose human or rgb_array")
        if render_mode == "rgb_array":
            load_pygame()  # fail now rather than after hours of training
        elif render_mode == "human":
            self._window = Window()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode with the arm anywhere. options {"goal": (x, y)} fixes the goal of this episode."""
        super().reset(seed=seed)
        angles, goal = draw_start(self.np_random, self._mode)
        if options and "goal" in options:
            goal = check_goal(options["goal"])
        self._arms = at_rest(angles[None], goal[None])
        self._step = 0
        self._trace.clear()
        if self._window is not None:
            self._window.listen()
            self._follow_mouse(self._window)
        self._now = posture(self._arms)
        self._show()
        return observe(self._reward, self._arms, self._now)[0], self._info(self._arms)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Turn the joints by action * 0.1 radians."""
        if self._arms is None:
            raise gym.error.ResetNeeded("call reset before the first step")
        actions = np.asarray(action)[None]
        if self._window is not None:
            actions = actions + self._window.listen()
            self._follow_mouse(self._window)
        self._trace.append(self._now.fingers[0])
        self._arms, self._now = turn(self._arms, actions)
        self._step += 1
        self._show()
        reward = float(rewards_of(self._reward, self._arms, self._now)[0])
        return observe(self._reward, self._arms, self._now)[0], reward, False, False, self._info(self._arms)

    def render(self) -> np.ndarray | None:
        """The picture [400, 400, 3] uint8 in rgb_array mode; None in human mode, where each step shows itself."""
        if self.render_mode is None:
            raise UsageError("RobotArm-v0 was made without a render_mode: give render_mode='rgb_array' or 'human'")
        return frame(self._scene(self._arms)) if self.render_mode == "rgb_array" and self._arms is not None else None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _follow_mouse(self, window: Window) -> None:
        if self._arms is not None and window.goal is not None:
            self._arms = self._arms._replace(goals=window.goal[None])

    def _show(self) -> None:
        if self._window is not None and self._arms is not None:
            self._window.show(self._scene(self._arms))

    def _scene(self, arms: Arms) -> Scene:
        return Scene(
            elbow=self._now.elbows[0],
            finger=self._now.fingers[0],
            goal=arms.goals[0],
            inside=bool(self._now.inside[0]),
            held_steps=int(arms.held_steps[0]),
            step=self._step,
            trace=self._trace,
        )

    def _info(self, arms: Arms) -> dict[str, Any]:
        return {
            "is_success": bool(arms.succeeded[0]),
            "held_steps": int(arms.held_steps[0]),
            "distance": float(self._now.distances[0]),
        }
