"""Find what a setting names as module:name in a user's module, and whether its methods can be called as we call them.

Imports that module; knows nothing of what is in it.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from types import FunctionType
from typing import Any

from dppo.protocol.errors import UsageError
from dppo.protocol.process.own_names import advice, hidden_by_ours
from dppo.protocol.texts import error_text, printable

MOST_CHARACTERS = 300  # of an error in a line


def find_by_name(setting: str, name: str, is_meant: Callable[[object], bool]) -> Any:
    """Import the module of "module:name" and return what it has by that dotted name. Raises UsageError, in one line.

    setting: for messages, such as run.hooks. is_meant: whether something in the module may be what was meant.
    """
    module, _, path = name.partition(":")
    hidden = hidden_by_ours(module)
    if hidden is not None:
        raise UsageError(f"{setting}={name}: {advice(hidden)}")
    try:
        result: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == module
        hint = ". Is it installed here, or its folder named in PYTHONPATH?" if is_missing else ""
        raise UsageError(f"{setting}={name}: cannot import {module!r}: {in_a_line(error)}{hint}") from error
    for part in path.split("."):
        if not hasattr(result, part):
            meant = [key for key, value in vars(result).items() if is_meant(value)]
            near = get_close_matches(part, vars(result), n=1, cutoff=0.75) or meant[:3]
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"{setting}={name}: {module!r} has no {path!r}{hint}")
        result = getattr(result, part)
    return result


def find_function(setting: str, name: str) -> Callable[..., Any]:
    """Return the function, or class, that a setting names. Raises UsageError, in one line."""
    module = name.partition(":")[0]
    result = find_by_name(setting, name, lambda value: callable(value) and getattr(value, "__module__", "") == module)
    if not callable(result):
        raise UsageError(f"{setting}={name} is a {type(result).__name__}: name a function that makes a module")
    function: Callable[..., Any] = result
    return function


def check_method(owner: object, name: str, arguments: Sequence[str], what: str) -> None:
    """Raise UsageError where a call of the method with these arguments fails, or runs nothing of it.

    owner: an object, or the class of one to be made. what: for messages, such as run.hooks=mine:Hooks.
    """
    method, given = getattr(owner, name), list(arguments)
    if isinstance(owner, type):
        static = inspect.getattr_static(owner, name)
        if isinstance(static, FunctionType):
            given = ["self", *given]
        elif not isinstance(static, staticmethod | classmethod):
            return  # known once the object is there
    wanted = f"def {name}({', '.join(['self', *arguments])})"
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise UsageError(f"{what}: {name} is async, and nothing would await it: write {wanted}")
    if inspect.isgeneratorfunction(method):
        raise UsageError(f"{what}: {name} has a yield, so a call would run nothing of it: write {wanted} without one")
    try:
        signature = inspect.signature(method)
    except (ValueError, TypeError):  # some of C's have none
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        raise UsageError(f"{what}: {name} cannot be called ({error}): write {wanted}") from None


def shown(value: object) -> str:
    """Return what a user's code has returned, for a message: one line, shortened."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 -- a user's class may raise whatever it likes
        text = f"<{type(value).__name__}, whose repr() failed>"
    return printable(text, MOST_CHARACTERS)


def in_a_line(error: BaseException) -> str:
    """Return an error's type and text, shortened."""
    text = printable(error_text(error), MOST_CHARACTERS)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
