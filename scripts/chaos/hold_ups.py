"""One peer that is slow, or that means harm and has a token, among others: what do those lose while it is there?"""

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, holds, reported
from scripts.chaos.holder import KINDS
from scripts.chaos.refused_peers import join_file
from scripts.chaos.simulators import SECONDS_VARIABLE

SLOW_STEP_SECONDS = 5.0  # of an honest actor's environments: longer than collect.stop_grace_seconds (3)
SLOW_SHARE = 90.0  # percent of the calm speed that the others keep beside it
HOLDER_SHARE = 80.0  # beside a token holder
AFTER_SHARE = 95.0  # after it has gone: 100, and what two times of the same length differ by
BUSY_SHARE = 0.5  # of these in the short form, on a machine that does other things as well
JOIN_SECONDS = 20.0


def play_slow(scene: Scene) -> list[Figure]:
    """An honest actor whose steps take longer than the grace after STOP, among fast ones."""
    with Cluster(scene.directory, Plan(actors=4, envs=1, batch_steps=256)) as cluster:
        cluster.start()
        calm = _speed(cluster, scene.pick(6, 30))
        slow = cluster.actor("slow", **{SECONDS_VARIABLE: str(SLOW_STEP_SECONDS)})
        cluster.others.append(slow)
        slow.start()
        joined = _joined(cluster, "slow")
        speed = _speed(cluster, scene.pick(25, 120))
        said = cluster.learner.said()
        return [
            at_most("joined after", joined, scene.within(5), "s"),
            reported("updates/s calm", calm),
            _share(scene, "updates/s with it, of calm", speed, calm, SLOW_SHARE),
            holds("it is told what would let it contribute", "slow cannot contribute" in said),
            reported("lines about it", sum("slow " in line for line in said.splitlines())),
            *cluster.finish(),
        ]


def play_holder(scene: Scene) -> list[Figure]:
    """A token holder that never answers STOP, one that announces 65,536 environments, and one of many names."""
    figures: list[Figure] = []
    with Cluster(scene.directory, Plan(actors=4, harmless="many-named|boastful|silent-")) as cluster:
        cluster.start()
        for kind in KINDS:
            calm = _speed(cluster, scene.pick(6, 30))
            worker = cluster.worker(kind, str(join_file(cluster)), kind)
            worker.program, worker.restart_seconds = ("-m", "scripts.chaos.holder"), None
            cluster.others.append(worker)
            worker.start()
            joined = _joined(cluster, f"{kind}-0")
            speed = _speed(cluster, scene.pick(15, 60))
            worker.kill()
            cluster.live(1)
            after = _speed(cluster, scene.pick(6, 30))
            figures += [
                at_most(f"{kind}: joined after", joined, scene.within(5), "s"),
                _share(scene, f"{kind}: updates/s with it, of calm", speed, calm, HOLDER_SHARE),
                _share(scene, f"{kind}: updates/s after it, of calm", after, calm, AFTER_SHARE),
            ]
        return [*figures, holds("no actor left", all(a.starts == 1 for a in cluster.actors)), *cluster.finish()]


def _joined(cluster: Cluster, name: str) -> float | None:
    return cluster.until(lambda: f"{name} joined" in cluster.learner.said(), JOIN_SECONDS)


def _speed(cluster: Cluster, seconds: float) -> float:
    since = cluster.now
    cluster.live(seconds)
    return cluster.watch.updates_per_second(since, cluster.now)


def _share(scene: Scene, name: str, speed: float, calm: float, limit: float) -> Figure:
    share = 100 * speed / calm if calm else None
    return at_least(name, share, limit if scene.is_full else limit * BUSY_SHARE, "%")


FAULTS = (
    Fault("slow-actor", "an honest actor slower than the grace among fast ones", play_slow),
    Fault("token-holder", "a token holder that never stops, announces much, changes its name", play_holder),
)
