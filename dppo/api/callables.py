"""The name under which other processes find a function or class. Nothing is pickled; knows modules only."""

import inspect
import sys
from typing import Any

from dppo.learner.own_code import shown
from dppo.protocol.errors import UsageError

WHAT_TO_DO = "move it into a module of its own, for example my_env.py, and give env='my_env:make_env'"
OWN_WRAPPERS = "move it into a module of its own, for example my_wrappers.py, and give 'my_wrappers:Class'"
OWN_NETWORKS = "move it into a module of its own, for example my_nets.py, and give 'my_nets:make_encoder'"
OWN_HOOKS = "move it into a module of its own, for example my_hooks.py, and give hooks='my_hooks:Class'"


def registered_here(env_id: str) -> str:
    """Return what to name instead of an id that only this process has registered, "" where it has not.

    The processes of a run import no more than the module that an id names.
    """
    registry = getattr(sys.modules.get("gymnasium"), "registry", {})
    if ":" in env_id or env_id not in registry:
        return ""
    entry = registry[env_id].entry_point
    module = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    if not module or module == "__main__":
        return (
            "it is registered in this process only: register it in a module of its own, for example my_env.py, and "
            f"give env='my_env:{env_id}'"
        )
    return f"it is registered in this process only: name the module that registers it, as in env='{module}:{env_id}'"


def name_of(make: Any) -> str:
    """Return "module:name" of an environment's function or class. Raises UsageError where actors cannot find it."""
    named = callable(make) and isinstance(getattr(make, "__module__", None), str) and hasattr(make, "__qualname__")
    if not named:
        raise UsageError(_of_no_name(make))
    return found_by(make, "env", "actors", WHAT_TO_DO)


def wrappers_by_name(wrappers: Any) -> Any:
    """Return env.wrappers with classes replaced by their names. Raises UsageError where actors cannot find one."""
    if isinstance(wrappers, list | tuple):
        return [_wrapper_by_name(entry) for entry in wrappers]
    return _wrapper_by_name(wrappers)


def _wrapper_by_name(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {key if isinstance(key, str) else _wrapper_by_name(key): value for key, value in entry.items()}
    if isinstance(entry, str) or entry is None:
        return entry
    if not callable(entry) or not hasattr(entry, "__qualname__"):
        raise UsageError(
            f"env.wrappers: {shown(entry)} is no class: give a class of a module, or {{Class: {{argument: 1}}}}"
        )
    return found_by(entry, "env.wrappers", "actors", OWN_WRAPPERS)


def hooks_by_name(hooks: Any) -> Any:
    """Return run.hooks as a name where they are a class. Raises UsageError where the run cannot find it."""
    if isinstance(hooks, str) or hooks is None:
        return hooks
    if not isinstance(hooks, type):
        raise UsageError(f"run.hooks is an object ({type(hooks).__name__}): give its class, or hooks=... with actors=0")
    return found_by(hooks, "run.hooks", "the run's process", f"{OWN_HOOKS}, or hooks={hooks.__name__} with actors=0")


def network_by_name(setting: str, part: Any) -> Any:
    """Return a part of the network, such as network.encoder, as a name where it is a function or class.

    Raises UsageError where the learner cannot find it by that.
    """
    if isinstance(part, str) or part is None:
        return part
    if not callable(part) or not hasattr(part, "__qualname__"):
        raise UsageError(
            f"{setting} is an object ({type(part).__name__}): give a function or class of a module that makes one, "
            f"or its name, 'my_nets:make_{setting.rpartition('.')[2]}'"
        )
    return found_by(part, setting, "the run's processes", OWN_NETWORKS)


def found_by(thing: Any, argument: str, readers: str, what_to_do: str) -> str:
    """Return "module:name" of a function or class that is given as an argument.

    Raises UsageError where the processes that need it, the readers, cannot find it by that.
    """
    module, name = thing.__module__, thing.__qualname__
    if "<lambda>" in name:
        raise UsageError(f"{argument} is a lambda, which {readers} cannot import: {what_to_do}")
    if module == "__main__":
        raise UsageError(f"{argument}={name} is defined in __main__, which {readers} cannot import: {what_to_do}")
    if "<locals>" in name:
        raise UsageError(
            f"{argument}={name} is defined inside a function, where {readers} cannot find it: {what_to_do}"
        )
    if _found(module, name) != thing:
        raise UsageError(
            f"{argument}={name} is not what {module!r} has by that name, so {readers} cannot find it: {what_to_do}; "
            "or, where the module was loaded anew, import it again"
        )
    return f"{module}:{name}"


def _of_no_name(make: Any) -> str:
    kind = type(make).__name__
    if callable(getattr(make, "step", None)) and callable(getattr(make, "reset", None)):
        registered = getattr(getattr(make, "spec", None), "id", "")
        id_text = f", here {registered!r}" if registered else ""
        return f"env is an environment that is made already ({kind}): give its id{id_text}, or what makes it"
    if callable(make):
        return f"env is a {kind}, which has no name: give the function or class, and its arguments as env.kwargs"
    registered = getattr(make, "id", None)  # of a gymnasium.envs.registration.EnvSpec
    if isinstance(registered, str) and hasattr(make, "entry_point"):
        return f"env is a {kind}: give its id, here {registered!r}"
    return f"env is {shown(make)}: give an id, 'module:name', or a function or class of a module"


def _found(module: str, name: str) -> Any:
    """Return what the module has by that dotted name; None where there is nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return None if found is None or inspect.ismodule(found) else found
