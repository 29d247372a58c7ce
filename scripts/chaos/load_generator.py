"""Both sides of a crowd, without environments and training: a learner's network thread, and many actors' sessions.

    python -m scripts.chaos.load_generator learner ENDPOINT DIRECTORY    prints a line of figures as JSON, ten a second
    python -m scripts.chaos.load_generator actors JOIN_FILE FIRST COUNT    from a line on standard input to its end

Keys, sockets, sessions, codec and ledger are the real ones. A version follows on a full batch.
"""

import argparse
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from dppo.actor.session.actions import Action, Cut, Load, MakeEnvironments, Reconnect, Send
from dppo.actor.session.session import ActorSession
from dppo.actor.session.states import State
from dppo.learner.session.records import Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.transport.listener import Listening, open_listener
from dppo.learner.transport.network_thread import Network
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import EnvSettings, TimeShares
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.rollout import Blob, Segment
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.specs import Leaf, Spec
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.fd_limits import raise_limit
from dppo.protocol.transport.router import Router

SPEC = Spec(
    observation=(Leaf("observation", "<f4", (4,), "box"),),
    action=(Leaf("action", "<i8", (), "discrete", categories=2),),
)
POLICY_BYTES = 30_000  # with two layers of 64
BATCH_STEPS = 10_000
MAX_BLOB_BYTES = 2**20
REPORT_SECONDS = 0.1
TICK_SECONDS = 0.25  # of one simulated actor
REST_SECONDS = 0.01  # between turns: credit for several rollouts comes together
NICE = 10  # of the actors: they stand for a thousand other machines, and must not take the learner's cores


class _CountedRouter:
    """Bytes that the learner's router has been given to send. Read without a lock: the figures are for people."""

    def __init__(self, router: Router) -> None:
        self.policy_bytes = self.other_bytes = 0
        self._send = router.send
        vars(router)["send"] = self.send  # of this router alone

    def send(self, peer: bytes, header: bytes, blob: Blob | None = None) -> bool:
        """Send as the router does."""
        self.policy_bytes += 0 if blob is None else len(blob)
        self.other_bytes += len(header)
        return self._send(peer, header, blob)


def _cpu_of(name: str) -> float:
    """Return the CPU seconds of the thread of that name in this process."""
    thread = next(thread for thread in threading.enumerate() if thread.name == name)
    assert thread.ident is not None, "it has been started"
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def serve(endpoint: str, directory: Path, *, policy_bytes: int, batch_steps: int, rows: int) -> None:
    """The learner, until standard input ends. rows: steps of a rollout."""
    logging.basicConfig(level=logging.WARNING)
    raise_limit()
    settings = Settings(
        run_id="crowd", term=int(time.time()), env=EnvSettings("none"), envs_per_actor=1, batch_steps=batch_steps,
        segment_steps=rows, seed=1, on_stop="keep", lease_seconds=10.0, stop_grace_seconds=5.0,
    )  # fmt: skip
    session = LearnerSession(settings, Ledger(), SlotTable(settings.term % 1000 + 1), SPEC)
    router, authenticator = open_listener(
        Listening(endpoint, join_file=str(directory / "join")), MAX_BLOB_BYTES, directory
    )
    counted, stops = _CountedRouter(router), list[float]()
    network = Network(router, session, lambda entry: None, authenticator)
    network.start()
    ending = _end_of_input()
    graph = os.urandom(policy_bytes)
    process, version, report_at = psutil.Process(), 1, 0.0
    network.publish_and_wait(version, graph)
    while not ending.is_set():
        if network.batch(REPORT_SECONDS) is not None:
            stops.append(network.ask(lambda session: session.cycle.latencies.stop))
            version += 1
            network.publish_and_wait(version, graph)
        now = time.monotonic()
        if now >= report_at:
            report_at = now + REPORT_SECONDS
            total = network.ask(lambda session: session.ledger.total())
            ready = network.ask(lambda session: sum(peer.ready for peer in session.peer_table.peers.values()))
            accepted = total.trained + total.pending
            memory = process.memory_info().rss
            figures = {"at": now, "ready": ready, "accepted": accepted, "version": version, "memory": memory}
            figures |= {"cpu": sum(process.cpu_times()[:2]), "refused": session.refused_messages}
            figures |= {"network_cpu": _cpu_of("network"), "policy_sent": counted.policy_bytes}
            figures |= {"other_sent": counted.other_bytes, "stops": stops[:]}
            stops.clear()
            print(json.dumps(figures), flush=True)
    network.close()


def _end_of_input() -> threading.Event:
    """Set once standard input has ended."""
    ending = threading.Event()

    def read() -> None:
        sys.stdin.read()
        ending.set()

    threading.Thread(target=read, daemon=True).start()
    return ending


