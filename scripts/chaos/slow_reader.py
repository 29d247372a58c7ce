"""One actor reads 10 KB a second while others work: it may cost the learner one policy, and the others no time."""

import time

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, none_of, reported
from scripts.chaos.load_processes import LoadLearner, simulated_actors
from scripts.chaos.refused_peers import join_file
from scripts.chaos.relays import Relay
from scripts.ports import free_port

BYTES_PER_SECOND = 10_000
NETWORK = ("--network.policy-hidden", "256,256")  # a policy of some 280 KB: half a minute for this reader
SPEED_SHARE = 95.0  # percent of the calm speed that the others must keep
POLICY_BYTES = 280_000  # as large, for simulated actors
LINK_BYTES_PER_SECOND = 20_000
LINK_SETTINGS = ("--policy-bytes", str(POLICY_BYTES), "--batch-steps", "4")
MANY, PROCESSES = 100, 2
MANY_SETTINGS = ("--policy-bytes", str(POLICY_BYTES), "--batch-steps", str(10 * MANY))
PAUSE_SECONDS = 0.05  # of one of many from rollout to rollout: two updates a second, and cores to spare
NOISE_BYTES = 3e6  # of the learner's memory between two looks, whatever happens


def play(scene: Scene) -> list[Figure]:
    """Speed and memory before and after the slow one has joined."""
    with Cluster(scene.directory, Plan(actors=4, settings=NETWORK)) as cluster:
        cluster.start()
        cluster.live(scene.pick(2, 10))
        calm_from = cluster.now
        cluster.live(scene.pick(4, 60))
        slow_from = cluster.now
        host, _, port = cluster.endpoint.removeprefix("tcp://").rpartition(":")
        with Relay((host, int(port)), bytes_per_second=BYTES_PER_SECOND) as relay:
            reader = cluster.worker(
                "slow", "actor", "--join-file", str(join_file(cluster)), "--learner", relay.endpoint, "--name", "slow"
            )
            cluster.others.append(reader)
            reader.start()
            joined = cluster.until(lambda: "slow joined" in cluster.learner.said(), 20)
            cluster.live(scene.pick(8, 120))
            slow_to = cluster.now
            calm = cluster.watch.updates_per_second(calm_from, slow_from)
            slow = cluster.watch.updates_per_second(slow_from, slow_to)
            before = max(s.memory_bytes for s in cluster.samples if calm_from <= s.at < slow_from)
            after = max(s.memory_bytes for s in cluster.samples if slow_from <= s.at < slow_to)
            policy = (cluster.watch.path / "policy.onnx").stat().st_size
            figures = [
                at_most("joined after", joined, scene.within(5), "s"),
                reported("policy", policy / 1e6, "MB"),
                reported("read by the slow one", relay.received_bytes / 1e6, "MB"),
                reported("its connections", relay.connections),
                reported("learner's growth", (after - before) / 1e6, "MB"),
                reported("updates/s calm", calm),
            ]
            others = 100 * slow / calm if calm else None
            if scene.is_full:
                figures += [
                    at_most(
                        "learner's growth beyond one policy", (after - before - policy) / 1e6, NOISE_BYTES / 1e6, "MB"
                    ),
                    at_least("updates/s with it, of calm", others, SPEED_SHARE, "%"),
                ]
            else:
                figures.append(reported("updates/s with it, of calm", others, "%"))
            reader.kill()
            cluster.until(lambda: not reader.alive, 10)
        return [*figures, *cluster.finish()]


