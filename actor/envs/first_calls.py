"""The first calls of an environment, looked at within all its wrappers. Knows Gymnasium's wrappers."""

import contextlib
from typing import Any

import gymnasium as gym

from dppo.actor.envs.contract import RESET, STEP, wrong_count


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
        result = method(*args, **kwargs)
        if not isinstance(result, tuple | list) or len(result) != count:
            raise wrong_count(must, result, count)
        return result

    setattr(inner, name, checked)
