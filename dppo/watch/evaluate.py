"""Plays a trained policy, exactly as actors do: the same graph, the same environments, no torch. Knows run directories.

Every episode has its own seed, and each environment column plays one episode a seed to its end: stopping after the
first N episodes that happen to end would favour short ones.
"""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from dppo.actor.envs.env_numbers import Place
from dppo.actor.envs.finite import Finite
from dppo.actor.envs.interface import Crash, Step
from dppo.actor.envs.make import Environments, make_environments
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.sampling.carried_state import CarriedState
from dppo.actor.sampling.noise import NoiseStream
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.fitted_text import fitted
from dppo.learner.config import EnvConfig
from dppo.protocol.errors import DppoError, ProtocolError, UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.rollout import Leaves
from dppo.protocol.texts import error_text
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import load_config_file
from dppo.watch.atari_games import SCORE, Game, Games, filmed, make_games, plays_atari
from dppo.watch.episode_results import EvaluationResult, Played, Tally
from dppo.watch.evaluation_slots import by_run_place, film_place, first_evaluation_slot, unwatched_place, watched_place
from dppo.watch.policy_files import Which, locate_policy
from dppo.watch.policy_spaces import refuse_other_spaces
from dppo.watch.rendering import Filmed, WindowClosed, frames_per_second, make_watched
from dppo.watch.video_file import film

__all__ = ["EvaluationResult", "ViewOptions", "evaluate", "evaluation_seeds"]

EVALUATION_KEY = 0x0E7A1  # training's streams have spawn keys of three numbers, these of two: never the same stream
EVALUATION_SLOT = 2**31  # exploration noise, where wanted, comes from slots that training never hands out


@dataclass(frozen=True)
class ViewOptions:
    """Episodes that are played one by one for people to see: the first ones, or all of them in a window."""

    video: str = ""  # file, .mp4 or .gif; "": no video
    video_episodes: int = 1
    window: bool = False
    most_frames: int | None = None  # then the film ends, and the episode with it; None: whole episodes
    most_seconds: float = math.inf  # likewise
    by_run: bool = False  # a run films or evaluates itself, which has slots of its own


UNWATCHED = ViewOptions()


class Closes(Protocol):
    """Environments, or one."""

    def close(self) -> None:
        """Free what it holds."""


def evaluate(
    run: str,
    *,
    episodes: int = 20,
    seed: int = 1,
    deterministic: bool = True,
    envs: int = 8,
    watching: ViewOptions = UNWATCHED,
    which: Which = "newest",
    max_seconds: float = 0.0,
    tally: Tally | None = None,
) -> EvaluationResult:
    """Play `episodes` episodes of the policy in a run directory (or of a policy.onnx that lies in one).

    The result depends neither on `envs` nor on a window or a video; a window that is closed ends the evaluation with
    the episodes that are over, and so does the end of `max_seconds` (0: no limit). `tally` gets each as it ends.
    Raises UsageError where there is no such run or policy, and before anything is played where it cannot be watched;
    WindowClosed where no episode is over then, DppoError where none is when the time is.
    """
    deadline = time.monotonic() + (max_seconds or math.inf)
    directory, policy_file = locate_policy(run, which)
    settings = _settings(directory)
    env = build(EnvConfig, {path[4:]: value for path, value in settings.items() if path.startswith("env.")})
    slot = first_evaluation_slot(directory, settings)
    is_atari = plays_atari(env, settings.get("run.step_metrics"))
    runner = _runner(policy_file)
    tally = tally if tally is not None else Tally()
    tally.begin(env.id, runner.version, episodes)
    play = _Play(runner, seed, deterministic, deadline, tally)
    watched = episodes if watching.window else watching.video_episodes if watching.video else 0
    if watched:
        try:
            with _watched(env, watching, slot, tally, is_atari=is_atari) as environments:
                play.rounds(environments, 0, watched)
        except WindowClosed:
            if not tally.played:
                raise
    if watched < episodes and not play.is_late:
        place = by_run_place(slot) if watching.by_run else unwatched_place(slot)
        count = min(envs, episodes - watched)
        environments = make_games(env, count, place) if is_atari else _unwatched(env, count, place)
        try:
            play.rounds(environments, watched, episodes)
        finally:
            close(environments)
    stopped = f"stopped after {max_seconds:g} s" if play.is_late else ""
    return tally.result(deterministic=deterministic, seed=seed, video=watching.video, stopped=stopped)


def close(environments: Closes) -> None:
    """Close them; that it fails is logged and costs no result."""
    try:
        environments.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a simulator raises: it is not needed any more
        print(f"closing the environments failed: {type(error).__name__}: {error_text(error)}", file=sys.stderr)


def _unwatched(env: EnvConfig, width: int, place: Place) -> Environments:
    if env.vectorization == "native":  # one seed for all of its columns: so one column, or results depend on the width
        width = 1
    vectorization = "sync" if env.vectorization == "auto" else env.vectorization
    settings = EnvSettings(
        env.id, env.kwargs_json, vectorization, wrappers_json=env.wrappers_json, action_mask=env.action_mask
    )
    return make_environments(settings, width, place=place, note=_note)


def _note(text: str) -> None:
    print(fitted(f"note: {text}", sys.stderr), file=sys.stderr)


@contextmanager
def _watched(
    env: EnvConfig, watching: ViewOptions, slot: int, tally: Tally, *, is_atari: bool
) -> Iterator[Environments]:
    """One environment with a window, or one whose frames go into the video."""
    video = Path(watching.video).absolute()  # before the environment may change the working directory
    with ExitStack() as stack:
        place = film_place(slot) if watching.by_run else watched_place(slot)
        environment = make_watched(env, "human" if watching.window else "rgb_array", place, is_atari=is_atari)
        stack.callback(close, environment)
        if watching.window:
            yield SyncLoop([environment], action_mask=env.action_mask)
        else:
            stack.callback(tally.film_is, "written")
            reel = stack.enter_context(film(video, frames_per_second(environment)))
            stack.callback(tally.film_is, "being written")
            shown = Filmed(environment, reel, watching.most_frames, watching.most_seconds)
            if isinstance(environment, Game):
                yield filmed(environment, shown, env)
            else:
                yield SyncLoop([shown], action_mask=env.action_mask)


