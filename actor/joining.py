"""The wait for the file with the join line, of an actor and of a relay."""

import logging
import time
from collections.abc import Callable

from dppo.actor.join_options import JoinOptions
from dppo.actor.session.connection_status import SILENT_SECONDS
from dppo.protocol.process.heartbeat_file import HealthFile
from dppo.protocol.security.curve import ClientSecurity

log = logging.getLogger("dppo.actor")

TICK_SECONDS = 0.05


def learner_found(
    options: JoinOptions, health: HealthFile, is_ending: Callable[[], bool]
) -> tuple[str, ClientSecurity | None] | None:
    """Endpoint and keys, as soon as the file with the join line is there; None after a signal to end.

    Raises UsageError where the line cannot be used.
    """
    since = time.monotonic()
    is_told = False
    while not is_ending():
        found = options.find()
        if found is not None:
            return found
        now = time.monotonic()
        if now - since > SILENT_SECONDS and not is_told:
            is_told = True
            log.info("%s is not there yet: waiting for the learner to write it", options.join_file)
        health.touch(now)
        time.sleep(TICK_SECONDS)
    return None
