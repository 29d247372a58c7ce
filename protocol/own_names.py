"""The names of our packages at the top level, which users' own files have too. Knows paths; imports nothing of ours.

Programs of ours import their packages before anything else (`scripts.run_module.claim`), so a user's `actor.py` can
neither replace ours nor run by mistake; where it is what the user meant, this module finds it for the message.
"""

import os
import sys
from pathlib import Path
from types import ModuleType

from protocol.errors import UsageError

OWN_NAMES = ("protocol", "actor", "learner", "scripts", "dppo")
_ROOT = Path(__file__).resolve().parent.parent


def top_level(module: str) -> str:
    """Return the first part of a dotted name."""
    return module.partition(".")[0]


def hidden_by_ours(module: str) -> Path | None:
    """Return the user's file or folder that our package of that name hides; None where there is none.

    module: a dotted name. Looks into the working directory and everything on the path of modules.
    """
    name = top_level(module)
    if name not in OWN_NAMES:
        return None
    for entry in dict.fromkeys((os.getcwd(), *sys.path)):
        folder = Path(entry or os.getcwd())
        for found in (folder / f"{name}.py", folder / name):
            if found.exists() and not _is_ours(found):
                return found
    return None


def advice(hidden: Path, module: str) -> str:
    """Return what to do about it, for the end of a message."""
    name = top_level(module)
    kind = "file" if hidden.suffix == ".py" else "folder"
    return (
        f"your {kind} {hidden} has the name of one of dppo's own packages, {name!r}, which is imported in its place: "
        f"rename it, for example to my_{hidden.name}"
    )


def hidden_from(error: BaseException) -> str:
    """Return that advice for an import that failed since it found our package in the place of the user's; else ""."""
    if isinstance(error, AttributeError):
        module = error.obj.__name__ if isinstance(error.obj, ModuleType) else ""
    else:
        module = (error.name or "") if isinstance(error, ImportError) else ""
    hidden = hidden_by_ours(module)
    return "" if hidden is None else advice(hidden, module)


def refuse_hidden(env_id: str) -> None:
    """Raise UsageError where the environment "module:id" is in a file that one of our packages hides."""
    module = env_id.rpartition(":")[0]
    hidden = hidden_by_ours(module)
    if hidden is not None:
        raise UsageError(f"env.id={env_id}: {advice(hidden, module)}")


def _is_ours(found: Path) -> bool:
    try:
        return found.resolve() == _ROOT / found.name
    except OSError:
        return False
