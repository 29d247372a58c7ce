"""An environment to watch: in a window, or frame by frame. Knows Gymnasium's render modes and their traps."""

import copy
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from dppo.actor.envs.env_numbers import FIRST_IN_USE_SECONDS, Place, made_once_free
from dppo.actor.envs.factory import Maker
from dppo.actor.envs.first_calls import given_to_reset
from dppo.actor.envs.make import registered
from dppo.actor.envs.mask_reader import method_of
from dppo.actor.envs.metrics import as_real
from dppo.learner.config import EnvConfig
from dppo.protocol.action_masks import MASK
from dppo.protocol.env_wrappers import parse_wrappers
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.texts import error_text
from dppo.watch.atari_games import make_filmed_game
from dppo.watch.video_file import Film

RenderMode = Literal["rgb_array", "human"]
DEFAULT_FRAMES_PER_SECOND = 30.0
# what is needed to render without a screen, where the user has not chosen anything
HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MUJOCO_GL": "egl"}
WINDOWLESS_DRIVERS = ("dummy", "offscreen", "evdev")  # of SDL


class WindowClosed(Exception):
    """The viewer has closed the window. Not an error: it is how watching ends."""


class Filmed(gym.Wrapper[Any, Any, Any, Any]):
    """Films every episode that starts with a seed, from the first to the last observation.

    What follows its end without a seed, the reset within the last step, is not filmed.
    """

    def __init__(
        self,
        environment: gym.Env[Any, Any],
        film: Film,
        most_frames: int | None = None,
        most_seconds: float = math.inf,
    ) -> None:
        """An episode is truncated at most_frames (None: never), and most_seconds after it began."""
        super().__init__(environment)
        self._film = film
        self._most_frames = most_frames
        self._most_seconds = most_seconds
        self._began = 0.0
        self._frames = 0  # of this episode
        self._rolling = False
        self._shape: tuple[int, ...] = ()  # of a frame

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as Env.reset does."""
        result = self.env.reset(**given_to_reset(seed, options))
        self._rolling, self._frames, self._began = seed is not None, 0, time.monotonic()
        self._shoot()
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as Env.step does."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._shoot()
        is_late = time.monotonic() - self._began > self._most_seconds
        truncated = truncated or is_late or self._frames == self._most_frames
        if self._rolling and (terminated or truncated):
            self._rolling = False
            self._film.end_episode()
        return observation, reward, terminated, truncated, info

    def _shoot(self) -> None:
        if self._rolling:
            self._frames += 1
            frame = np.asarray(self.env.render())
            self._shape = self._shape or frame.shape
            if not _is_picture(frame) or frame.shape != self._shape:
                raise DppoError(
                    f"render() returned {_looks(frame)} as frame {self._frames} of an episode, and the film began with "
                    f"{self._shape} uint8: return pictures of one size"
                )
            self._film.add(frame)


class Shown(gym.Wrapper[Any, Any, Any, Any]):
    """Raises WindowClosed out of the first step or reset after the window was closed, whatever the environment does.

    Most of Gymnasium's never look; others end the program, as `RobotArm-v0` does. The reset within an episode's last
    step is left out: what follows is not played, and an episode that is over must not be lost to a window closed then.
    """

    def __init__(self, environment: gym.Env[Any, Any]) -> None:
        super().__init__(environment)
        self._first: tuple[Any, dict[str, Any]] = (
            None,
            {},
        )  # of the newest episode: observation, mask of actions
        self._is_over = False
        method = method_of(environment)
        if method is not None:
            self.action_masks = lambda: self._first[1][MASK] if self._is_over else method()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as Env.reset does; without a seed nothing happens, and what the episode began with is returned."""
        self._is_over = seed is None
        if self._is_over:
            return self._first
        with _until_closed():
            result = self.env.reset(**given_to_reset(seed, options))
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
            method = method_of(self.env)
            masks = {MASK: result[1][MASK]} if MASK in result[1] else {} if method is None else {MASK: method()}
            self._first = copy.deepcopy((result[0], masks))  # an environment may write into the same arrays later
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as Env.step does."""
        with _until_closed():
            return self.env.step(action)


@contextmanager
def _until_closed() -> Iterator[None]:
    pygame = sys.modules.get("pygame")
    if pygame is not None and pygame.display.get_init() and pygame.event.get(pygame.QUIT):
        raise WindowClosed
    try:
        yield
    except SystemExit as end:
        if end.code:
            raise
        raise WindowClosed from None


def make_watched(
    settings: EnvConfig, mode: RenderMode, place: Place = Place(), *, is_atari: bool = False
) -> gym.Env[Any, Any]:
    """One environment that renders in this mode, tried out. Raises UsageError saying what is missing.

    In a window it raises WindowClosed, now or later, once that was closed. is_atari: of ale-py's vector environment.
    """
    if is_atari:
        if mode == "human":
            raise UsageError(f"{settings.id} cannot be watched in a window: film it with --video FILE.mp4")
        return make_filmed_game(settings, place)
    if mode == "human":
        _need_display()
    elif not _has_display():
        for variable, value in HEADLESS.items():
            os.environ.setdefault(variable, value)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it is printed where --json prints
    try:
        offered = _render_modes(settings.id)
        if mode not in offered and not (mode == "human" and "rgb_array" in offered):
            modes = ", ".join(offered) or "none"
            raise UsageError(f"{settings.id} cannot be watched: it has no render_mode {mode} (it offers: {modes})")
        maker = Maker(settings.id, {**settings.kwargs, "render_mode": mode}, place, parse_wrappers(settings.wrappers))
        environment = made_once_free(lambda: maker.single(0), FIRST_IN_USE_SECONDS)
        if mode == "human":
            environment = Shown(environment)
        environment.reset(seed=0)
        frame = environment.render() if mode == "rgb_array" else None
        if mode == "human":
            _need_window()
    except (UsageError, WindowClosed):
        raise
    except Exception as error:  # a simulator's renderer fails in its own ways: pygame.error, mujoco's, GL's
        if settings.vectorization == "native" and isinstance(error, TypeError):
            raise UsageError(
                f"{settings.id} cannot be watched: its arguments (env.kwargs) are those of its own vector environment, "
                "which shows nothing, and not those of a single one"
            ) from error
        raise UsageError(f"{settings.id} cannot be watched: {_reason(error)}") from error
    if mode == "rgb_array" and not _is_picture(frame):
        environment.close()
        raise UsageError(
            f"{settings.id} cannot be watched: render() gave {_looks(frame)}, not a picture of shape (height, width, "
            "3) in uint8"
        )
    return environment


def frames_per_second(environment: gym.Env[Any, Any]) -> float:
    """At which the environment's own clock runs, as its metadata says; 30 where they name no such number."""
    metadata: Any = environment.metadata
    told = as_real(metadata.get("render_fps")) if isinstance(metadata, Mapping) else math.nan
    return told if told > 0 else DEFAULT_FRAMES_PER_SECOND


