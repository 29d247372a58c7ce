"""The name under which actors find an environment's function or class. Nothing is pickled; knows modules only."""

import inspect
import sys
from typing import Any

from dppo.protocol.errors import UsageError

WHAT_TO_DO = "move it into a module of its own, for example my_env.py, and give env='my_env:make_env'"


def name_of(make: Any) -> str:
    """Return "module:name" of a function or class. Raises UsageError where other processes cannot find it by that."""
    module, name = getattr(make, "__module__", None), getattr(make, "__qualname__", None)
    if not callable(make) or not isinstance(module, str) or not isinstance(name, str):
        raise UsageError(_of_no_name(make))
    if "<lambda>" in name:
        raise UsageError(f"env is a lambda, which actors cannot import: {WHAT_TO_DO}")
    if module == "__main__":
        raise UsageError(f"env={name} is defined in __main__, which actors cannot import: {WHAT_TO_DO}")
    if "<locals>" in name:
        raise UsageError(f"env={name} is defined inside a function, where actors cannot find it: {WHAT_TO_DO}")
    if _found(module, name) != make:
        raise UsageError(f"env={name} is not what {module!r} has by that name, so actors cannot find it: {WHAT_TO_DO}")
    return f"{module}:{name}"


def _of_no_name(make: Any) -> str:
    kind = type(make).__name__
    if callable(getattr(make, "step", None)) and callable(getattr(make, "reset", None)):
        registered = getattr(getattr(make, "spec", None), "id", "")
        id_text = f", here {registered!r}" if registered else ""
        return f"env is an environment that is made already ({kind}): give its id{id_text}, or what makes it"
    if callable(make):
        return f"env is a {kind}, which has no name: give the function or class, and its arguments as env.kwargs"
    return f"env is {make!r}: give an id, 'module:name', or a function or class of a module"


def _found(module: str, name: str) -> Any:
    """Return what the module has by that dotted name; None where there is nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return None if found is None or inspect.ismodule(found) else found
