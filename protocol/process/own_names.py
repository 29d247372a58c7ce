"""The name of our package, which users' own files may have too. Knows paths; imports nothing of ours but errors."""

import os
import sys
from pathlib import Path
from types import ModuleType

from dppo.protocol.errors import UsageError

OWN_NAME = "dppo"


def hidden_by_ours(module: str) -> Path | None:
    """Return the user's file or folder that our package hides; None where there is none.

    module: a dotted name. Looks into the working directory and everything on the path of modules.
    """
    if module.partition(".")[0] != OWN_NAME:
        return None
    for entry in dict.fromkeys((os.getcwd(), *sys.path)):
        folder = Path(entry or os.getcwd())
        for found in (folder / f"{OWN_NAME}.py", folder / OWN_NAME / "__init__.py"):
            if found.exists() and not _is_ours(found):
                return found if found.name != "__init__.py" else found.parent
    return None


def advice(hidden: Path) -> str:
    """Return what to do about it, for the end of a message."""
    kind = "file" if hidden.suffix == ".py" else "folder"
    return (
        f"your {kind} {hidden} has the name of the package {OWN_NAME!r}, which is imported in its place: "
        f"rename it, for example to my_{hidden.name}"
    )


def hidden_from(error: BaseException) -> str:
    """Return that advice for an import that failed since it found our package in the place of the user's; else ""."""
    if isinstance(error, AttributeError):
        module = error.obj.__name__ if isinstance(error.obj, ModuleType) else ""
    else:
        module = (error.name or "") if isinstance(error, ImportError) else ""
    hidden = hidden_by_ours(module)
    return "" if hidden is None else advice(hidden)


def refuse_hidden(env_id: str) -> None:
    """Raise UsageError where the environment "module:id" is in a file that our package hides."""
    hidden = hidden_by_ours(env_id.rpartition(":")[0])
    if hidden is not None:
        raise UsageError(f"env.id={env_id}: {advice(hidden)}")


def _is_ours(found: Path) -> bool:
    ours = sys.modules[OWN_NAME].__file__
    return ours is not None and found.resolve() == Path(ours).resolve()
