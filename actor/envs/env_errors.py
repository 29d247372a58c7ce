"""Reasons why an environment cannot be found or made, and what to do. Knows Gymnasium's registry and errors."""

import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from dppo.actor.watchdog.traceback_location import place_of_error
from dppo.protocol.env_wrappers import EnvWrapper
from dppo.protocol.errors import DppoError
from dppo.protocol.process.own_names import hidden_from
from dppo.protocol.texts import error_text

# what installs a module that environments miss
_EXTRAS = {"mujoco": "mujoco", "Box2D": "box2d", "ale_py": "atari", "cv2": "atari", "pygame": "render"}
_EXTRAS |= {"imageio": "video", "imageio_ffmpeg": "video", "PIL": "video"}
_GYMNASIUM_EXTRAS = {"mujoco": "mujoco", "box2d": "box2d", "atari": "atari", "other": "video"}
_GYMNASIUM_EXTRAS |= dict.fromkeys(("classic-control", "classic_control", "toy-text", "toy_text"), "render")
_GYMNASIUM_EXTRA = re.compile(r"gymnasium\[([a-z0-9_-]+)\]")

# first part of an id -> module that registers such ids, what installs it
NAMESPACES = {
    "ALE": ("ale_py", "dppo[atari]"),
    "dm_control": ("shimmy", "shimmy[dm-control]"),
    "procgen": ("procgen", "procgen"),
    "MiniGrid": ("minigrid", "minigrid"),
    "miniworld": ("miniworld", "miniworld"),
}
_ATARI = re.compile(r"NoFrameskip-v\d$|-ram-v\d$|^(Pong|Breakout|SpaceInvaders|MsPacman|Seaquest|Qbert|BeamRider)-v\d$")
_BY_GYMNASIUM = re.compile(r" was raised from the environment creator for .*$", re.DOTALL)
_LACKS = re.compile(r"missing \d+ required (?:keyword-only|positional) arguments?: '(\w+)'")


def why_not_made(env_id: str, kwargs: Mapping[str, Any], error: BaseException) -> str:
    """Return one line: what could not be made, why, and what to do."""
    missing = _hidden(error) or _what_is_missing(error)
    if missing:
        return f"cannot make {env_id}: {missing}"
    return f"cannot make {env_id} with {dict(kwargs)}: {_reason(error)}{_argument_advice(error)}"


def why_not_wrapped(wrapper: EnvWrapper, environment: gym.Env[Any, Any], error: BaseException) -> str:
    """Return one line: which wrapper could not be put around an environment, why, and what to do."""
    missing = _hidden(error) or _what_is_missing(error)
    if missing:
        return f"cannot wrap the environment in {wrapper.name}: {missing}"
    spaces = f"observations {environment.observation_space} and actions {environment.action_space}"
    return f"cannot wrap {spaces} in {wrapper.name} with {dict(wrapper.arguments)}: {_reason(error)}"


def why_not_imported(of: str, module: str, error: BaseException) -> str:
    """Return one line about an error while the module of an environment or a wrapper was imported. of: of which."""
    head = f"cannot import {module!r}, the module of {of}:"
    hidden = _hidden(error)
    if hidden:
        return f"{head} {error}; {hidden}"
    if isinstance(error, ModuleNotFoundError):
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            return f"{head} {error}. Is it installed here, or its folder named in PYTHONPATH?"
        return f"{head} {_what_is_missing(error)}"
    if isinstance(error, ImportError):
        return f"{head} {error}. Is it installed here, or its folder named in PYTHONPATH?"
    if isinstance(error, SyntaxError):
        return f"{head} {error.msg} ({error.filename}:{error.lineno})"
    return f"{head} {_reason(error)}"


