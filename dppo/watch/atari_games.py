"""Whole games of ale-py's vector environment, with the points that the game gives. Knows ale-py's arguments by name.

Training may clip rewards and end episodes with a lost life; a game is judged by its own points, over all of its lives.
The policy's memory and frames begin anew with a lost life where they did in training.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from dppo.actor.envs.env_numbers import Place
from dppo.actor.envs.factory import Maker
from dppo.actor.envs.interface import Step
from dppo.actor.envs.lookup import registered
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.learner.config import EnvConfig

ATARI_VECTOR = "ale_py.vector_env:AtariVectorEnv"
SCORE = "score of the whole game"
CONSOLE_FRAMES_PER_SECOND = 60
LIVES = "lives"  # in the infos: [E]
# arguments that leave a game as it is; that of the autoreset is of no account, since one game is played at a time
WHOLE = {"reward_clipping": False, "life_loss_info": False, "episodic_life": False, "autoreset_mode": "NextStep"}
ENDS_WITH_A_LIFE = ("life_loss_info", "episodic_life")  # with one of them, training's episodes do


def plays_atari(env: EnvConfig, step_metrics: object = ()) -> bool:
    """Return whether actors step ale-py's own vector environment. step_metrics: as run.step_metrics."""
    is_native = env.vectorization == "native"
    if env.vectorization == "auto":
        is_native = not env.wrappers and not step_metrics
    return is_native and registered(env.id).vector_entry_point == ATARI_VECTOR


class Game(gym.Env[np.ndarray, Any]):
    """One game at a time. An episode is a game."""

    def __init__(
        self, vector: VectorEnv[Any, Any, Any], screen: VectorEnv[Any, Any, Any] | None, frames_per_second: float
    ) -> None:
        """Take a vector of one game, and another of the same game, whose observations are the screen in colours.

        Both do the same with the same seeds and actions, sticky actions and no-ops included.
        """
        self.observation_space = vector.single_observation_space
        self.action_space = vector.single_action_space
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": frames_per_second}
        self.render_mode = None if screen is None else "rgb_array"
        self.has_lost_life = False  # in the newest step
        self._vector, self._screen = vector, screen
        self._picture = np.zeros((0, 0, 3), np.uint8)
        self._lives = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin another game."""
        super().reset(seed=seed)
        seed = int(self.np_random.integers(2**31)) if seed is None else seed
        observations, infos = self._vector.reset(seed=seed)
        if self._screen is not None:
            self._picture = self._screen.reset(seed=seed)[0][0, -1]
        self._lives = int(infos[LIVES][0])
        self.has_lost_life = False
        return observations[0], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do one action, for as many frames as an action lasts."""
        actions = np.asarray(action)[None]
        observations, rewards, terminated, truncated, infos = self._vector.step(actions)
        if self._screen is not None:
            self._picture = self._screen.step(actions)[0][0, -1]
        lives = int(infos[LIVES][0])
        self.has_lost_life = lives < self._lives
        self._lives = lives
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Any:
        """Return the screen [height, width, 3]: of the newest frame, or of the last two, where they are merged."""
        return self._picture

    def close(self) -> None:
        """Close the vectors."""
        for vector in (self._vector, self._screen):
            if vector is not None:
                vector.close()


class Games(SyncLoop):
    """Games side by side, each with a seed of its own, however many there are."""

    def __init__(self, games: Sequence[Game], shown: Sequence[gym.Env[Any, Any]], *, lives_are_episodes: bool) -> None:
        """Take games, and the same ones within what wraps them.

        lives_are_episodes: for the policy an episode ends with a lost life.
        """
        super().__init__(shown, action_mask="none")
        self._games = games
        self._lives_are_episodes = lives_are_episodes

    def for_policy(self, step: Step) -> Step:
        """Return a step of theirs as the policy knew such steps in training: over where a life was lost."""
        if not self._lives_are_episodes:
            return step
        lost = np.array([game.has_lost_life for game in self._games])
        return step._replace(terminated=step.terminated | lost) if lost.any() else step


def make_games(env: EnvConfig, count: int, place: Place) -> Games:
    """Make games that are played and not shown. Raises UsageError."""
    games = [_game(env, place, column, is_filmed=False) for column in range(count)]
    return Games(games, games, lives_are_episodes=_lives_are_episodes(env))


def filmed(game: Game, shown: gym.Env[Any, Any], env: EnvConfig) -> Games:
    """Return that game, within what wraps it."""
    return Games([game], [shown], lives_are_episodes=_lives_are_episodes(env))


def make_filmed_game(env: EnvConfig, place: Place) -> Game:
    """Make a game whose `render` gives its screen. Raises UsageError."""
    return _game(env, place, 0, is_filmed=True)


def _lives_are_episodes(env: EnvConfig) -> bool:
    return any(env.kwargs.get(name) for name in ENDS_WITH_A_LIFE)


def _game(env: EnvConfig, place: Place, column: int, *, is_filmed: bool) -> Game:
    kwargs = {**env.kwargs, **WHOLE}
    vector = _vector(env, kwargs, place, column)
    screen = None
    if is_filmed:
        height, width = (gym.make(env.id).observation_space.shape or ())[:2]
        screen = _vector(
            env, {**kwargs, "grayscale": False, "img_height": height, "img_width": width, "stack_num": 1}, place, column
        )
    return Game(vector, screen, CONSOLE_FRAMES_PER_SECOND / int(kwargs.get("frameskip", 4)))


def _vector(env: EnvConfig, kwargs: dict[str, Any], place: Place, column: int) -> VectorEnv[Any, Any, Any]:
    """Make a vector of one game."""
    maker = Maker(env.id, kwargs, Place(place.actor, place.first_slot + column))
    return maker.first(lambda: maker.native(1), of="the native vector environment of ")
