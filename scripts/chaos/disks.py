"""The disk fills up or becomes read-only under a running learner; checkpoints are damaged while it is down."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from dppo.learner.storage.checkpoint_format import readable_first
from scripts.chaos.cluster import Cluster, Plan, is_root
from scripts.chaos.faults import Fault, Scene, Skip
from scripts.chaos.figures import Figure, at_least, at_most, holds, none_of, reported

DISK_BYTES = 16 * 2**20
RECOVERED_SECONDS = 15.0  # from space or permission until a checkpoint is written again
PATIENCE_SECONDS = 40.0
SAID = r"could not be written|No space left|Read-only|full|read-only"
_LINE = re.compile(r"\| update (\d+) \|")


def play_full(scene: Scene) -> list[Figure]:
    """The file system of the run directory has no byte left; later it has."""
    with _file_system(scene.directory / "disk") as disk, _cluster(scene, disk) as cluster:
        filler = disk / "filler"

        return _under(scene, cluster, lambda: _fill(filler), filler.unlink)


def play_full_with_log(scene: Scene) -> list[Figure]:
    """The learner's own output goes to the full disk as well: it cannot even say so, and goes on."""
    with _file_system(scene.directory / "disk") as disk, _cluster(scene, disk) as cluster:
        cluster.learner.log = disk / "learner.log"
        cluster.start()
        cluster.live(1)
        reached, filler = cluster.watch.newest, disk / "filler"
        _fill(filler)
        _fill(cluster.learner.log)  # to the end of the page that it has already
        cluster.live(scene.pick(5, 20))
        filler.unlink()
        written = _written(cluster)
        back = cluster.until(lambda: _written(cluster) > written, RECOVERED_SECONDS)
        curve = cluster.next_update(RECOVERED_SECONDS)
        return [
            at_most("learner deaths", len(cluster.learner.exits), 0),
            at_least("updates since the disk was full", cluster.watch.newest - reached, 2),
            at_most("first checkpoint afterwards", back, RECOVERED_SECONDS, "s"),
            at_most("curve goes on", curve, RECOVERED_SECONDS, "s"),
            *cluster.finish(),
        ]


def _fill(file: Path) -> None:
    with file.open("ab", buffering=0) as content, contextlib.suppress(OSError):
        while True:
            content.write(bytes(4096))


def play_read_only(scene: Scene) -> list[Figure]:
    """The run directory becomes read-only; later it is writable again."""
    with _file_system(scene.directory / "disk") as disk, _cluster(scene, disk) as cluster:
        run = str(cluster.watch.path)

        def forbid() -> None:
            _mount("--bind", run, run)  # remounting the whole disk is refused while a file is open for writing
            _mount("-o", "remount,bind,ro", run)

        def allow() -> None:
            _call("umount", "--lazy", run)

        return _under(scene, cluster, forbid, allow)


def _under(scene: Scene, cluster: Cluster, begin: Callable[[], None], stop: Callable[[], object]) -> list[Figure]:
    """Training must go on while nothing can be written, say so, and write again afterwards."""
    cluster.start()
    cluster.live(1)
    before = len(cluster.learner.said())
    begin()
    cluster.live(2.5)  # the learner prints every two seconds
    first = _printed(cluster)
    cluster.live(scene.pick(4, 20))
    updates = _printed(cluster) - first
    told = re.findall(SAID, cluster.learner.said()[before:])
    kept, written = len(_checkpoints(cluster)), _written(cluster)
    deaths = len(cluster.learner.exits)
    stop()
    back = cluster.until(lambda: _written(cluster) > written, RECOVERED_SECONDS)
    curve = cluster.next_update(RECOVERED_SECONDS)
    return [
        at_least("updates while nothing could be written", updates, 1),
        holds("said aloud", bool(told)),
        at_most("learner deaths", deaths, 0),
        at_least("older checkpoints kept", kept, 1),
        at_most("first checkpoint afterwards", back, RECOVERED_SECONDS, "s"),
        at_most("curve goes on", curve, RECOVERED_SECONDS, "s"),
        *cluster.finish(),
    ]