def why_unknown(module: str, name: str, new: list[str]) -> str:
    """Return one line about an id that is not registered. new: the ids that importing the module has registered."""
    if module:
        return _not_in_module(module, name, new)
    namespace = name.partition("/")[0] if "/" in name else ""
    if namespace in NAMESPACES:
        return _of_namespace(name, *NAMESPACES[namespace])
    if not namespace and _ATARI.search(name):
        game = re.sub(r"(NoFrameskip|-ram)?-v\d$", "", name)
        return f"no environment {name!r} is registered: Atari's ids look like ALE/{game}-v5 (pip install 'dppo[atari]')"
    if not module and _is_module(name):
        return (
            f"{name!r} is a module, and not an id: name both, as in --env {name}:Reach-v0, "
            "with what gymnasium.register calls it there"
        )
    if (Path(name) / "config.yaml").is_file():
        return (
            f"{name} is a run, and not an environment: the command that began it goes on with it, or "
            f"dppo train --config {name}/config.yaml --run.directory {name}"
        )
    by_lower = {known.lower(): known for known in gym.registry}
    near = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    meant = f"did you mean {' or '.join(near)}?" if near else "ids look like CartPole-v1, version included."
    return (
        f"no environment {name!r} is registered: {meant} "
        "If a package registers it, name the package before it: package:id"
    )


def _not_in_module(module: str, name: str, new: list[str]) -> str:
    members = vars(importlib.import_module(module))
    found = members.get(name)
    if found is not None:
        return (
            f"{name} is of type {type(found).__name__} in {module}, and neither an id nor a function or class that "
            "makes environments"
        )
    makers = [known for known, value in members.items() if callable(value)]
    near = difflib.get_close_matches(name, [*new, *makers], n=3) or new[:3]
    meant = f": did you mean {' or '.join(f'{module}:{known}' for known in near)}?" if near else ""
    return f"{module} registers no environment {name!r}, and has no function or class of that name{meant}"


def _of_namespace(name: str, module: str, package: str) -> str:
    if importlib.util.find_spec(module) is None:
        return f"{name} needs the package {module}, which is not installed here: pip install '{package}'"
    namespace = name.partition("/")[0]
    ids = [known for known in gym.registry if known.startswith(f"{namespace}/")]
    near = difflib.get_close_matches(name, ids, n=3)
    meant = f": did you mean {' or '.join(near)}?" if near else ""
    return f"no environment {name!r} is registered by {module}{meant}"


def _is_module(name: str) -> bool:
    try:
        return name.isidentifier() and importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _hidden(error: BaseException) -> str:
    """Return the line about a user's file that one of our packages hides; "" where that is not the reason."""
    return next((line for cause in _chain(error) if (line := hidden_from(cause))), "")


def _what_is_missing(error: BaseException) -> str:
    """Return what has to be installed; "" where the error is another one."""
    for cause in _chain(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            root = cause.name.partition(".")[0]
            extra = _EXTRAS.get(root)
            how = f"pip install 'dppo[{extra}]'" if extra else "install the package that brings it"
            return f"it needs the module {cause.name}, which is not installed here: {how}"
    text = error_text(error)
    found = _GYMNASIUM_EXTRA.search(text)
    if isinstance(error, ImportError | gym.error.DependencyNotInstalled) and found:
        extra = _GYMNASIUM_EXTRAS.get(found[1])
        if extra is not None:
            return f"{text.partition(',')[0].removesuffix('.')}: pip install 'dppo[{extra}]'"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    next_: BaseException | None = error
    while next_ is not None and id(next_) not in seen:
        seen.add(id(next_))
        yield next_
        next_ = next_.__cause__ or (None if next_.__suppress_context__ else next_.__context__)


def _reason(error: BaseException) -> str:
    """Return an error's kind, text and place in one line."""
    text = " ".join(_BY_GYMNASIUM.sub("", error_text(error)).split())
    if isinstance(error, SystemExit):
        return f"it called sys.exit({text!r}), which would have ended this process{_place(error)}"
    if isinstance(error, gym.error.Error | DppoError) or (isinstance(error, TypeError) and "argument" in text):
        return text
    return f"{type(error).__name__}{f': {text}' if text else ''}{_place(error)}"


def _argument_advice(error: BaseException) -> str:
    lacks = _LACKS.search(error_text(error))
    return f": give it with --env.kwargs '{{{lacks[1]}: VALUE}}'" if isinstance(error, TypeError) and lacks else ""


def _place(error: BaseException) -> str:
    place = place_of_error(error)
    return f" ({place})" if place else ""
