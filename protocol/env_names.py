"""Check the form of an environment's name: an id, or module:id. Knows no registry and imports nothing."""

import re

from dppo.protocol.errors import UsageError

MAX_CHARACTERS = 256  # dppo.protocol.messages.EnvSettings
POLICY_CLASSES = frozenset(
    f"{kind}{memory}Policy" for kind in ("Mlp", "Cnn", "MultiInput") for memory in ("", "Lstm")
)  # of Stable-Baselines3, named before the environment there
NO_POLICY_CLASS = "is a class of Stable-Baselines3: leave it out, the network follows from the spaces (network.encoder)"
_FILE = re.compile(r"\.pyc?$")


def check_env_name(name: str) -> None:
    """Raise UsageError where the name cannot be one of an environment, with the one that was probably meant."""
    problem = _problem(name)
    if problem:
        raise UsageError(f"env.id={name[:MAX_CHARACTERS]!r} {problem}")


def _problem(name: str) -> str:
    if not name.strip():
        return "is empty: give a Gymnasium id such as CartPole-v1, or module:id"
    if len(name) > MAX_CHARACTERS:
        return f"... has {len(name)} characters: {MAX_CHARACTERS} fit into a message to an actor"
    if not name.isprintable() or " " in name:
        return "has spaces or control characters: ids look like CartPole-v1 or my_env:Reach-v0"
    module, colon, env_id = name.partition(":")
    if name in POLICY_CLASSES:
        return NO_POLICY_CLASS
    if not colon:
        if _FILE.search(name):
            return f"is a file: register an environment in it and name both, as in --env {_module(name)}:Reach-v0"
        if name.startswith((".", "/", "~")):
            return f"is a path: name the module and the id, as in --env {_module(name)}:Reach-v0"
        return ""
    if ":" in env_id:
        return "has two colons: it is module:id, as in my_env:Reach-v0"
    if not module or not env_id:
        return "lacks the module before the colon or the id after it, as in my_env:Reach-v0"
    if "/" in module or "\\" in module or _FILE.search(module) or module.startswith((".", "~")):
        return (
            f"names a file: name the module as `import` does, --env {_module(module)}:{env_id} "
            "(looked for in the current folder and in PYTHONPATH)"
        )
    if any(not part for part in module.split(".")):
        return f"has no usable module before the colon: did you mean {_module(module)}:{env_id}?"
    return ""


def _module(path: str) -> str:
    """Return the module of a file: of an absolute path its last part, of a relative one all parts."""
    path = _FILE.sub("", path.replace("\\", "/")).rstrip("/")
    parts = [part for part in path.split("/") if part not in ("", ".", "..", "~")]
    kept = parts[-1:] if path.startswith(("/", "~", "..")) else parts
    return ".".join(part.strip(".") for part in kept) or "my_env"
