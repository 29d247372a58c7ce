"""Choice among the ways of an actor or relay to its learner, when several were given. Knows layers and stdin."""

import os
import sys
from collections.abc import Mapping

from dppo.actor.config import ActorConfig
from dppo.actor.join_options import JoinOptions
from dppo.protocol.errors import UsageError
from dppo.relay.config import RelayConfig

STDIN = "-"
_LAYERS = ("flag", "environment")  # the first one counts most; a file comes last


def join_options(settings: ActorConfig | RelayConfig, sources: Mapping[str, str]) -> JoinOptions:
    """The way that the settings describe. Reads the join line from standard input where they say so.

    sources: where each setting comes from. Raises UsageError where they contradict each other.
    """
    join, join_file = settings.join, settings.join_file
    os.environ.pop("DPPO_JOIN", None)  # the environments' processes have no use for it
    if join and join_file:
        ranks = [_rank(sources["join"]), _rank(sources["join_file"])]
        if ranks[0] == ranks[1]:
            raise UsageError("join and join_file are both given: choose one")
        join, join_file = (join, "") if ranks[0] < ranks[1] else ("", join_file)
    if join == STDIN and not settings.learner.startswith("ipc://"):
        join = sys.stdin.readline().strip() if sys.stdin is not None else ""
        if not join:
            raise UsageError("there is no join line on standard input")
    is_relay = isinstance(settings, RelayConfig)
    return JoinOptions(settings.learner, join, join_file, insecure=settings.insecure, is_relay=is_relay)


def _rank(source: str) -> int:
    return _LAYERS.index(source) if source in _LAYERS else len(_LAYERS)
