"""Makes the environments of one id, each with its own numbers, again where one crashed. Knows gymnasium.make."""

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from dppo.actor.envs.env_errors import why_not_made
from dppo.actor.envs.env_numbers import (
    FIRST_IN_USE_SECONDS,
    IN_USE_SECONDS,
    Place,
    is_in_use,
    made_once_free,
    variables,
)
from dppo.actor.envs.first_calls import check_first_calls
from dppo.actor.envs.lookup import make_single
from dppo.actor.envs.metrics import StepMetrics
from dppo.actor.envs.subprocess_workers import make_in_worker
from dppo.actor.envs.wrapping import NotWrapped, wrapped
from dppo.protocol.env_wrappers import EnvWrapper, differ_by_environment
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.placeholders import filled, has_placeholder
from dppo.protocol.texts import error_text

# what gymnasium.make raises for a wrong keyword argument, a missing package, a missing file
_NOT_MADE = (gym.error.Error, ImportError, TypeError, ValueError, OSError)
OWN_NUMBER_ADVICE = (
    ". Where every environment needs its own port or folder, give it a number: --env.kwargs '{port: \"{5105+slot}\"}'"
)

_Made = TypeVar("_Made")
_Given = ParamSpec("_Given")


class Maker:
    """Maker of the environments of one actor."""

    def __init__(
        self,
        env_id: str,
        kwargs: Mapping[str, Any],
        place: Place,
        wrappers: Sequence[EnvWrapper] = (),
        step_metrics: Sequence[str] = (),
        action_mask: str = "auto",
    ) -> None:
        self.env_id = env_id
        self._action_mask = action_mask
        self._kwargs = kwargs
        self._place = place
        self._wrappers = wrappers
        self._step_metrics = step_metrics
        self._directory = _current_directory()  # some change it: each is made where the first one was

    def single(self, column: int) -> gym.Env[Any, Any]:
        """One environment in this process."""
        numbers = self._place.of(column)
        kwargs = filled(self._kwargs, numbers)
        with self._at(column):
            environment = make_single(self.env_id, kwargs)
            check_first_calls(environment)
            environment = wrapped(environment, self._wrappers, numbers)
        return StepMetrics(environment, self._step_metrics) if self._step_metrics else environment

    def native(self, envs: int) -> VectorEnv[Any, Any, Any]:
        """The environment's own vector; its numbers are those of the first column."""
        kwargs = filled(self._kwargs, self._place.of(0))
        with self._at(0):
            # make_vec passes the registered time limit on as max_episode_steps
            return gym.make_vec(self.env_id, num_envs=envs, vectorization_mode="vector_entry_point", **kwargs)

    def processes(self, envs: int, metrics: Sequence[str] = ()) -> VectorEnv[Any, Any, Any]:
        """A process for each; SAME_STEP, because the process can reset without another message.

        metrics: names of all of them, those of steps included.
        """
        numbers = [self._place.of(column) for column in range(envs)]
        with self._at(0):
            return AsyncVectorEnv(
                [
                    functools.partial(
                        make_in_worker,
                        self.env_id,
                        filled(self._kwargs, own),
                        own,
                        self._wrappers,
                        self._step_metrics,
                        self._action_mask,
                        metrics,
                    )
                    for own in numbers
                ],
                context="spawn",  # a fork would copy the locks of zmq's and onnxruntime's threads
                autoreset_mode=AutoresetMode.SAME_STEP,
            )

    def first(self, make: Callable[[], _Made], *, of: str = "", advice: str = "") -> _Made:
        """Make it for the first time. Raises UsageError for what no other try would change, else DppoError."""
        seconds = IN_USE_SECONDS if self._place.is_taken_over else FIRST_IN_USE_SECONDS
        try:
            return made_once_free(make, seconds)
        except (DppoError, KeyboardInterrupt):
            raise
        except BaseException as error:
            kind = UsageError if isinstance(error, _NOT_MADE) else DppoError
            if is_in_use(error) and not (has_placeholder(self._kwargs) or differ_by_environment(self._wrappers)):
                advice += OWN_NUMBER_ADVICE
            if isinstance(error, NotWrapped):
                raise UsageError(f"{error}{advice}") from error
            raise kind(f"{why_not_made(f'{of}{self.env_id}', self._kwargs, error)}{advice}") from error

    def again(self, make: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
        """Return `make` for what could be made before: whatever goes wrong now ends the actor."""

        def make_again(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
            try:
                return made_once_free(lambda: make(*args, **kwargs), IN_USE_SECONDS)
            except (DppoError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise DppoError(
                    f"the environment crashed and cannot be made again: {type(error).__name__}: {error_text(error)}"
                ) from error

        return make_again

    @contextlib.contextmanager
    def _at(self, column: int) -> Any:
        if self._directory:
            with contextlib.suppress(OSError):  # gone meanwhile
                os.chdir(self._directory)
        with variables(self._place.of(column)):
            yield


def _current_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
