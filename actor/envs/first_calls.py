"""The first calls of an environment, looked at within all its wrappers. Knows Gymnasium's wrappers."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import gymnasium as gym

from dppo.actor.envs.contract import RESET, STEP, wrong_count
from dppo.actor.envs.returned_values import BrokenContract

TAKES = {"step": "def step(self, action)", "reset": "def reset(self, *, seed=None, options=None)"}


def check_first_calls(environment: gym.Env[Any, Any]) -> None:
    """Have the first step and the first reset within all wrappers return as many things as they must.

    Wrappers (TimeLimit) unpack them, and then the error says nothing of whose they are. Costs later calls nothing.
    """
    inner = environment.unwrapped
    for name, count, must in (("step", 5, STEP), ("reset", 2, RESET)):
        with contextlib.suppress(AttributeError, TypeError):  # a class with slots: then the error has other words
            _check_first(inner, name, count, must)


def _check_first(inner: Any, name: str, count: int, must: str) -> None:
    method, is_own = getattr(inner, name), name in vars(inner)

    def checked(*args: Any, **kwargs: Any) -> Any:
        if is_own:
            setattr(inner, name, method)
        else:
            vars(inner).pop(name, None)
        _refuse_signature(method, name, args, kwargs)
        result = method(*args, **kwargs)
        if not isinstance(result, tuple | list) or len(result) != count:
            raise wrong_count(must, result, count)
        return result

    setattr(inner, name, checked)


def _refuse_signature(method: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise BrokenContract where a method does not take what Gymnasium's API hands to it."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # written in C: it does not say
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise BrokenContract(f"{name}() {error}: write it as {TAKES[name]}") from None


def given_to_reset(seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of a reset that were given: of some environments it takes no others."""
    arguments = {"seed": seed, "options": options}
    return {name: value for name, value in arguments.items() if value is not None}
