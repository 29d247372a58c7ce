"""One actor reads 10 KB a second while others work: it may cost the learner one policy, and nobody any time."""

from scripts.chaos.cluster import Cluster, Plan
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, reported
from scripts.chaos.relays import Relay
from scripts.chaos.strangers import join_file

BYTES_PER_SECOND = 10_000
NETWORK = ("--network.policy-hidden", "256,256")  # a policy of some 280 KB: half a minute for this reader
SPEED_SHARE = 95.0  # percent of the calm speed that the others must keep
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


FAULTS = (Fault("slow-reader", "one actor reads 10 KB/s of what the learner sends", play),)
