"""The network between learner and actors breaks: both ways, one way, and connections that are reset every second."""

from scripts.chaos.cluster import Cluster, Plan, only_dropped
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported
from scripts.chaos.hosts import LEARNER_ADDRESS, Direction, Hosts, established

NOTICED_SECONDS = 5.0
RECOVERED_SECONDS = 5.0
RESET_SECONDS = 0.05  # long enough to meet every connection: rollouts and heartbeats are more frequent


def play_full(scene: Scene) -> list[Figure]:
    """Drop all packets between learner and actors."""
    with Hosts() as hosts, _cluster(scene, hosts) as cluster:
        cluster.start()
        cluster.live(1)
        cut_at = cluster.now
        hosts.cut()
        figures = _endure(scene, cluster, cut_at, hosts)
        return [*figures, *_finish(cluster)]


def play_one_way(scene: Scene) -> list[Figure]:
    """Only one direction works: a peer that still receives may not conclude that it is received."""
    figures = []
    directions: tuple[Direction, ...] = ("to the learner", "to the actors")
    with Hosts() as hosts, _cluster(scene, hosts) as cluster:
        cluster.start()
        for direction in directions:
            cluster.live(1)
            cut_at = cluster.now
            hosts.cut_one_way(direction)
            figures += [
                Figure(f"{figure.name} (cut {direction})", figure.value, figure.unit, figure.limit, figure.passed)
                for figure in _endure(scene, cluster, cut_at, hosts)
            ]
        return [*figures, *_finish(cluster)]


def play_resets(scene: Scene) -> list[Figure]:
    """Every second all connections are reset."""
    with Hosts() as hosts, _cluster(scene, hosts) as cluster:
        cluster.start()
        cluster.live(1)
        calm_from = cluster.now
        cluster.live(scene.pick(2, 15))
        calm_to = cluster.now
        resets, until = 0, calm_to + scene.pick(5, 60)
        while cluster.now < until:
            hosts.reset()
            cluster.live(RESET_SECONDS)
            hosts.heal()
            resets += 1
            cluster.live(1 - RESET_SECONDS)
        healed_at = cluster.now
        during = len(cluster.watch.between(calm_to, healed_at))
        update = cluster.next_update(RECOVERED_SECONDS + 5, after=healed_at)
        cluster.live(1)
        return [
            reported("times reset", resets),
            reported("updates/s calm", cluster.watch.updates_per_second(calm_from, calm_to)),
            reported("updates/s under resets", during / (healed_at - calm_to)),
            at_most("first update after the last", update, scene.within(RECOVERED_SECONDS), "s"),
            *_lived(cluster),
            *_finish(cluster),
        ]


def _cluster(scene: Scene, hosts: Hosts) -> Cluster:
    return Cluster(
        scene.directory,
        Plan(actors=4),
        address=LEARNER_ADDRESS,
        learner_host=hosts.learner,
        actor_host=hosts.actors,
    )


def _endure(scene: Scene, cluster: Cluster, cut_at: float, hosts: Hosts) -> list[Figure]:
    """The partition from its cut to the first update after its end."""
    noticed: dict[str, float] = {}

    def look() -> bool:
        for side, worker in (("learner", cluster.learner), ("actors", cluster.actors[0])):
            if side not in noticed and established(worker.pid) == 0:
                noticed[side] = cluster.now - cut_at
        return False

    cluster.until(look, scene.pick(6, 30))
    healed_at = cluster.now
    hosts.heal()
    update = cluster.next_update(RECOVERED_SECONDS + 10, after=healed_at)
    cluster.live(1)
    return [
        reported("cut for", healed_at - cut_at, "s"),
        at_most("noticed by the learner after", noticed.get("learner"), scene.within(NOTICED_SECONDS), "s"),
        at_most("noticed by the actors after", noticed.get("actors"), scene.within(NOTICED_SECONDS), "s"),
        at_most("first update after the heal", update, scene.within(RECOVERED_SECONDS), "s"),
        *_lived(cluster),
    ]


def _finish(cluster: Cluster) -> list[Figure]:
    """End the run. Rollouts in flight at the break arrive later: only those that came too late may be dropped."""
    return [*cluster.finish(), only_dropped(cluster, "stale", "shutdown")]


def _lived(cluster: Cluster) -> list[Figure]:
    starts = sum(actor.starts for actor in cluster.actors)
    return [at_least("actors that lived through it", 2 * len(cluster.actors) - starts, len(cluster.actors))]


FAULTS = (
    Fault("partition", "no packet gets through between learner and actors", play_full),
    Fault("one-way", "no packet gets through in one direction", play_one_way),
    Fault("resets", "every connection is reset each second", play_resets),
)
