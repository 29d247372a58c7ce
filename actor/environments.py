"""From the run's environment settings to environments that can be stepped. Knows Gymnasium's registry.

Which implementation steps them is chosen here and said in `description`: a native vector environment where the id has
one, else our loop over single environments, else processes if asked for.
"""

import contextlib
import functools
import importlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import gymnasium as gym

import actor.registration  # noqa: F401  so that our own environments are found without the user importing anything
from actor.env_errors import NAMESPACES, why_not_imported, why_not_made, why_unknown
from actor.step import Environments, Step
from actor.sync_loop import SyncLoop
from actor.vector_environments import Seeding, VectorEnvironments
from actor.workers import make_in_worker
from protocol.env_names import check_env_name
from protocol.errors import DppoError, UsageError
from protocol.messages import EnvSettings
from protocol.own_names import refuse_hidden

__all__ = ["Environments", "Step", "make_environments", "registered"]

_Made = TypeVar("_Made")
NATIVE_ADVICE = ". Vectorization 'sync' makes single environments, which may take other arguments."

# what gymnasium.make raises for a wrong keyword argument, a missing package, a missing file
_NOT_MADE = (gym.error.Error, ImportError, TypeError, ValueError, OSError)


def make_environments(
    settings: EnvSettings, envs: int, begin: Callable[[str], None] = lambda what: None
) -> Environments:
    """`envs` environments as the settings say. Raises UsageError saying what is wrong with which setting.

    begin: told before each thing that takes its time, for who watches from another thread.
    """
    begin(f"making {settings.id}")
    if envs < 1:
        raise UsageError(f"an actor needs at least 1 environment, not {envs}")
    kwargs = _kwargs(settings.kwargs_json)
    native = registered(settings.id).vector_entry_point is not None
    vectorization = settings.vectorization
    if vectorization == "auto":
        vectorization = "native" if native else "sync"
    if vectorization == "native":
        if not native:
            raise UsageError(f"{settings.id} has no native vector environment: use vectorization 'sync' or 'async'")
        return _make_native(settings.id, kwargs, envs)
    try:
        if vectorization == "async":
            return _make_async(settings.id, kwargs, envs)
        make = functools.partial(gym.make, settings.id, **{"disable_env_checker": True, **kwargs})
        # Gymnasium's checker looks at the first step only; one copy of its warnings is enough
        environments = [gym.make(settings.id, **kwargs)]
        for column in range(1, envs):
            begin(f"making {settings.id}, environment {column}")
            environments.append(make())
        return SyncLoop(environments, again(make))
    except DppoError:
        raise
    except (Exception, SystemExit) as error:
        raise _not_made(settings.id, kwargs, error) from error


def _not_made(what: str, kwargs: dict[str, Any], error: BaseException, advice: str = "") -> DppoError:
    """Return what to raise: UsageError for what no other try would change, DppoError for a simulator's own troubles."""
    kind = UsageError if isinstance(error, _NOT_MADE) else DppoError
    return kind(f"{why_not_made(what, kwargs, error)}{advice}")


def _make_native(env_id: str, kwargs: dict[str, Any], envs: int) -> Environments:
    # make_vec passes the registered time limit on as max_episode_steps
    make = functools.partial(gym.make_vec, env_id, num_envs=envs, vectorization_mode="vector_entry_point", **kwargs)
    try:
        vector = make()
    except DppoError:
        raise
    except (Exception, SystemExit) as error:
        raise _not_made(f"the native vector environment of {env_id}", kwargs, error, NATIVE_ADVICE) from error
    # our own can give each column a generator; Gymnasium has no word for that
    seeding: Seeding = "per_column" if vector.metadata.get("seed_per_column") else "first_column"
    return VectorEnvironments(vector, "native", seeding, again(make))


def _make_async(env_id: str, kwargs: dict[str, Any], envs: int) -> Environments:
    """One process an environment; SAME_STEP, because the process can reset without another message."""
    make_one = functools.partial(make_in_worker, env_id, kwargs)
    make = functools.partial(
        gym.vector.AsyncVectorEnv,
        [make_one] * envs,
        context="spawn",  # a fork would copy the locks of zmq's and onnxruntime's threads
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
    )
    return VectorEnvironments(make(), "async", "per_column", again(make))


def again(make: Callable[[], _Made]) -> Callable[[], _Made]:
    """Make what could be made before. What goes wrong now is no wrong setting; whatever it is, it ends the actor."""

    def make_again() -> _Made:
        try:
            return make()
        except Exception as error:
            raise DppoError(
                f"the environment crashed and cannot be made again: {type(error).__name__}: {error}"
            ) from error

    return make_again


def _kwargs(kwargs_json: str) -> dict[str, Any]:
    try:
        kwargs = json.loads(kwargs_json)
    except ValueError as error:
        raise UsageError(f"the environment's keyword arguments are not JSON: {error} in {kwargs_json!r}") from None
    if not isinstance(kwargs, dict):
        raise UsageError(f"the environment's keyword arguments must be a JSON object, not {kwargs_json!r}")
    return kwargs


def registered(env_id: str) -> gym.envs.registration.EnvSpec:
    """Return the registered environment; imports the module of "module:id" first, which registers it.

    Ids of a known namespace (ALE/) need no module before them. Raises UsageError.
    """
    check_env_name(env_id)
    refuse_hidden(env_id)
    module, _, name = env_id.rpartition(":")
    before = set(gym.registry)
    if module:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise UsageError(why_not_imported(env_id, module, error)) from error
    elif name not in gym.registry and name.partition("/")[0] in NAMESPACES:
        with contextlib.suppress(ImportError):  # then it is not registered, which says what to install
            importlib.import_module(NAMESPACES[name.partition("/")[0]][0])
    if name not in gym.registry:
        raise UsageError(why_unknown(module, name, _registered_by(module, before)))
    return gym.registry[name]


def _registered_by(module: str, before: set[str]) -> list[str]:
    """Return the ids that a module has registered: now, or when it was imported earlier."""
    if not module:
        return []
    own = [name for name, spec in gym.registry.items() if str(spec.entry_point).startswith(f"{module}:")]
    own += [name for name, spec in gym.registry.items() if getattr(spec.entry_point, "__module__", "") == module]
    return list(dict.fromkeys([*(name for name in gym.registry if name not in before), *own]))
