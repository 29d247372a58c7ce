"""Wrappers that the run's settings name: finds their classes, puts them around an environment. Knows gym.Wrapper."""

import contextlib
import difflib
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorWrapper

from dppo.actor.envs.env_errors import why_not_imported, why_not_wrapped
from dppo.protocol.env_wrappers import EnvWrapper
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.placeholders import Numbers, filled
from dppo.protocol.process.own_names import advice, hidden_by_ours


class NotWrapped(Exception):
    """A wrapper does not take this environment or these arguments; the text is a whole line."""


def wrapper_class(wrapper: EnvWrapper) -> type[gym.Wrapper[Any, Any, Any, Any]]:
    """Import the wrapper's module and return the class. Raises UsageError."""
    hidden = hidden_by_ours(wrapper.module)
    if hidden is not None:
        raise UsageError(f"env.wrappers: {wrapper.name}: {advice(hidden)}")
    try:
        module = importlib.import_module(wrapper.module)
    except (Exception, SystemExit) as error:
        raise UsageError(why_not_imported(f"the wrapper {wrapper.name}", wrapper.module, error)) from error
    try:
        kind = getattr(module, wrapper.kind)
    except Exception:  # noqa: BLE001 -- Gymnasium's own modules raise errors of theirs for names that they once had
        raise UsageError(
            f"env.wrappers: {wrapper.module} has no class {wrapper.kind}{_near(module, wrapper)}"
        ) from None
    if isinstance(kind, type) and issubclass(kind, gym.Wrapper):
        return kind
    if isinstance(kind, type) and issubclass(kind, VectorWrapper):
        raise UsageError(
            f"env.wrappers: {wrapper.name} wraps vectors of environments: name one for single environments, "
            "as gymnasium.wrappers has them"
        )
    what = f"the class {kind.__name__}" if isinstance(kind, type) else f"a {type(kind).__name__}"
    raise UsageError(f"env.wrappers: {wrapper.name} is {what}, and not a class derived from gymnasium.Wrapper")


def wrapped(environment: gym.Env[Any, Any], wrappers: Sequence[EnvWrapper], numbers: Numbers) -> gym.Env[Any, Any]:
    """Put the wrappers around an environment, the first one innermost. Raises NotWrapped, with the environment closed.

    numbers: the environment's, for placeholders in arguments.
    """
    for wrapper in wrappers:
        kind = wrapper_class(wrapper)
        try:
            outer = kind(environment, **filled(wrapper.arguments, numbers))
            _ = outer.observation_space, outer.action_space  # missing where its __init__ does not call super's
        except (DppoError, KeyboardInterrupt):
            raise
        except BaseException as error:
            why = why_not_wrapped(wrapper, environment, error)
            with contextlib.suppress(Exception):  # that it cannot be closed is not the news
                environment.close()
            raise NotWrapped(why) from error
        environment = outer
    return environment


def keeping_statistics(environment: gym.Env[Any, Any]) -> tuple[str, ...]:
    """Return names of wrappers around an environment whose rewards or observations may depend on what came before.

    The outermost first: Gymnasium's that normalise, by their class, and those of others that change rewards.
    """
    found = []
    layer: Any = environment
    while isinstance(layer, gym.Wrapper):
        kinds = [kind for kind in type(layer).__mro__ if kind.__module__.startswith("gymnasium.")]
        normalising = [kind.__name__ for kind in kinds if kind.__name__ in ("NormalizeReward", "NormalizeObservation")]
        if normalising:
            found.append(normalising[0])
        elif isinstance(layer, gym.RewardWrapper) and type(layer) not in kinds:
            found.append(f"{type(layer).__module__}:{type(layer).__qualname__}")
        layer = getattr(layer, "env", None)
    return tuple(found)


def _near(module: ModuleType, wrapper: EnvWrapper) -> str:
    near = difflib.get_close_matches(wrapper.kind, dir(module), n=3)
    return f": did you mean {' or '.join(f'{wrapper.module}:{name}' for name in near)}?" if near else ""
