"""An actor process: clock, socket, signals around the driver. Decides nothing."""

import logging
import os
import signal
import time

from actor.driver import ActorDriver
from actor.session import ActorSession
from protocol.codec import decode_from_learner, encode
from protocol.endpoints import check_endpoint
from protocol.errors import DppoError, ProtocolError, RefusedError
from protocol.health import HealthFile
from protocol.lifeline import watch_parent
from protocol.release import RELEASE
from protocol.sockets import Dealer

log = logging.getLogger("dppo.actor")

TICK_SECONDS = 0.05


def run(endpoint: str, *, name: str = "", envs: int = 0) -> None:
    """Step environments for the learner at `endpoint` until it says that the run is over.

    name: "" takes host name and process id; envs: 0 as the learner says.
    Raises RefusedError when the learner refuses this actor, DppoError when environments cannot be made.
    """
    check_endpoint(endpoint)
    watch_parent()
    session = ActorSession(
        actor=name or f"{os.uname().nodename}-{os.getpid()}", incarnation=os.urandom(8), envs=envs, release=RELEASE
    )
    driver = ActorDriver(session, note=log.info)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(True))
    stop: list[bool] = []
    dealer = Dealer(endpoint)
    try:
        driver.connected()
        _loop(driver, dealer, stop)
    finally:
        driver.close()
        dealer.close()
    exit_ = driver.exit
    if exit_ is not None and exit_.code:
        raise RefusedError(exit_.reason) if exit_.code == RefusedError.exit_code else DppoError(exit_.reason)
    log.info("%s ends: %s", session.actor, exit_.reason if exit_ else "stopped")


def _loop(driver: ActorDriver, dealer: Dealer, stop: list[bool]) -> None:
    health = HealthFile()
    tick_at = 0.0
    while driver.exit is None:
        if driver.may_step:
            driver.step()
        else:
            start = time.monotonic()
            dealer.wait(TICK_SECONDS if not driver.outgoing else 0)
            driver.idle_seconds += time.monotonic() - start
        _exchange(driver, dealer)
        now = time.monotonic()
        if now >= tick_at:
            tick_at = now + TICK_SECONDS
            if stop:
                driver.drain()
            driver.tick()
            health.touch(now)
            if driver.reconnect_wanted:
                dealer.reconnect()
                driver.outgoing.clear()
                driver.connected()
            _exchange(driver, dealer)


def _exchange(driver: ActorDriver, dealer: Dealer) -> None:
    """Hand over what has arrived, send what is due."""
    try:
        for header, blob in dealer.receive():
            driver.receive(decode_from_learner(header, blob is not None), blob)
    except ProtocolError as error:
        log.warning("the learner sent something that cannot be read (%s); connecting again", error)
        driver.reconnect_wanted = True
    if not driver.outgoing:
        return
    start = time.monotonic()
    outgoing, driver.outgoing = driver.outgoing, []
    for send in outgoing:
        dealer.send(encode(send.message), send.blob)  # unsent is as good as lost on the way: the session repeats it
    driver.send_seconds += time.monotonic() - start
