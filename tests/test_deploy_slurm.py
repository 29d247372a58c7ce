"""`dppo up --on slurm` on a real Slurm; skipped where there is none."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import SETTINGS, Deployed, eventually


def why_not() -> str:
    if shutil.which("sinfo") is None:
        return "needs Slurm (no sinfo on PATH)"
    done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=20, check=False)
    return "" if done.returncode == 0 and done.stdout else f"needs Slurm ({done.stderr.strip() or 'no partition'})"


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
