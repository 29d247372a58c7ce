"""BYE to actors that come for a run that is over. Reads the run directory and writes nothing there."""

import logging
import time
from pathlib import Path

from dppo.learner.config import LearnerConfig
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.settings import session_settings
from dppo.learner.session.slots import SlotTable
from dppo.learner.signals import EndSignals
from dppo.learner.storage.run_directory import next_identity
from dppo.learner.transport.credentials import DIRECTORY as ACCESS
from dppo.learner.transport.listener import Listening, reopen_listener
from dppo.learner.transport.network_thread import Network
from dppo.protocol.ledger import Ledger

log = logging.getLogger("dppo.learner")

FAREWELL_SECONDS = 10.0  # an actor that waits to connect again comes within 5 s and the look-up of the host
WAIT_SECONDS = 0.1


def say_that_it_is_over(config: LearnerConfig, listening: Listening, reason: str) -> None:
    """Listen for a few seconds, and send BYE to all that come. Raises UsageError where the address cannot be used."""
    path = Path(config.run_directory)
    if not listening.bind.startswith("ipc://") and not listening.insecure and not (path / ACCESS).is_dir():
        return  # never listened to any network: no actor has a token for it
    stop = EndSignals()
    identity = next_identity(path)
    router, authenticator = reopen_listener(listening, config.collect.max_rollout_bytes, path)
    session = LearnerSession(session_settings(config, identity), Ledger(), SlotTable(identity.start), None)
    network = Network(router, session, lambda entry: None, authenticator)
    try:
        network.start()
        network.finish(reason, "shutdown")
        until = time.monotonic() + FAREWELL_SECONDS
        while not stop and time.monotonic() < until:
            time.sleep(WAIT_SECONDS)
    finally:
        network.close()