def evaluation_seeds(seed: int, first: int, count: int) -> list[int]:
    """Environment seeds of episodes first .. first + count - 1, in [0, 2**31)."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(EVALUATION_KEY, first + i)) for i in range(count))
    return [int(sequence.generate_state(1)[0]) >> 1 for sequence in sequences]


def _noise(runner: PolicyRunner, seed: int, first: int, envs: int) -> NoiseStream:
    slot, kind, size = EVALUATION_SLOT + first, runner.noise_kind, runner.noise_size
    return NoiseStream(seed, first_slot=slot, envs=envs, life=0, kind=kind, size=size)


class _Play:
    """Episodes of one policy, a round of E at a time, one a column."""

    def __init__(self, runner: PolicyRunner, seed: int, deterministic: bool, deadline: float, tally: Tally) -> None:
        self.is_late = False
        self._runner = runner
        self._seed = seed
        self._deterministic = deterministic
        self._deadline = deadline
        self._tally = tally

    def rounds(self, environments: Environments, first: int, end: int) -> None:
        """Play episodes first .. end - 1, or until the time is over. Raises UsageError for other spaces."""
        refuse_other_spaces(self._runner.metadata, environments.spec, self._tally.env)
        if isinstance(environments, SyncLoop) and environments.wrappers:
            self._tally.wrapped_in(environments.wrappers)
        if isinstance(environments, Games):
            self._tally.measures(SCORE)
        for number in range(first, end, environments.envs):
            self._round(environments, number, end)
            if self.is_late:
                return
            self._tally.round_over(min(number + environments.envs, self._tally.asked))

    def _round(self, environments: Environments, first: int, end: int) -> None:
        """Episodes first .. first + E - 1, one a column; after its own end, and from `end` on, a column is ignored."""
        columns, runner, tally = environments.envs, self._runner, self._tally
        returns, lengths = np.zeros(columns), np.zeros(columns, np.int64)
        playing = np.arange(first, first + columns) < end  # the last round may have columns to spare
        zero = np.zeros((columns, runner.noise_size), np.float32)
        noise = None if self._deterministic else _noise(runner, self._seed, first, columns)
        carried = CarriedState(columns, runner.carried) if runner.carried else None
        finite = Finite(environments.spec, columns, indivisible=environments.indivisible)
        observations = self._first(environments, finite, first)
        while playing.any():
            if time.monotonic() >= self._deadline:
                self.is_late = True
                return
            given = observations if carried is None else {**observations, **carried.given}
            _, env_action, _ = runner.act(given, zero if noise is None else noise.next())
            step = environments.step(env_action)
            known = environments.for_policy(step) if isinstance(environments, Games) else step
            if carried is not None:
                carried.after(runner.after, known)
            if noise is not None:
                noise.after(known)
            crashes = step.crashes or ([] if finite.holds(step) else list(finite.lies(step, environments.given)))
            for crash in crashes:  # an episode that breaks off has no return: there is nothing to report
                if isinstance(crash.error, WindowClosed):
                    raise crash.error
                if _is_of_no_episode(crash, environments, playing, step):
                    continue
                raise DppoError(f"{crash}; so its episode cannot be played to its end") from crash.error
            counted = playing & step.valid
            returns[counted] += step.rewards[counted]
            lengths[counted] += 1
            ended = playing & (step.terminated | step.truncated)
            for column in np.flatnonzero(ended).tolist():
                success = None if np.isnan(step.successes[column]) else bool(step.successes[column])
                told = step.own_returns.get(column, float(returns[column]))  # as in training
                tally.add(first + column, Played(told, int(lengths[column]), success))
            playing &= ~ended
            observations = step.observations

    def _first(self, environments: Environments, finite: Finite, first: int) -> Leaves:
        """The first observations of the round that begins with that episode."""
        try:
            observations = environments.reset(evaluation_seeds(self._seed, first, environments.envs))
            finite.refuse_first(observations, environments.given)
        except (DppoError, KeyboardInterrupt, WindowClosed):
            raise
        except BaseException as error:  # whatever a simulator raises
            raise DppoError(f"{Crash(environments.column, 'reset', error)}; so no episode can be played") from error
        return observations


def _is_of_no_episode(crash: Crash, environments: Environments, playing: np.ndarray, step: Step) -> bool:
    """Whether it costs no episode that counts: its column's is over, in this step or before, or was not asked for.

    playing: [E] columns whose episodes count and are not over.
    """
    column = crash.column
    if environments.indivisible or column is None:
        return False
    return not playing[column] or bool(step.terminated[column] or step.truncated[column])


def _runner(policy_file: Path) -> PolicyRunner:
    try:
        return PolicyRunner(policy_file.read_bytes())
    except OSError as error:
        raise UsageError(f"{policy_file} cannot be read: {error.strerror or error}") from None
    except ProtocolError as error:
        raise UsageError(
            f"{policy_file} is no policy of dppo, or damaged: {error}. Restore it from a copy, or train on: the same "
            "command with a larger --run.total-steps writes it anew"
        ) from None


def _settings(directory: Path) -> dict[str, object]:
    file = directory / "config.yaml"
    if not file.is_file():
        raise UsageError(f"{directory} has no config.yaml, which says what environment the policy is for")
    return load_config_file(file, TrainConfig)