def play_many(scene: Scene) -> list[Figure]:
    """The same with a hundred simulated actors, which need no cores for environments and training."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    learner = LoadLearner(endpoint, scene.directory, *MANY_SETTINGS)
    join, pause = scene.directory / "join", ("--pause", str(PAUSE_SECONDS))
    try:
        learner.until(lambda figures: True)
        with simulated_actors(join, 0, MANY - 1, PROCESSES, *pause):
            joined = learner.until(lambda figures: figures["ready"] >= MANY - 1)
            time.sleep(scene.pick(2, 10))
            calm_from = time.monotonic()
            time.sleep(scene.pick(6, 60))
            slow_from = time.monotonic()
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            relay = Relay((host, int(port)), bytes_per_second=BYTES_PER_SECOND)
            with relay, simulated_actors(join, MANY, 1, 1, "--learner", relay.endpoint, *pause):
                all_joined = learner.until(lambda figures: figures["ready"] >= MANY)
                time.sleep(scene.pick(10, 120))
                slow_to = time.monotonic()
                read = relay.received_bytes
        calm, slow = learner.between(calm_from, slow_from), learner.between(slow_from, slow_to)
    finally:
        learner.end()
    before = max((one["memory"] for one in calm), default=0)
    growth = max((one["memory"] for one in slow), default=0) - before if calm and slow else None
    speed, slowed = _versions_per_second(calm), _versions_per_second(slow)
    others = 100 * slowed / speed if speed and slowed is not None else None
    figures = [
        at_least("actors that joined", joined["ready"] if joined else None, MANY - 1),
        at_most(
            "the slow one joined after", all_joined["at"] - slow_from if all_joined else None, scene.within(5), "s"
        ),
        reported("policy", POLICY_BYTES / 1e6, "MB"),
        at_least("read by the slow one", read / 1e6, 0.001, "MB"),
        reported("its connections", relay.connections),
        reported("updates/s calm", speed),
    ]
    if scene.is_full:
        limit = (POLICY_BYTES + NOISE_BYTES) / 1e6
        return [
            *figures,
            at_most("learner's growth", growth / 1e6 if growth is not None else None, limit, "MB"),
            at_least("updates/s with it, of calm", others, SPEED_SHARE, "%"),
        ]
    return [*figures, at_least("updates/s with it", slowed, 0.1), reported("of calm", others, "%")]


def play_link(scene: Scene) -> list[Figure]:
    """The only actor is behind a link that needs longer for one policy than heartbeats and lease last."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    learner = LoadLearner(endpoint, scene.directory, *LINK_SETTINGS)
    try:
        learner.until(lambda figures: True)
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        relay = Relay((host, int(port)), bytes_per_second=LINK_BYTES_PER_SECOND)
        options = ("--learner", relay.endpoint, "--nice", "0")  # it stands for itself only
        with relay, simulated_actors(scene.directory / "join", 0, 1, 1, *options):
            began = time.monotonic()
            worked = learner.until(lambda figures: figures["version"] > 1)
            time.sleep(scene.pick(0, 120))
            passed = relay.received_bytes / POLICY_BYTES
            ended = [str(passage) for passage in relay.passages if passage.ended_at is not None]
        versions = learner.figures[-1]["version"]
    finally:
        learner.end()
    transfer = POLICY_BYTES / LINK_BYTES_PER_SECOND
    figures = [
        reported("time for one policy", transfer, "s"),
        at_most("first update after", worked["at"] - began if worked else None, transfer + scene.within(5), "s"),
        # a process that stands still for 1.4 s loses its connection; the next one has smaller parts, and must hold
        none_of("connections given up", ended if scene.is_full else ended[1:]),
        reported("the first of them", ended[0] if ended else "none"),
    ]
    if scene.is_full:
        figures.append(
            at_least("updates, of the policies that passed the link", 100 * (versions - 1) / passed, 80, "%")
        )
    return figures


def _versions_per_second(figures: list[dict[str, float]]) -> float | None:
    """Rate at which the generator's learner published, policies per second; None for fewer than two figures."""
    if len(figures) < 2:
        return None
    return (figures[-1]["version"] - figures[0]["version"]) / (figures[-1]["at"] - figures[0]["at"])


FAULTS = (
    Fault("slow-reader", "one actor reads 10 KB/s of what the learner sends", play),
    Fault("slow-link", "the only actor needs 14 s to read a policy", play_link),
    Fault("slow-among-many", "one of 100 simulated actors reads 10 KB/s", play_many),
)