def _need_display() -> None:
    if not _has_display() and not os.environ.get("SDL_VIDEODRIVER"):
        raise UsageError(
            "--render human opens a window, and there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set): "
            "film it with --video FILE.mp4 and watch that elsewhere"
        )


def _need_window() -> None:
    """SDL draws into the void where the display does not answer, without an error."""
    pygame = sys.modules.get("pygame")
    if pygame is None or not pygame.display.get_init() or os.environ.get("SDL_VIDEODRIVER"):
        return
    if pygame.display.get_driver() in WINDOWLESS_DRIVERS:
        name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        raise UsageError(f"--render human opens a window, and the display {name} does not answer: use --video FILE.mp4")


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _render_modes(env_id: str) -> list[str]:
    """Without an instance, since Gymnasium only warns where a mode is not known."""
    entry_point = registered(env_id).entry_point
    creator = gym.envs.registration.load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    metadata = getattr(creator, "metadata", None)
    # a function that makes environments does not say: only a try shows it
    return list(metadata.get("render_modes") or []) if isinstance(metadata, Mapping) else ["rgb_array", "human"]


def _looks(frame: Any) -> str:
    return f"{frame.dtype} of shape {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__


def _is_picture(frame: Any) -> bool:
    return isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3


def _reason(error: Exception) -> str:
    text = error_text(error) or type(error).__name__
    missing = isinstance(error, ImportError | gym.error.DependencyNotInstalled)
    if missing and "pygame" in text:
        return "pygame is not installed: pip install 'dppo[render]'"
    return f"{text}. A package that is not installed?" if missing else text
