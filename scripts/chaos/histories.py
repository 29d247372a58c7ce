"""The run directory is not what the learner left: a bit of the journal has flipped, or it was put back to a backup."""

import json
import shutil
from pathlib import Path

from scripts.chaos.cluster import Cluster, Plan, only_dropped
from scripts.chaos.faults import Fault, Scene
from scripts.chaos.figures import Figure, at_least, at_most, holds, none_of, reported

PATIENCE_SECONDS = 40.0
# no checkpoint for the whole of it: all that is known of the steps is in the journal
NO_CHECKPOINT = ("--run.checkpoint-seconds", "100000", "--run.checkpoint-share", "0")


def play_flipped_bit(scene: Scene) -> list[Figure]:
    """The learner is dead; a bit in the middle of its journal flips."""
    with Cluster(scene.directory, Plan(actors=3, settings=NO_CHECKPOINT)) as cluster:
        cluster.start()
        cluster.live(scene.pick(2, 20))
        _kill(cluster)
        before = cluster.audited()
        journal = max((cluster.watch.path / "journal").glob("[0-9]*"))
        content = bytearray(journal.read_bytes())
        content[len(content) // 2] ^= 1
        journal.write_bytes(content)
        found = cluster.audited()
        said = len(cluster.learner.said())
        cluster.learner.start()
        back = cluster.next_update(PATIENCE_SECONDS)
        told = cluster.learner.said()[said:]
        return [
            none_of("dppo ledger finds before it", before),
            holds("dppo ledger says what is missing", any("damaged or missing" in line for line in found), f"{found}"),
            holds("the next learner says so", "is damaged" in told),
            at_most("first update of the next learner", back, PATIENCE_SECONDS, "s"),
            *cluster.finish(),
        ]


def play_restored(scene: Scene) -> list[Figure]:
    """The directory is put back to a backup while the actors live: they hold policies of a history that is gone."""
    with Cluster(scene.directory, Plan(actors=3)) as cluster:
        cluster.start()
        run, backup = cluster.watch.path, cluster.directory / "backup"
        _kill(cluster)
        shutil.copytree(run, backup)
        cluster.learner.start()
        cluster.next_update(PATIENCE_SECONDS)
        cluster.live(scene.pick(2, 10))
        lost = _term(run)
        _kill(cluster)
        run.rename(cluster.directory / "lost")
        backup.rename(run)
        cluster.watch.versions.clear()  # another history: it counts from where the backup was
        said = len(cluster.learner.said())
        cluster.learner.start()
        back = cluster.next_update(PATIENCE_SECONDS)
        cluster.live(scene.pick(2, 10))
        told = cluster.learner.said()[said:]
        ends = cluster.finish()
        return [
            holds("the history that is gone has another term", lost != _term(run)),
            at_least("actors of it that are named", told.count("another history of this run"), 1),
            at_most("first update of the restored run", back, PATIENCE_SECONDS, "s"),
            none_of("rollouts trained on off policy", [text for text in (told,) if "do not belong together" in text]),
            only_dropped(cluster, "stale", "learner_crash", "shutdown"),
            reported("steps of it that are stale", cluster.watch.ledger()["total"]["dropped"].get("stale", 0)),
            *ends,
        ]


def _kill(cluster: Cluster) -> None:
    """The learner is dead, and stays so, when this returns."""
    cluster.learner.restart_seconds = None
    cluster.learner.kill()
    cluster.until(lambda: not cluster.learner.alive, PATIENCE_SECONDS)


def _term(run: Path) -> int:
    return int(json.loads((run / "run.json").read_bytes())["term"])


FAULTS = (
    Fault("flipped-bit", "a bit of the journal flips while the learner is dead", play_flipped_bit),
    Fault("restored", "the run directory is put back to a backup while actors live", play_restored),
)
