"""Bounds on what an actor does for any learner. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from dppo.protocol.env_wrappers import read_wrappers
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import Welcome

MAX_ENVS = 4096  # environments of one actor
MIN_LEASE_SECONDS = 0.1
MIN_HEARTBEAT_SECONDS = 0.01
MAX_GRAPH_BYTES = 2**29  # of a policy that comes in parts


def unreasonable(welcome: Welcome, allowed: Sequence[str]) -> str:
    """Return why this actor does not do what the learner wants, "" where it does.

    allowed: patterns of environment ids and wrappers, none: any.
    """
    if allowed and not any(fnmatchcase(welcome.env.id, pattern) for pattern in allowed):
        return f"the learner wants {welcome.env.id!r}, and --allow-env allows only {', '.join(allowed)} here"
    wrong = _unwanted_wrapper(welcome.env.wrappers_json, allowed) if allowed else ""
    if wrong:
        return wrong
    if welcome.envs > MAX_ENVS:
        return f"the learner wants {welcome.envs:,} environments, and an actor makes at most {MAX_ENVS:,}"
    if welcome.lease_seconds < MIN_LEASE_SECONDS:
        return f"the learner's lease is {welcome.lease_seconds:g} s: it would give this actor up at once"
    if welcome.heartbeat_seconds < MIN_HEARTBEAT_SECONDS:
        return f"the learner wants to hear from this actor every {welcome.heartbeat_seconds:g} s: that is too often"
    return ""


def _unwanted_wrapper(wrappers_json: str, allowed: Sequence[str]) -> str:
    """Return what is wrong with the first wrapper that no pattern allows, in either of its spellings; else ""."""
    try:
        wrappers = read_wrappers(wrappers_json)
    except UsageError as error:
        return f"the learner wants wrappers that cannot be read: {error}"
    for wrapper in wrappers:
        if not any(fnmatchcase(name, pattern) for name in wrapper.spellings for pattern in allowed):
            return (
                f"the learner wants the wrapper {wrapper.name}, and --allow-env allows only {', '.join(allowed)} here"
            )
    return ""
