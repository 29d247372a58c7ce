"""Find what makes an environment by its name: a registered id, or a function or class of a module.

Nothing is pickled: every process finds it by module and name. Knows Gymnasium's registry.
"""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

import dppo.actor.envs.registration  # noqa: F401  so that our own environments are found without the user importing anything
from dppo.actor.envs.env_errors import NAMESPACES, why_not_imported, why_unknown
from dppo.protocol.env_names import check_env_name
from dppo.protocol.errors import UsageError
from dppo.protocol.process.own_names import refuse_hidden

LIMIT = "max_episode_steps"  # an argument of gymnasium.make, which a function need not have


def registered(env_id: str) -> gym.envs.registration.EnvSpec:
    """Return the registered environment; imports the module of "module:id" first, which registers it.

    For a function or class, "module:name", a specification is returned that is in no registry. Ids of a known
    namespace (ALE/) need no module before them. Raises UsageError.
    """
    check_env_name(env_id)
    refuse_hidden(env_id)
    module, _, name = env_id.rpartition(":")
    before = set(gym.registry)
    if module:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise UsageError(why_not_imported(f"the environment {env_id!r}", module, error)) from error
    elif name not in gym.registry and name.partition("/")[0] in NAMESPACES:
        with contextlib.suppress(ImportError):  # then it is not registered, which says what to install
            importlib.import_module(NAMESPACES[name.partition("/")[0]][0])
    if name in gym.registry:
        return gym.registry[name]
    make = _callable(module, name) if module else None
    if make is None:
        raise UsageError(why_unknown(module, name, _registered_by(module, before)))
    return gym.envs.registration.EnvSpec(env_id, entry_point=make)


def make_single(env_id: str, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Make one environment with these keyword arguments: by gymnasium.make, or by the function or class that is named.

    Those take max_episode_steps too, whether they have such an argument or not.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    make = _callable(module, name) if module and name not in gym.registry else None
    if make is not None:
        return _called(env_id, make, dict(kwargs))
    # what it returns is checked at every step, by us
    return gym.make(env_id, **{"disable_env_checker": True, **kwargs})


def left_out(env_id: str) -> str:
    """Return a line on the registered settings that "module:Class" does without; "" where there are none."""
    module, _, name = env_id.rpartition(":")
    make = _callable(module, name) if module and name not in gym.registry else None
    if make is None:
        return ""
    for spec in gym.registry.values():
        is_it = spec.entry_point in (make, env_id)
        if is_it and (spec.max_episode_steps or spec.kwargs or spec.additional_wrappers):
            limit = f" (max_episode_steps={spec.max_episode_steps})" if spec.max_episode_steps else ""
            return (
                f"{env_id} is made without the settings of its registration as {spec.id}{limit}: "
                f"to have them, name {module}:{spec.id}"
            )
    return ""


def _called(env_id: str, make: Callable[..., Any], kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    limit = None if _takes(make, LIMIT) else kwargs.pop(LIMIT, None)
    environment = make(**kwargs)
    if isinstance(environment, VectorEnv):
        raise UsageError(
            f"{env_id} returned a vector environment: return a single one, of which --collect.envs-per-actor makes many"
        )
    if not isinstance(environment, gym.Env):
        raise UsageError(f"{env_id} returned an object of {type(environment).__name__}: it must return a gymnasium.Env")
    return environment if limit is None else gym.wrappers.TimeLimit(environment, limit)


def _takes(make: Callable[..., Any], argument: str) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # written in C: it does not say
        return False
    return any(p.name == argument or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _callable(module: str, name: str) -> Callable[..., Any] | None:
    """Return what the imported module has by that (dotted) name, if it can be called."""
    found: Any = importlib.import_module(module)
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError:
        return None
    return found if callable(found) else None


def _registered_by(module: str, before: set[str]) -> list[str]:
    """Return the ids that a module has registered: now, or when it was imported earlier."""
    if not module:
        return []
    own = [name for name, spec in gym.registry.items() if str(spec.entry_point).startswith(f"{module}:")]
    own += [name for name, spec in gym.registry.items() if getattr(spec.entry_point, "__module__", "") == module]
    return list(dict.fromkeys([*(name for name in gym.registry if name not in before), *own]))
