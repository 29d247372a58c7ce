"""An actor process: clock, socket, signals around the driver. Decides nothing."""

import faulthandler
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dppo.actor.driver import ActorDriver
from dppo.actor.endings import EndSignals, close_environments
from dppo.actor.join_options import JoinOptions
from dppo.actor.joining import learner_found
from dppo.actor.leave_reasons import STOPPED, reason_for_learner
from dppo.actor.session.actions import Exit
from dppo.actor.session.connection_status import Handshake
from dppo.actor.session.redirects import Redirects
from dppo.actor.session.traced_session import new_session
from dppo.actor.watchdog.thread import Watchdog
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.errors import DppoError, ProtocolError, RefusedError
from dppo.protocol.messages import EnvFault
from dppo.protocol.process.heartbeat_file import HealthFile
from dppo.protocol.process.heartbeat_pipe import Heartbeat
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.zmtp_probe import mechanism_at
from dppo.protocol.texts import MAX_TEXT
from dppo.protocol.trace import Trace
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.dealer import Dealer

log = logging.getLogger("dppo.actor")

TICK_SECONDS = 0.05
GREETING_SECONDS = 1.0
CONNECTING_SECONDS = 0.2  # for the watchdog's connection
BETWEEN_RUNS_SECONDS = 1.0
LAST_WORD_TRIES = 5  # of CONNECTING_SECONDS each
QUIET_SECONDS = 10.0  # without a stuck thread: then the next one is news for the log


@dataclass(frozen=True)
class _Process:
    """Belongings of an actor's process, shared by the actors that it is one after the other."""

    name: str
    envs: int
    allow_env: Sequence[str]
    trace: Trace | None
    stop: EndSignals
    health: HealthFile
    heartbeat: Heartbeat
    is_elsewhere: bool  # than its line says: behind a tunnel


def run(
    join_options: JoinOptions,
    *,
    name: str = "",
    envs: int = 0,
    allow_env: Sequence[str] = (),
    stay_seconds: float = 0.0,
    trace: Trace | None = None,
) -> None:
    """Step environments for the learner until it says that the run is over.

    name: "" takes host name and process id; envs: 0 as the learner says; allow_env: as in ActorConfig.
    stay_seconds: wait so long for the learner of another run at the same address, and serve that one too; 0: end.
    trace: of the session's events; None: nothing is recorded.
    Raises RefusedError when the learner refuses this actor, UsageError when the join line cannot be used, DppoError
    when environments cannot be made.
    """
    watch_parent()
    faulthandler.enable()  # an environment's segmentation fault leaves its stack in the log
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the sweeper asks for it where the interpreter is held
    name = name or f"{os.uname().nodename}-{os.getpid()}"
    stop, health = EndSignals(), HealthFile()
    found = learner_found(join_options, health, lambda: bool(stop))
    if found is None:
        log.info("%s ends: %s", name, STOPPED)
        return
    is_elsewhere = bool(join_options.learner) and found[1] is not None
    process = _Process(name, envs, allow_env, trace, stop, health, Heartbeat(), is_elsewhere)
    give_up_at = math.inf
    try:
        while True:
            has_joined = _serve(process, *found, give_up_at=give_up_at, stays=stay_seconds > 0)
            if has_joined is None:
                return
            if has_joined:
                log.info("%s waits up to %g s for the learner of another run at %s", name, stay_seconds, found[0])
                give_up_at = time.monotonic() + stay_seconds
            _pause(process)
    finally:
        stop.close()


def _serve(
    process: _Process, endpoint: str, security: ClientSecurity | None, *, give_up_at: float, stays: bool
) -> bool | None:
    """Be an actor of one run; return whether it has joined, None where the process is to end.

    give_up_at: on the clock, where no learner has let it join. stays: whether another run may follow.
    """
    name, stop, heartbeat = process.name, process.stop, process.heartbeat
    session = new_session(process.trace, actor=name, envs=process.envs, learner=endpoint)
    session.allowed_envs = process.allow_env
    session.redirects = Redirects(endpoint, has_token=security is not None, stays=process.is_elsewhere)
    driver = ActorDriver(session, note=log.info)
    dealer = Dealer(endpoint, security)
    connection = _WatchdogConnection(session.incarnation, lambda: Dealer(dealer.endpoint, dealer.security))
    watchdog = Watchdog(
        driver.activity,
        tell=connection.say,
        must_end=lambda: bool(stop),
        last_word=connection.leave,
        beat=lambda limit: heartbeat.beat(limit, told=bool(stop), signals_fd=stop.fd),
    )
    watchdog.start()
    farewell, code, goes_on = f"{name} ends", 0, False
    try:
        driver.connected()
        _Exchange(driver, dealer).run(process.health, stop, give_up_at)
        goes_on = stays and not stop and driver.exit is not None and driver.exit.is_of_run
        if not goes_on:
            _raise_for(driver.exit)
        farewell = f"{name} {'is done' if goes_on else 'ends'}: {driver.exit.reason if driver.exit else STOPPED}"
    except Exception as error:
        farewell, code = str(error), error.exit_code if isinstance(error, DppoError) else 1
        dealer.send(encode(EnvFault(session.incarnation, "left", reason_for_learner(error))))
        raise
    finally:
        close_environments(driver, farewell, code)
        watchdog.close()
        dealer.close()
        connection.close()
    if not goes_on or driver.has_joined:  # a learner that is ending answers each try
        log.info(farewell)
    return driver.has_joined if goes_on else None