def play_damaged(scene: Scene) -> list[Figure]:
    """The newest checkpoint is cut short, then one with a flipped bit, then all of them are."""
    figures = []
    settings = ("--run.checkpoint-seconds", "1")
    plan = Plan(actors=2, settings=settings, harmless=r"Falling back|checkpoints? .*cannot be read|can be read")
    with Cluster(scene.directory, plan) as cluster:
        cluster.start()
        for name, damage in (("cut short", _cut_short), ("with a flipped bit", _flip)):
            cluster.live(1)
            figures += _restart_after(scene, cluster, name, damage)
        cluster.live(1)
        _kill(cluster)
        run = cluster.watch.path
        whole = cluster.directory / "whole"
        shutil.copytree(run / "checkpoints", whole)
        for checkpoint in _checkpoints(cluster):
            _flip(checkpoint)
        cluster.learner.start()
        exits = len(cluster.learner.exits)
        cluster.until(lambda: len(cluster.learner.exits) > exits, PATIENCE_SECONDS)
        codes = cluster.learner.exits[exits:]
        last = cluster.learner.said().strip().splitlines()[-1]
        figures.append(holds("no readable checkpoint: an error, not a start from scratch", codes == [1], f"{codes}"))
        figures.append(holds("in one line", last.startswith("dppo: error:"), last))
        cluster.learner.exits.remove(1)  # that was asked for
        shutil.rmtree(run / "checkpoints")
        whole.rename(run / "checkpoints")
        cluster.learner.start()
        back = cluster.next_policy(PATIENCE_SECONDS, after=cluster.learner.started_at)
        figures.append(at_most("restored from a copy: start to the first policy", back, scene.within(5), "s"))
        cluster.next_update(PATIENCE_SECONDS)
        problems = [line for line in cluster.learner.said().splitlines() if "dppo: error:" in line]
        return [*figures, none_of("other errors", problems[1:]), *cluster.finish()]


def _restart_after(scene: Scene, cluster: Cluster, name: str, damage: Callable[[Path], None]) -> list[Figure]:
    _kill(cluster)
    newest = _checkpoints(cluster)[0]
    damage(newest)
    said = len(cluster.learner.said())
    cluster.learner.start()
    back = cluster.next_policy(PATIENCE_SECONDS, after=cluster.learner.started_at)
    told = cluster.learner.said()[said:]
    cluster.next_update(PATIENCE_SECONDS)
    return [
        at_most(f"newest {name}: start to the first policy", back, scene.within(5), "s"),
        holds(f"newest {name}: named", newest.name in told and "Falling back" in told),
        reported(f"newest {name}: went on from", "".join(re.findall(r"after update \d+", told)[:1]) or None),
    ]


def _kill(cluster: Cluster) -> None:
    """The learner is dead, and stays so, when this returns."""
    learner = cluster.learner
    learner.restart_seconds = None
    learner.kill()
    cluster.until(lambda: not learner.alive, PATIENCE_SECONDS)


def _cut_short(checkpoint: Path) -> None:
    file = _tensors(checkpoint)
    with file.open("r+b") as content:
        content.truncate(file.stat().st_size // 2)


def _flip(checkpoint: Path) -> None:
    file = _tensors(checkpoint)
    content = bytearray(file.read_bytes())
    content[-len(content) // 4] ^= 1
    file.write_bytes(content)


def _tensors(checkpoint: Path) -> Path:
    """The file that they are in: a recent checkpoint is one file, a lasting one a directory."""
    return checkpoint if checkpoint.is_file() else checkpoint / "state.safetensors"


def _checkpoints(cluster: Cluster) -> list[Path]:
    """In the order in which a learner tries them."""
    return readable_first(cluster.watch.path / "checkpoints")


def _written(cluster: Cluster) -> int:
    """Time at which the newest checkpoint was written, in nanoseconds; 0 for none."""
    times = []
    for path in _checkpoints(cluster):
        with contextlib.suppress(FileNotFoundError):  # just replaced
            times.append(path.stat().st_mtime_ns)
    return max(times, default=0)


def _printed(cluster: Cluster) -> int:
    """The newest update in the learner's own words: its files say nothing while they cannot be written."""
    return int((_LINE.findall(cluster.learner.said()) or ["0"])[-1])


def _cluster(scene: Scene, disk: Path) -> Cluster:
    plan = Plan(actors=2, harmless=r"could not be written|not be (written|opened)|No space|Read-only", run=disk / "run")
    return Cluster(scene.directory, plan)


@contextlib.contextmanager
def _file_system(path: Path) -> Iterator[Path]:
    """A small file system of its own. Raises Skip where none can be made."""
    if not is_root() or shutil.which("mount") is None:
        raise Skip("needs root and mount, for a file system that may be filled")
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path))
    except subprocess.CalledProcessError as error:
        raise Skip(f"no tmpfs can be mounted here: {error.stderr.decode().strip()}") from None
    try:
        yield path
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            while True:  # what was mounted below it first
                _call("umount", "--recursive", "--lazy", str(path))


def _mount(*arguments: str) -> None:
    _call("mount", *arguments)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


FAULTS = (
    Fault("disk-full", "no byte left on the run's disk, then space again", play_full),
    Fault("disk-full-log", "the same, with the learner's own output on that disk", play_full_with_log),
    Fault("read-only", "the run directory becomes read-only, then writable again", play_read_only),
    Fault("damaged", "checkpoints cut short, a bit flipped, all damaged", play_damaged),
)
