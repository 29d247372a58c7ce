"""Plays a trained policy, exactly as actors do: the same graph, the same environments, no torch. Knows run directories.

Every episode has its own seed, and each environment column plays one episode a seed to its end: stopping after the
first N episodes that happen to end would favour short ones.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from actor.environments import Environments, make_environments
from actor.noise import NoiseStream
from actor.policy import PolicyRunner
from actor.sync_loop import SyncLoop
from learner.config import EnvConfig
from protocol.errors import DppoError, UsageError
from protocol.messages import EnvSettings
from scripts.config import TrainConfig
from scripts.fields import build
from scripts.film import film
from scripts.filming import Filmed, WindowClosed, frames_per_second, make_watched
from scripts.policy_files import Which, locate_policy
from scripts.settings import load_config_file

EVALUATION_KEY = 0x0E7A1  # training's streams have spawn keys of three numbers, these of two: never the same stream
EVALUATION_SLOT = 2**31  # exploration noise, where wanted, comes from slots that training never hands out
LONGEST_EPISODE_STEPS = 1_000_000


@dataclass(frozen=True)
class EvaluationResult:
    """What a policy achieved on episodes that it was not trained on."""

    env: str
    policy_version: int
    episodes: int
    deterministic: bool
    mean: float
    std: float  # over episodes
    min: float
    max: float
    returns: tuple[float, ...]  # in the order of the seeds
    lengths: tuple[int, ...]  # steps
    success_rate: float | None = None  # of the episodes that report it; None where the environment does not say
    successes: tuple[bool | None, ...] = ()  # in the order of the seeds
    seed: int = 1
    video: str = ""  # file with the first episodes

    def summary(self) -> str:
        """One line for people."""
        how = "most likely actions" if self.deterministic else "sampled actions"
        episodes = f"{self.episodes} episode{'s' * (self.episodes != 1)}"
        return (
            f"{self.env}, policy version {self.policy_version}, {episodes}, {how}: "
            f"return {self.mean:.1f} +- {self.std:.1f} ({self.min:.1f} to {self.max:.1f}), "
            f"mean length {np.mean(self.lengths):.0f} steps"
        ) + ("" if self.success_rate is None else f", success {self.success_rate:.0%}")


@dataclass(frozen=True)
class Watching:
    """Which episodes are played one by one for people to see: the first ones, or all of them in a window."""

    video: str = ""  # file, .mp4 or .gif; "": no video
    video_episodes: int = 1
    window: bool = False
    most_frames: int | None = None  # then the film ends, and the episode with it; None: whole episodes


class Played(NamedTuple):
    """One episode."""

    episode_return: float
    length: int  # steps
    success: bool | None  # None: not reported


NOBODY_WATCHES = Watching()


def evaluate(
    run: str,
    *,
    episodes: int = 20,
    seed: int = 1,
    deterministic: bool = True,
    envs: int = 8,
    watching: Watching = NOBODY_WATCHES,
    which: Which = "newest",
) -> EvaluationResult:
    """Play `episodes` episodes of the policy in a run directory (or of a policy.onnx that lies in one).

    The result depends neither on `envs` nor on who watches; a window that is closed ends the evaluation with the
    episodes that are over. Raises UsageError where there is no such run or policy, and before anything is played where
    it cannot be watched; WindowClosed where no episode is over.
    """
    directory, policy_file = locate_policy(run, which)
    env = build(EnvConfig, _env_values(directory))
    runner = PolicyRunner(policy_file.read_bytes())
    watched = episodes if watching.window else watching.video_episodes if watching.video else 0
    played: list[Played] = []
    if watched:
        try:
            with _watched(env, watching) as environments:
                for first in range(watched):
                    played += _play_round(environments, runner, seed, first, deterministic)
        except WindowClosed:
            if not played:
                raise
    if watched < episodes:
        with ExitStack() as stack:
            environments = _unwatched(env, min(envs, episodes - watched))
            stack.callback(environments.close)
            for first in range(watched, episodes, environments.envs):
                played += _play_round(environments, runner, seed, first, deterministic)
    return _result(env.id, runner.version, deterministic, played[:episodes], seed, watching.video)


def _unwatched(env: EnvConfig, width: int) -> Environments:
    # single environments: a native vector environment takes one seed for all of its columns
    vectorization = "sync" if env.vectorization == "auto" else env.vectorization
    return make_environments(EnvSettings(env.id, json.dumps(env.kwargs), vectorization), width)


@contextmanager
def _watched(env: EnvConfig, watching: Watching) -> Iterator[Environments]:
    """One environment with a window, or one whose frames go into the video."""
    with ExitStack() as stack:
        environment = make_watched(env, "human" if watching.window else "rgb_array")
        stack.callback(environment.close)
        if watching.window:
            yield SyncLoop([environment])
        else:
            reel = stack.enter_context(film(Path(watching.video), frames_per_second(environment)))
            yield SyncLoop([Filmed(environment, reel, watching.most_frames)])


def evaluation_seeds(seed: int, first: int, count: int) -> list[int]:
    """Environment seeds of episodes first .. first + count - 1, in [0, 2**31)."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(EVALUATION_KEY, first + i)) for i in range(count))
    return [int(sequence.generate_state(1)[0]) >> 1 for sequence in sequences]


