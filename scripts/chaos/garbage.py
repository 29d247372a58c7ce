"""Raw bytes on the learner's port, and more idle connections than it has file descriptors."""

import contextlib
import itertools
import random
import shutil
import socket

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene, Skip
from scripts.chaos.figures import Figure, at_least, at_most, holds, reported

GROWTH_MEGABYTES = 50.0
JOIN_SECONDS = 3.0
DESCRIPTORS = 200
IDLE = 400
GARBAGE_BYTES = 4096
AT_ONCE = 20
# what every ZeroMQ peer begins with: behind it the learner's library parses commands and frames
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)


def play_garbage(scene: Scene) -> list[Figure]:
    """Connections that say something random, half of them behind a valid greeting."""
    generator = random.Random(scene.seed)  # noqa: S311 -- nonsense, not secrets
    with Cluster(scene.directory, Plan(actors=2)) as cluster:
        cluster.start()
        cluster.live(2)
        before = cluster.samples[-1].memory_bytes
        began, count = cluster.now, 0
        while count < scene.pick(200, 100_000):
            _say_nonsense(cluster, generator)
            count += AT_ONCE
            cluster.live(0)
        updates = cluster.watch.between(began, cluster.now)
        cluster.live(1)
        gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(updates)]
        return [
            reported("connections that said nonsense", count),
            reported("longest time between two updates", max(gaps, default=None), "s"),
            at_most("learner's growth", (cluster.samples[-1].memory_bytes - before) / 1e6, GROWTH_MEGABYTES, "MB"),
            *_joins(scene, cluster),
            *cluster.finish(),
        ]


def play_idle(scene: Scene) -> list[Figure]:
    """A learner that may open 200 files gets 400 connections that say nothing."""
    if shutil.which("prlimit") is None:
        raise Skip("needs prlimit, for a learner that may open few files")
    limited = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
    plan = Plan(actors=2, harmless=r"Too many open files|file descriptors|open files")
    with Cluster(scene.directory, plan, learner_host=limited) as cluster, contextlib.ExitStack() as open_sockets:
        cluster.start()
        cluster.live(1)
        flooded_at = cluster.now
        opened = 0
        for _ in range(IDLE):
            with contextlib.suppress(OSError):
                open_sockets.enter_context(socket.create_connection(_address(cluster), timeout=1))
                opened += 1
        figures = [at_least("idle connections opened", opened, IDLE), *_joins(scene, cluster)]
        cluster.live(scene.pick(2, 20))
        updates = len(cluster.watch.between(flooded_at, cluster.now))
        return [*figures, at_least("updates meanwhile", updates, 1), *cluster.finish()]


def _joins(scene: Scene, cluster: Cluster) -> list[Figure]:
    """A legitimate actor comes now."""
    actor = cluster.actor("legitimate")
    cluster.others.append(actor)
    actor.start()
    joined = cluster.until(lambda: "legitimate joined" in cluster.learner.said(), 30)
    return [
        at_most("a legitimate actor: start to joined", joined, scene.within(JOIN_SECONDS), "s"),
        holds("the learner lives", cluster.learner.alive and not cluster.learner.exits),
    ]


def _say_nonsense(cluster: Cluster, generator: random.Random) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(AT_ONCE):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(socket.create_connection(_address(cluster), timeout=1))
                content = generator.randbytes(generator.randrange(1, GARBAGE_BYTES))
                connection.sendall(GREETING + content if number % 2 else content)


def _address(cluster: Cluster) -> tuple[str, int]:
    host, _, port = cluster.endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


FAULTS = (
    Fault("garbage", "random bytes on the learner's port", play_garbage),
    Fault("idle-flood", "400 idle connections against 200 file descriptors", play_idle),
)
