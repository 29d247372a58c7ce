"""`dppo up --on slurm` on a real Slurm; skipped where there is none."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from deployments import SETTINGS, Deployed, eventually

REQUEUE_SECONDS = 240.0  # SlurmdTimeout, until the node counts as dead; then cred_expire, until the job may start again
NODE_VARIABLE = "SLURMD_NODENAME"  # in the environment of every process of a job


class Node:
    """A node whose slurmd runs on this machine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kill(self) -> None:
        """End all at once that runs on it, as when its power fails: nothing is reported to Slurm."""
        tasks = [process for process in psutil.process_iter() if self._is_task(process)]
        steps = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and any(child in tasks for child in process.children()):
                    steps.append(process)
        # in this order: the former would report the end of the latter
        for process in (*self._daemons(), *steps, *tasks):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def start(self) -> None:
        """Have it back, if it is not there."""
        if not self._daemons():
            subprocess.run(["slurmd", "-N", self.name], capture_output=True, timeout=20, check=True)

    def is_idle(self) -> bool:
        """Whether it takes jobs."""
        said = subprocess.run(
            ["sinfo", "--noheader", f"--nodes={self.name}", "--format=%T"], capture_output=True, text=True, check=True
        )
        return said.stdout.strip() == "idle"

    def _daemons(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                if process.name() == "slurmd" and process.cmdline()[-2:] == ["-N", self.name]:
                    found.append(process)
        return found

    def _is_task(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(NODE_VARIABLE) == self.name
        except (psutil.Error, OSError):
            return False


def why_not() -> str:
    if shutil.which("sinfo") is None:
        return "needs Slurm (no sinfo on PATH)"
    done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=20, check=False)
    why = (done.stderr.strip().splitlines() or ["no partition"])[-1]
    return "" if done.returncode == 0 and done.stdout else f"needs Slurm ({why})"


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    if why := why_not():
        pytest.skip(why)
    made = Deployed(tmp_path, SETTINGS + "deploy: {engine: slurm, name: dppo-test}\n")
    yield made
    for name in ("dppo-test", "dppo-test-learner", "dppo-test-actor"):
        subprocess.run(["scancel", "--me", f"--name={name}"], capture_output=True, check=False)
    made.kill_all()


@pytest.mark.slow
def test_an_array_of_actors_trains_and_is_scaled(deployed: Deployed) -> None:
    deployed.dppo("up", "run.yaml", "--deploy.slurm-layout", "elastic")
    eventually("it trains", lambda: deployed.updates() > 1)
    assert "already" in deployed.dppo("up", "run.yaml", code=2)

    deployed.dppo("scale", "2")
    eventually("two actors", lambda: deployed.running() == {"learner", "actor-0", "actor-1"})
    deployed.dppo("scale", "1")
    eventually("one actor", lambda: deployed.running() == {"learner", "actor-0"})

    deployed.dppo("down")
    eventually("nothing is left", lambda: deployed.left() == [])


@pytest.fixture
def nodes() -> Iterator[dict[str, Node]]:
    """The cluster's nodes by name, all of which take jobs; those that a test has killed come back."""
    if why := why_not():
        pytest.skip(why)
    if os.geteuid() != 0:
        pytest.skip("needs root, to kill a node")
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%N"], capture_output=True, text=True, timeout=20, check=True
    )
    found = {name: Node(name) for name in sorted(set(done.stdout.split()))}
    if len(found) < 3 or not all(node._daemons() for node in found.values()):
        pytest.skip("needs a cluster of three nodes on this machine, as .ci/run brings up")
    yield found
    for node in found.values():
        node.start()
        eventually(f"{node.name} is back", node.is_idle, REQUEUE_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_actors_of_a_node_that_dies_are_requeued_on_others_and_the_run_goes_on(
    nodes: dict[str, Node], deployed: Deployed
) -> None:
    sizes = ("--deploy.learner-cpus", "1", "--deploy.actor-cpus", "2")  # so that they do not all fit on one node
    actors = {"actor-0", "actor-1", "actor-2"}
    deployed.dppo("up", "run.yaml", "--deploy.slurm-layout", "elastic", "--actors", "3", *sizes)
    eventually("all run", lambda: deployed.running() == {"learner", *actors}, REQUEUE_SECONDS)
    eventually("it trains", lambda: deployed.updates() > 0)

    place = {name: process["host"] for name, process in deployed.processes().items()}
    victim = next(host for name, host in sorted(place.items()) if host != place["learner"])
    moved = {name for name in actors if place[name] == victim}
    assert moved < actors, "one goes on meanwhile"
    before = deployed.updates()
    nodes[victim].kill()
    eventually("it trains without them", lambda: deployed.updates() > before + 1)

    def are_moved() -> bool:
        now = deployed.processes()
        return now.keys() >= moved and all(now[name]["host"] != victim for name in moved)

    eventually("all run again", lambda: deployed.running() == {"learner", *actors} and are_moved(), REQUEUE_SECONDS)
    logs = deployed.folder / "runs" / "x" / "logs"
    joined = f"{min(moved)} joined"
    eventually("the learner has them back", lambda: (logs / "learner.log").read_text().count(joined) == 2)
    before = deployed.updates()
    eventually("it trains with them", lambda: deployed.updates() > before)

    deployed.dppo("down")
    eventually("nothing is left", lambda: deployed.left() == [])
    assert "in flight: closed" in deployed.dppo("ledger", "runs/x")


@pytest.mark.slow
def test_a_heterogeneous_job_goes_to_the_end_of_its_run(deployed: Deployed) -> None:
    deployed.dppo("up", "run.yaml", "--actors", "2", "--run.total-steps", "4096")
    summary = deployed.folder / "runs" / "x" / "summary.json"
    eventually("the run is over", summary.exists)
    eventually("its job has ended", lambda: "no job of it is queued" in deployed.dppo("ps", "runs/x"))
    assert "actor-1 ends" in (deployed.folder / "runs" / "x" / "logs" / "actor-1.log").read_text()
    assert "heterogeneous" not in deployed.dppo("scale", "3", code=2), "it is over, which counts more"


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["heterogeneous", "elastic"])
def test_two_learners_of_a_job_train_one_policy_to_the_end_of_the_run(deployed: Deployed, layout: str) -> None:
    wanted = ("--learners", "2", "--actors", "2", "--run.total-steps", "4096", "--deploy.slurm-layout", layout)
    deployed.dppo("up", "run.yaml", *wanted)
    run = deployed.folder / "runs" / "x"
    eventually("the run is over", (run / "summary.json").exists)
    eventually("its jobs have ended", lambda: "no job of it is queued" in deployed.dppo("ps", "runs/x"))
    assert "joined the learner" in (run / "logs" / "actor-1.log").read_text()
    assert (run / "ranks" / "1" / "access" / "join").exists()
    assert json.loads((run / "ledger.json").read_bytes())["closed_incarnations"] == 2


@pytest.mark.slow
def test_an_unknown_partition_is_one_line_and_nothing_stays(deployed: Deployed) -> None:
    said = deployed.dppo("up", "run.yaml", "--deploy.partition", "none", code=2)
    assert "sbatch" in said
    assert "partition" in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in deployed.folder.iterdir()] == ["run.yaml"]
