"""Peers that must be refused: wrong or no keys, other mechanisms, replays, other releases, spaces and runs."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from dppo.protocol.process.interpreter import SAFE_PATH
from dppo.protocol.security.curve import new_secret_key, public_key
from dppo.protocol.security.join_line import JoinLine
from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_most, holds, none_of, reported
from scripts.chaos.relays import Relay
from scripts.chaos.workers import Worker
from scripts.ports import free_port

REFUSED = 3
PATIENCE_SECONDS = 30.0
ANSWER_SECONDS = 5.0  # a connection that may not be is closed within this
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01%b" + bytes(32)  # ZMTP 3.1: signature, version, mechanism, filler
_PLAIN_HELLO = b"\x04\x0f\x05HELLO\x04user\x04pass"
_NULL_READY = b"\x04\x1d\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


def play(scene: Scene) -> list[Figure]:
    """One after the other they come to a learner that is at work with its own actors."""
    with Cluster(scene.directory, Plan(actors=2)) as cluster:
        cluster.start()
        sealed_by = {actor.name for actor in cluster.actors}
        figures = [*_without_the_key(cluster), *_mechanisms(cluster), *_replayed(cluster), *_other_kinds(cluster)]
        figures += _second_learner(cluster)
        cluster.next_update(PATIENCE_SECONDS)
        ends = cluster.finish()
        joined = set(re.findall(r"^(\S+) joined", cluster.learner.said(), re.MULTILINE))
        others = sorted(joined - sealed_by - {"recorded", "revoked"})  # those two came with a good token first
        return [*figures, none_of("refused peers that joined", others), *ends]


def _without_the_key(cluster: Cluster) -> list[Figure]:
    good = JoinLine.parse(join_file(cluster).read_text())
    address = ("--learner", cluster.endpoint)
    other_learner = JoinLine(public_key(new_secret_key()), good.token_id, good.secret, good.address)
    random_key = JoinLine(good.server_key, good.token_id, new_secret_key(), good.address)
    soon_over = _token(cluster, "expired", "--expires", "1s")
    to_revoke = _token(cluster, "revoked")
    inside = _start_once(cluster, "revoked", "--join-file", _line(cluster, "revoked", to_revoke))
    cluster.until(lambda: "revoked joined" in cluster.learner.said(), PATIENCE_SECONDS)
    _dppo("token", "revoke", str(cluster.watch.path), "revoked")
    cluster.live(1.5)  # the other token is over now
    figures = [
        _refused(cluster, "no key", _start_once(cluster, "no-key", "--insecure", *address)),
        *(
            _refused(cluster, name, _start_once(cluster, name.replace(" ", "-"), "--join-file", file))
            for name, file in (
                ("random key", _line(cluster, "random", str(random_key))),
                ("wrong server key", _line(cluster, "other", str(other_learner))),
                ("expired token", _line(cluster, "expired", soon_over)),
                ("revoked token", _line(cluster, "again", to_revoke)),
            )
        ),
        _refused(cluster, "revoked while at work", inside),
    ]
    return figures


def _mechanisms(cluster: Cluster) -> list[Figure]:
    """Peers that speak ZMTP, but not CURVE."""
    hello = b"\x00\x04\x93\x01\x02\x03"  # a frame of one message: it must never be read
    plain = _closed_after(cluster, _GREETING % b"PLAIN".ljust(20, b"\0") + _PLAIN_HELLO + hello)
    null = _closed_after(cluster, _GREETING % b"NULL".ljust(20, b"\0") + _NULL_READY + hello)
    return [
        at_most("mechanism PLAIN: connection closed after", plain, ANSWER_SECONDS, "s"),
        at_most("mechanism NULL: connection closed after", null, ANSWER_SECONDS, "s"),
    ]


def _replayed(cluster: Cluster) -> list[Figure]:
    """Replay the bytes that an actor has sent."""
    host, _, port = cluster.endpoint.removeprefix("tcp://").rpartition(":")
    with Relay((host, int(port))) as relay:
        actor = _start_once(cluster, "recorded", "--join-file", str(join_file(cluster)), "--learner", relay.endpoint)
        joined = cluster.until(lambda: "recorded joined" in cluster.learner.said(), PATIENCE_SECONDS)
        cluster.next_update(PATIENCE_SECONDS)
        cluster.live(1)
        actor.signal(signal.SIGTERM)
        cluster.until(lambda: not actor.alive, PATIENCE_SECONDS)
    before = cluster.learner.said().count("recorded joined")
    closed = _closed_after(cluster, bytes(relay.sent))
    cluster.live(0.5)
    after = cluster.learner.said().count("recorded joined")
    return [
        holds("replay: recorded from an actor at work", joined is not None),
        reported("replay: bytes", len(relay.sent)),
        at_most("replay: connection closed after", closed, ANSWER_SECONDS, "s"),
        at_most("replay: joins", after - before, 0),
    ]


def _other_kinds(cluster: Cluster) -> list[Figure]:
    """Processes with a good token that do not belong to this run."""
    join = ("--join-file", str(join_file(cluster)))
    programs = {
        "other protocol version": "import dppo.protocol; dppo.protocol.PROTOCOL_VERSION += 1000",
        "other spaces": (
            "from gymnasium.spaces import Discrete; from gymnasium.envs.classic_control import cartpole; "
            "old = cartpole.CartPoleEnv.__init__; new = lambda env, *a, **k: (old(env, *a, **k), "
            "setattr(env, 'action_space', Discrete(3)))[0]; cartpole.CartPoleEnv.__init__ = new"
        ),
        "other run": (
            "import dppo.actor.session.session as session; old = session.Hello; "
            "session.Hello = lambda *a, **k: old(*a, **{**k, 'run_id': 'f' * 16})"
        ),
    }
    figures = []
    for name, program in programs.items():
        call = f"{program}; from dppo.cli import main; import sys; main(sys.argv[1:])"
        peer = _start_once(cluster, name.replace(" ", "-"), *join, program=("-c", call))
        figures.append(_refused(cluster, name, peer))
    return figures


def _second_learner(cluster: Cluster) -> list[Figure]:
    """On the same run directory, at another port."""
    elsewhere = ("--bind", f"tcp://127.0.0.1:{free_port()}", "--run.directory", str(cluster.watch.path))
    second = cluster.worker("second", "learner", "--env", "CartPole-v1", *elsewhere)
    cluster.others.append(second)
    second.stay_dead()
    second.start()
    return [_refused(cluster, "second learner on the run directory", second)]


def _start_once(cluster: Cluster, name: str, *arguments: str, program: tuple[str, ...] = ()) -> Worker:
    """An actor that is started now, and once only."""
    worker = cluster.worker(name, "actor", *arguments, "--name", name)
    worker.program = program or worker.program
    worker.stay_dead()
    worker.start()
    cluster.others.append(worker)
    return worker


def _refused(cluster: Cluster, name: str, worker: Worker) -> Figure:
    """Check that the worker ends by itself as refused, with one line that gives the reason."""
    cluster.until(lambda: not worker.alive, PATIENCE_SECONDS)
    errors = [line for line in worker.said().splitlines() if line.startswith("dppo: error: ")]
    passed = worker.exits == [REFUSED] and len(errors) == 1 and "Traceback" not in worker.said()
    told = errors[0].removeprefix("dppo: error: ") if errors else worker.said()[-200:].strip()
    return Figure(name, f"exit {worker.exits or 'none'}: {told[:110]}", "", f"exit {REFUSED}, one line", passed)


def _closed_after(cluster: Cluster, content: bytes) -> float | None:
    """Say that to the learner's port; seconds until it closes the connection, None where it does not in time."""
    host, _, port = cluster.endpoint.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS) as connection:
        connection.setblocking(False)
        rest = memoryview(content)

        def closed() -> bool:
            nonlocal rest
            try:
                if rest:
                    rest = rest[connection.send(rest[:65536]) :]
                return connection.recv(65536) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        return cluster.until(closed, ANSWER_SECONDS + 5)


def _token(cluster: Cluster, name: str, *flags: str) -> str:
    """A new token's line."""
    return _dppo("token", "add", str(cluster.watch.path), name, *flags)


def _line(cluster: Cluster, name: str, text: str) -> str:
    """A file with that line, for its owner's eyes only."""
    path = cluster.directory / f"{name}.join"
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def _dppo(*arguments: str) -> str:
    """Run a short command; return its standard output."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
    command = [sys.executable, SAFE_PATH, "-m", "dppo.cli", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=own, timeout=60).stdout


def join_file(cluster: Cluster) -> Path:
    """The first token's line."""
    return cluster.watch.path / "access" / "join"


FAULTS = (Fault("strangers", "wrong keys, mechanisms, replays, releases, spaces, runs; two learners on one run", play),)