def _pause(process: _Process) -> None:
    """Let the learner whose run is over end, and the next one begin."""
    until = time.monotonic() + BETWEEN_RUNS_SECONDS
    while not process.stop and (now := time.monotonic()) < until:
        process.health.touch(now)
        time.sleep(TICK_SECONDS)


def _raise_for(exit_: Exit | None) -> None:
    if exit_ is not None and exit_.code:
        raise RefusedError(exit_.reason) if exit_.code == RefusedError.exit_code else DppoError(exit_.reason)


class _WatchdogConnection:
    """A DEALER of the watchdog's thread: ZeroMQ sockets must not be shared between threads."""

    def __init__(self, incarnation: bytes, connect: Callable[[], Dealer]) -> None:
        self._incarnation = incarnation
        self._connect = connect
        self._dealer: Dealer | None = None  # opened with the first word, which is lost: the next come soon
        self._said_at = -math.inf

    def say(self, where: str) -> None:
        """Report where the main thread is stuck; in the log only once in a while."""
        now = time.monotonic()
        if now - self._said_at > QUIET_SECONDS:
            log.warning("stuck %s", where)
        self._said_at = now
        if self._dealer is None:
            self._dealer = self._connect()
            self._dealer.wait(CONNECTING_SECONDS)
        for _ in self._dealer.events():
            pass
        self._dealer.send(encode(EnvFault(self._incarnation, "stuck", where[:MAX_TEXT])))

    def leave(self, why: str) -> None:
        """Report why the process ends; called right before it does, so this waits until the word has left."""
        if self._dealer is None:
            self._dealer = self._connect()
        for _ in range(LAST_WORD_TRIES):
            for _ in self._dealer.events():
                pass
            if self._dealer.send(encode(EnvFault(self._incarnation, "left", why[:MAX_TEXT]))):
                break
            self._dealer.wait(CONNECTING_SECONDS)
        self._dealer.close()  # gives what was sent time to leave

    def close(self) -> None:
        """Hang up."""
        if self._dealer is not None:
            self._dealer.close()


class _Exchange:
    """A driver and its socket, to whichever learner it has joined."""

    def __init__(self, driver: ActorDriver, dealer: Dealer) -> None:
        self._driver, self._dealer = driver, dealer
        self._home = dealer.endpoint, dealer.security
        self._handshake = self._new_handshake()

    def _new_handshake(self) -> Handshake:
        dealer = self._dealer
        return Handshake(dealer.endpoint, has_token=dealer.security is not None, now=time.monotonic())

    def run(self, health: HealthFile, stop: EndSignals, give_up_at: float) -> None:
        """Step and exchange messages until the driver is to end, or until that time where it has not joined."""
        driver = self._driver
        tick_at = 0.0
        while driver.exit is None:
            if driver.may_step:
                driver.step()
            else:
                start = time.monotonic()
                self._dealer.wait(TICK_SECONDS if not driver.outgoing else 0)
                driver.waited(time.monotonic() - start)
            self._exchange()
            now = time.monotonic()
            if now >= tick_at:
                tick_at = now + TICK_SECONDS
                stop.keep()
                driver.activity.loops += 1
                if stop:
                    driver.drain()
                driver.tick()
                self._watch_connection(now)
                health.touch(now)
                if now >= give_up_at and not driver.has_joined and driver.exit is None:
                    driver.exit = Exit(0, "the learner of no other run has come")
                self._connect_as_wanted(now)
                self._exchange()

    def _connect_as_wanted(self, now: float) -> None:
        driver, dealer, wanted = self._driver, self._dealer, self._driver.connect_wanted
        if wanted is None and not driver.reconnect_wanted:
            return
        if wanted is None:
            dealer.reconnect()
            self._handshake.saw(ConnectionEvent.DISCONNECTED, now)  # what the old socket had to say is lost with it
        else:
            endpoint, own = self._home
            if wanted.endpoint:
                endpoint = wanted.endpoint
                own = None if own is None else ClientSecurity(wanted.server_key, own.secret_key)
            dealer.connect(endpoint, own)
            self._handshake = self._new_handshake()
        driver.outgoing.clear()
        driver.connected()

    def _watch_connection(self, now: float) -> None:
        driver, handshake = self._driver, self._handshake
        for seen in self._dealer.events():
            driver.obey(handshake.saw(seen, time.monotonic()))  # not before it happened
        if handshake.wants_greeting:
            driver.obey(handshake.greeted(mechanism_at(self._dealer.endpoint, GREETING_SECONDS), now))
        driver.obey(handshake.tick(now))
        driver.session.is_reached = handshake.is_through

    def _exchange(self) -> None:
        """Hand over what has arrived, send what is due."""
        driver, dealer = self._driver, self._dealer
        try:
            for header, blob in dealer.read():
                driver.handle(decode_from_learner(header, blob is not None), blob)
        except ProtocolError as error:
            driver.unreadable(error)
        if not driver.outgoing:
            return
        start = time.monotonic()
        outgoing, driver.outgoing = driver.outgoing, []
        for send in outgoing:
            dealer.send(encode(send.message), send.blob)  # unsent is as good as lost on the way: the session repeats it
        driver.send_seconds += time.monotonic() - start