def _noise(runner: PolicyRunner, seed: int, first: int, envs: int) -> NoiseStream:
    slot, kind, size = EVALUATION_SLOT + first, runner.noise_kind, runner.noise_size
    return NoiseStream(seed, first_slot=slot, envs=envs, life=0, kind=kind, size=size)


def _play_round(
    environments: Environments, runner: PolicyRunner, seed: int, first: int, deterministic: bool
) -> list[Played]:
    """Episodes first .. first + E - 1, one a column; what a column does after its end is ignored."""
    columns = environments.envs
    returns, lengths, successes = np.zeros(columns), np.zeros(columns, np.int64), np.full(columns, np.nan)
    playing = np.ones(columns, bool)
    zero = np.zeros((columns, runner.noise_size), np.float32)
    noise = None if deterministic else _noise(runner, seed, first, columns)
    observations = environments.reset(evaluation_seeds(seed, first, columns))
    while playing.any():
        _, env_action, _ = runner.act(observations, zero if noise is None else noise.next())
        step = environments.step(env_action)
        for crash in step.crashes:  # an episode that breaks off has no return: there is nothing to report
            if isinstance(crash.error, WindowClosed):
                raise crash.error
            raise DppoError(f"{crash}; so its episode cannot be played to its end") from crash.error
        counted = playing & step.valid
        returns[counted] += step.rewards[counted]
        lengths[counted] += 1
        ended = playing & (step.terminated | step.truncated)
        successes[ended] = step.successes[ended]
        playing &= ~ended
        observations = step.observations
        if lengths.max() >= LONGEST_EPISODE_STEPS:
            raise DppoError(
                f"an episode has not ended after {LONGEST_EPISODE_STEPS:,} steps: limit it, for example with "
                "--env.kwargs '{max_episode_steps: 1000}' when training"
            )
    told = (None if np.isnan(success) else bool(success) for success in successes)
    return [Played(*episode) for episode in zip(returns.tolist(), lengths.tolist(), told, strict=True)]


def _env_values(directory: Path) -> dict[str, object]:
    file = directory / "config.yaml"
    if not file.is_file():
        raise UsageError(f"{directory} has no config.yaml, which says what environment the policy is for")
    values = load_config_file(file, TrainConfig)
    return {path.removeprefix("env."): value for path, value in values.items() if path.startswith("env.")}


def _result(
    env: str, version: int, deterministic: bool, played: Sequence[Played], seed: int, video: str
) -> EvaluationResult:
    returns = [episode.episode_return for episode in played]
    reported = [episode.success for episode in played if episode.success is not None]
    return EvaluationResult(
        env=env,
        policy_version=version,
        episodes=len(returns),
        deterministic=deterministic,
        mean=float(np.mean(returns)),
        std=float(np.std(returns)),
        min=float(np.min(returns)),
        max=float(np.max(returns)),
        returns=tuple(returns),
        lengths=tuple(episode.length for episode in played),
        success_rate=float(np.mean(reported)) if reported else None,
        successes=tuple(episode.success for episode in played),
        seed=seed,
        video=video,
    )