class Simulated:
    """One actor: the real session; its environments and its policy are nothing."""

    def __init__(self, dealer: Dealer, name: str, pause: float, segment: Segment, now: float) -> None:
        """pause: seconds from one rollout to the next."""
        self._dealer = dealer
        self._pause, self._segment = pause, segment
        self._seal_at = now
        self._session = ActorSession(actor=name, incarnation=os.urandom(8), envs=1, release="crowd")
        self._tick_at = now
        self._do(self._session.connected(now), now)

    def turn(self, now: float) -> None:
        """Do all that is due: receive, seal, tick."""
        for header, blob in self._dealer.read():
            self._do(self._session.receive(decode_from_learner(header, blob is not None), blob, now), now)
        while self._session.state is State.RUNNING and self._session.may_seal and now >= self._seal_at:
            self._seal_at = now + self._pause
            self._do(self._session.deliver(self._segment), now)
        if now >= self._tick_at:
            self._tick_at = now + TICK_SECONDS
            list(self._dealer.events())
            self._do(self._session.tick(now, TimeShares), now)

    def _do(self, actions: list[Action], now: float) -> None:
        session = self._session
        for action in actions:
            match action:
                case Send():
                    self._dealer.send(encode(action.message), action.blob)
                case MakeEnvironments():
                    self._do(session.environments_ready(SPEC, now), now)
                case Load():
                    self._do(session.loaded(action, 0.001), now)
                case Cut():
                    self._do(session.stopped(0.0), now)
                case Reconnect():
                    self._dealer.reconnect()
                    self._do(session.connected(now), now)
                case _:
                    pass


def _segment(rows: int) -> Segment:
    none = np.zeros((rows, 1), bool)
    return Segment(
        observations={"observation": np.zeros((rows + 1, 1, 4), np.float32)},
        actions={"action": np.zeros((rows, 1), np.int64)},
        masks={}, states={}, behaviour_log_probs=np.full((rows, 1), -0.7, np.float32),
        rewards=np.ones((rows, 1), np.float32), terminated=none, truncated=none, valid=~none,
        final_observations={"observation": np.zeros((0, 4), np.float32)},
        episode_returns=np.zeros(0, np.float32), episode_lengths=np.zeros(0, np.int32),
        episode_columns=np.zeros(0, np.int32), episode_successes=np.zeros(0, np.float32),
    )  # fmt: skip


def act(join_file: Path, first: int, count: int, *, pause: float, endpoint: str, rows: int, nice: int) -> None:
    """Run `count` actors in one thread until standard input ends. endpoint: "" for the one in the line."""
    raise_limit()
    line = JoinLine.parse(join_file.read_text())
    security = None if endpoint.startswith("ipc://") else ClientSecurity(line.server_key, line.secret)
    os.nice(nice)
    print("ready", flush=True)
    sys.stdin.readline()
    ending = _end_of_input()
    dealers = [Dealer(endpoint or line.endpoint, security)]
    dealers += [dealers[0].sibling() for _ in range(count - 1)]
    now = time.monotonic()
    segment = _segment(rows)
    actors = [Simulated(dealer, f"a{first + number}", pause, segment, now) for number, dealer in enumerate(dealers)]
    while not ending.is_set():
        now = time.monotonic()
        for actor in actors:
            actor.turn(now)
        time.sleep(REST_SECONDS)
    for dealer in reversed(dealers):
        dealer.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.chaos.load_generator", description=(__doc__ or "").partition("\n")[0]
    )
    sides = parser.add_subparsers(dest="side", required=True)
    learner = sides.add_parser("learner")
    learner.add_argument("endpoint")
    learner.add_argument("directory", type=Path)
    learner.add_argument("--policy-bytes", type=int, default=POLICY_BYTES)
    learner.add_argument("--batch-steps", type=int, default=BATCH_STEPS)
    actors = sides.add_parser("actors")
    actors.add_argument("join_file", type=Path)
    actors.add_argument("first", type=int)
    actors.add_argument("count", type=int)
    actors.add_argument("--pause", type=float, default=0.0, help="seconds from one rollout of an actor to its next")
    actors.add_argument("--learner", default="", help="another address than the one in the line: a relay's")
    actors.add_argument("--nice", type=int, default=NICE, help="what is added to the niceness")
    for side in (learner, actors):
        side.add_argument("--rows", type=int, default=1, help="steps of a rollout")
    given = parser.parse_args()
    watch_parent()
    if given.side == "learner":
        serve(
            given.endpoint,
            given.directory,
            policy_bytes=given.policy_bytes,
            batch_steps=given.batch_steps,
            rows=given.rows,
        )
    else:
        act(
            given.join_file,
            given.first,
            given.count,
            pause=given.pause,
            endpoint=given.learner,
            rows=given.rows,
            nice=given.nice,
        )


if __name__ == "__main__":
    main()
