"""Half an hour of everything that does not end the learner: kills, partitions, resets, actors that hardly read."""

import contextlib
import random
import signal
from collections.abc import Callable

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene, Skip
from scripts.chaos.figures import Figure, at_least, at_most, reported
from scripts.chaos.hosts import LEARNER_ADDRESS, Hosts
from scripts.chaos.samples import Sample, megabytes_per_minute

WARM_UP_SHARE = 0.2  # of the time, before memory is taken to be steady
PARTITION_SECONDS = 6.0  # long enough to be noticed
STOPPED_SECONDS = 4.0  # of an actor that hardly reads: it lets messages pile up, then takes them all
SPREAD = 2  # file descriptors and threads that may come and go


def play(scene: Scene) -> list[Figure]:
    """The mix, by a fixed seed; the learner is never touched itself."""
    with contextlib.ExitStack() as stack:
        hosts = _hosts(stack)
        plan = Plan(actors=6)
        if hosts is None:
            cluster = stack.enter_context(Cluster(scene.directory, plan))
        else:
            places = {"learner_host": hosts.learner, "actor_host": hosts.actors}
            cluster = stack.enter_context(Cluster(scene.directory, plan, address=LEARNER_ADDRESS, **places))
        cluster.start()
        generator = random.Random(scene.seed)  # noqa: S311 -- victims, not secrets
        began, count = cluster.now, dict.fromkeys(("kill", "partition", "reset", "slow"), 0)
        until = began + scene.pick(12, 1800)
        faults: dict[str, Callable[[], None]] = {
            "kill": lambda: _kill(cluster, generator),
            "slow": lambda: _hardly_reads(cluster, generator),
        }
        if hosts is not None:
            faults |= {"partition": lambda: _partition(cluster, hosts), "reset": lambda: _reset(cluster, hosts)}
        while cluster.now < until:
            name = generator.choice(list(faults))
            count[name] += 1
            faults[name]()
            cluster.live(generator.uniform(1, 5))
        update = cluster.next_update(20)
        steady = [s for s in cluster.samples if s.at >= began + WARM_UP_SHARE * (until - began)]
        return [
            reported("faults", ", ".join(f"{name} {times}" for name, times in count.items() if times)),
            at_most("first update after the last", update, scene.within(5), "s"),
            *_flat(scene, steady),
            *cluster.finish(),
        ]


def _flat(scene: Scene, steady: list[Sample]) -> list[Figure]:
    """Memory, file descriptors and threads of the learner: judged over a long time only."""
    memory = megabytes_per_minute(steady)
    half = len(steady) // 2
    fds = _peak(steady[half:], "descriptors") - _peak(steady[:half], "descriptors")
    threads = _peak(steady[half:], "threads") - _peak(steady[:half], "threads")
    figures = [reported("learner memory", steady[-1].memory_bytes / 1e6, "MB")]
    if not scene.is_full:
        return [*figures, at_least("samples", len(steady), 2)]
    return [
        *figures,
        at_most("learner memory slope", memory, 1, "MB/min"),
        at_most("peak of file descriptors, second half - first", fds, SPREAD),
        at_most("peak of threads, second half - first", threads, SPREAD),
    ]


def _peak(samples: list[Sample], name: str) -> int:
    return max(int(getattr(sample, name)) for sample in samples)


def _hosts(stack: contextlib.ExitStack) -> Hosts | None:
    """Hosts with a network that can be cut; None where there can be none, and everything plays on one."""
    try:
        return stack.enter_context(Hosts())
    except Skip:
        return None


def _kill(cluster: Cluster, generator: random.Random) -> None:
    alive = [actor for actor in cluster.actors if actor.alive]
    if alive:
        generator.choice(alive).kill()


def _hardly_reads(cluster: Cluster, generator: random.Random) -> None:
    alive = [actor for actor in cluster.actors if actor.alive]
    if alive:
        actor = generator.choice(alive)
        actor.signal(signal.SIGSTOP)
        cluster.live(STOPPED_SECONDS)
        actor.signal(signal.SIGCONT)


def _partition(cluster: Cluster, hosts: Hosts) -> None:
    hosts.cut()
    cluster.live(PARTITION_SECONDS)
    hosts.heal()


def _reset(cluster: Cluster, hosts: Hosts) -> None:
    hosts.reset()
    cluster.live(0.05)
    hosts.heal()


FAULTS = (Fault("soak", "kills, partitions, resets and hardly reading actors mixed", play),)
