"""Bounds on what an actor does for any learner. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from dppo.protocol.messages import Welcome

MAX_ENVS = 4096  # environments of one actor
MIN_LEASE_SECONDS = 0.1
MIN_HEARTBEAT_SECONDS = 0.01
MAX_GRAPH_BYTES = 2**29  # of a policy that comes in parts


def unreasonable(welcome: Welcome, allowed: Sequence[str]) -> str:
    """Return why this actor does not do what the learner wants, "" where it does.

    allowed: patterns of environment ids, none: any.
    """
    if allowed and not any(fnmatchcase(welcome.env.id, pattern) for pattern in allowed):
        return f"the learner wants {welcome.env.id!r}, and --allow-env allows only {', '.join(allowed)} here"
    if welcome.envs > MAX_ENVS:
        return f"the learner wants {welcome.envs:,} environments, and an actor makes at most {MAX_ENVS:,}"
    if welcome.lease_seconds < MIN_LEASE_SECONDS:
        return f"the learner's lease is {welcome.lease_seconds:g} s: it would give this actor up at once"
    if welcome.heartbeat_seconds < MIN_HEARTBEAT_SECONDS:
        return f"the learner wants to hear from this actor every {welcome.heartbeat_seconds:g} s: that is too often"
    return ""
