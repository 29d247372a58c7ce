"""Waits of a learner before it trains: for the spaces of its environment, and for its first actors."""

import logging
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

from dppo.learner.run import Run
from dppo.learner.session.run_spaces import SpacesHere
from dppo.learner.session.settings import check_spaces
from dppo.learner.signals import EndSignals
from dppo.learner.transport.network_thread import Network
from dppo.protocol.specs import Spec

log = logging.getLogger("dppo.learner")

WAIT_SECONDS = 0.1  # between looks at the signals
FIRST_ACTORS_SECONDS = 60.0
FIRST_ACTORS_LOOK_SECONDS = 0.02


def settle_spaces(run: Run, network: Network, stop: EndSignals, spaces_here: Future[SpacesHere]) -> None:
    """Fix the spaces to those of the environment here; where it cannot be made, log that those of the actors count."""
    while not wait_for([spaces_here], WAIT_SECONDS).done:
        stop.check()
        run.directory.check_lock(time.monotonic())
    here = spaces_here.result()
    if here.spec is None:
        log.info("the spaces are those that most actors have: %s", here.why_unknown)
        return
    check_spaces(here.spec, run.config, lambda line: None)
    network.settle_spaces(here.spec)


def await_spaces(run: Run, network: Network, stop: EndSignals) -> Spec:
    """The run's spaces, once an actor has them or a checkpoint had them."""
    is_resumed = run.spec is not None
    while True:
        stop.check()
        run.directory.check_lock(time.monotonic())
        spec = network.spec(WAIT_SECONDS)
        if spec is not None:
            if is_resumed or network.joined:
                return spec
            time.sleep(FIRST_ACTORS_LOOK_SECONDS)


def await_first_actors(network: Network, actors: int, stop: EndSignals) -> None:
    """Wait for so many actors, for a minute at most. Raises Interrupted after a signal."""
    deadline = time.monotonic() + FIRST_ACTORS_SECONDS
    while (joined := network.joined) < actors:
        stop.check()
        if time.monotonic() > deadline:
            log.warning("%d of collect.first_actors=%d have joined; going on without the others", joined, actors)
            return
        time.sleep(FIRST_ACTORS_LOOK_SECONDS)
