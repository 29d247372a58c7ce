"""Engines and the programs that they call: stand-ins on PATH note their arguments and answer as the real ones do."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_deploy_rendering import plan

from dppo.deploy.engine import Deployment, Plan
from dppo.deploy.engines import engine_of
from dppo.protocol.errors import UsageError

SCRIPT = """\
#!/bin/sh
echo "{name} $*" >>"{folder}/calls"
{answer}
"""
POD = {"metadata": {"name": "dppo-pole-actor-1"}, "spec": {"nodeName": "n1"}}
LEARNER_POD = {"metadata": {"name": "dppo-pole-learner-0"}, "spec": {"nodeName": "n2"}}


class Programs:
    """Stand-ins for programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def answer(self, name: str, answer: str) -> None:
        """Have the program run these lines of shell."""
        path = self.folder / name
        path.write_text(SCRIPT.format(name=name, folder=self.folder, answer=answer))
        path.chmod(0o700)

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Programs(folder)


@pytest.fixture
def wanted(tmp_path: Path) -> Callable[..., Plan]:
    """Make a plan whose run directory is a temporary one, with its files written."""

    def make(**deploy: Any) -> Plan:
        base = plan(**deploy)
        made = Plan(**{**vars(base), "run": tmp_path / "runs" / "pole", "directory": tmp_path})
        made.folder.mkdir(parents=True)
        return made

    return make


def submitted(wanted: Plan) -> Deployment:
    engine = engine_of(wanted.deploy.engine)
    return engine.submit(wanted, engine.render(wanted))


def test_k8s_makes_secrets_from_files_and_tells_no_program_what_is_in_them(
    programs: Programs, wanted: Callable[..., Plan]
) -> None:
    programs.answer("kubectl", "")
    made = wanted(engine="k8s", namespace="lab")
    deployment = submitted(made)
    calls = programs.calls()
    assert calls[-1] == f"kubectl --namespace=lab apply --kustomize={made.folder}"
    keys = {path.name: path.read_text().strip() for path in (made.run / "access").iterdir() if path.stat().st_size}
    assert keys["join"].endswith("@dppo-pole-learner.lab.svc:5555")
    for secret in (keys["server.key"], keys["first.key"], keys["join"]):
        assert secret not in "\n".join(calls)
    assert deployment.handle == {"namespace": "lab", "workload": "statefulset"}


def test_what_kubernetes_refuses_is_taken_back_whole(programs: Programs, wanted: Callable[..., Plan]) -> None:
    programs.answer("kubectl", 'case "$*" in *apply*kustomize*) echo "denied by policy" >&2; exit 1 ;; esac')
    with pytest.raises(UsageError, match=r"kubectl --namespace=default failed: denied by policy"):
        submitted(wanted(engine="k8s"))
    undone = [call for call in programs.calls() if " delete " in call]
    assert len(undone) == 3, "objects, secrets, and the volume, which was new"


def test_what_is_there_already_is_not_taken_back(programs: Programs, wanted: Callable[..., Plan]) -> None:
    programs.answer("kubectl", 'case "$*" in *"get secrets"*) echo secret/dppo-pole-join ;; esac')
    with pytest.raises(UsageError, match="namespace default has dppo-pole already"):
        submitted(wanted(engine="k8s"))
    assert not any(" delete " in call or " apply " in call for call in programs.calls())


def test_states_of_pods(programs: Programs) -> None:
    waiting = {"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    pods = [
        {**POD, "status": {"phase": "Running", "containerStatuses": [waiting]}},
        {**LEARNER_POD, "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}},
    ]
    (programs.folder / "pods").write_text(json.dumps({"items": pods}))
    programs.answer("kubectl", f'cat "{programs.folder}/pods"')
    deployment = Deployment("k8s", "dppo-pole", "/x", 1, 1, 0.0, handle={"namespace": "lab", "workload": "statefulset"})
    report = engine_of("k8s").status(deployment)
    assert report.over == ""
    learner, actor = report.processes
    assert (learner.name, learner.state, learner.host) == ("learner-0", "running", "n2")
    assert (actor.name, actor.state, actor.restarts, actor.note) == ("actor-1", "waiting", 3, "CrashLoopBackOff")


def test_a_learner_whose_actors_slurm_refuses_is_cancelled(programs: Programs, wanted: Callable[..., Plan]) -> None:
    programs.answer("squeue", "")
    programs.answer("scancel", "")
    programs.answer(
        "sbatch", 'case "$*" in *array*) echo "sbatch: error: invalid partition" >&2; exit 1 ;; *) echo 17 ;; esac'
    )
    with pytest.raises(UsageError, match="invalid partition"):
        submitted(wanted(engine="slurm", slurm_layout="elastic"))
    assert programs.calls()[-1] == "scancel 17"
    assert any("--dependency=after:17" in call for call in programs.calls())


def test_slurm_scales_by_numbers_in_the_array(programs: Programs) -> None:
    queue = "17|dppo-pole-learner|RUNNING|n0|None\n18_0|dppo-pole-actor|RUNNING|n1|None\n"
    queue += "18_1|dppo-pole-actor|PENDING||Resources\n"
    programs.answer("squeue", f"printf '{queue}'")
    programs.answer("scancel", "")
    programs.answer("sbatch", "echo 19")
    handle = {"learner": "17", "layout": "elastic"}
    deployment = Deployment("slurm", "dppo-pole", "/x", 2, 1, 0.0, handle=handle)
    engine = engine_of("slurm")

    states = {process.name: (process.state, process.host) for process in engine.status(deployment).processes}
    assert states == {"learner": ("running", "n0"), "actor-0": ("running", "n1"), "actor-1": ("waiting", "")}
    engine.scale(deployment, 4)
    assert programs.calls()[-1] == "sbatch --parsable --array=2,3 --dependency=after:17 /x/deploy/actors.sh"
    engine.scale(deployment, 1)
    assert programs.calls()[-1] == "scancel 18_1"


def test_a_heterogeneous_job_cannot_be_scaled(programs: Programs) -> None:
    deployment = Deployment("slurm", "x", "/x", 2, 1, 0.0, handle={"learner": "17", "layout": "heterogeneous"})
    with pytest.raises(UsageError, match="has the actors that it was submitted with"):
        engine_of("slurm").scale(deployment, 3)
    assert programs.calls() == []


@pytest.mark.parametrize("engine", ["docker", "slurm", "k8s"])
def test_a_program_that_is_not_installed_is_one_line(
    engine: str, wanted: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "docker-compose.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is not installed here") as caught:
        submitted(wanted(engine=engine))
    assert "\n" not in str(caught.value)


def test_a_docker_project_of_that_name_is_left_alone(
    programs: Programs, wanted: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "docker-compose.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    container = json.dumps({"Service": "learner", "Name": "dppo-pole-learner-1", "State": "running"})
    programs.answer("docker", f'case "$*" in *" ps "*) echo \'{container}\' ;; esac')
    with pytest.raises(UsageError, match="there is a compose project dppo-pole already"):
        submitted(wanted(engine="docker"))
    assert not any(" down " in call or " up " in call for call in programs.calls())


def test_a_docker_project_that_does_not_start_is_taken_down_and_its_learner_quoted(
    programs: Programs, wanted: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "docker-compose.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    programs.answer(
        "docker",
        'case "$*" in *" up "*) echo "container is unhealthy" >&2; exit 1 ;; '
        '*" logs "*) echo "dppo: error: no such environment" ;; esac',
    )
    with pytest.raises(UsageError, match=r"unhealthy; the learner: dppo: error: no such environment"):
        submitted(wanted(engine="docker"))
    assert programs.calls()[-1].endswith(" down --volumes")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that the learner of another user could not read")
def test_what_root_makes_in_a_users_directory_belongs_to_that_user_as_whom_the_learner_runs(
    programs: Programs, wanted: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "docker-compose.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    programs.answer("docker", "")
    made = wanted(engine="docker")
    made.folder.mkdir(parents=True, exist_ok=True)
    made.folder.joinpath("run.yaml").touch(mode=0o600)
    os.chown(made.run.parent, 4321, 4322)
    submitted(made)
    for path in (made.run, made.folder, made.folder / "run.yaml"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322)


def test_docker_keeps_the_logs_of_containers_and_says_which_are_not_whole(programs: Programs, tmp_path: Path) -> None:
    containers = [{"Service": name, "Name": f"dppo-x-{name}-1", "State": "exited"} for name in ("learner", "actor")]
    rows = "\n".join(map(json.dumps, containers))
    programs.answer(
        "docker",
        f'case "$*" in *" ps "*) echo \'{rows}\' ;; '
        '*"logs"*"learner-1") echo "trained" ;; *"logs"*"actor-1") echo "half"; exit 3 ;; esac',
    )
    run_directory = tmp_path / "runs" / "x"
    run_directory.mkdir(parents=True)
    handle = {"compose_file": "/x/docker-compose.yml"}
    engine_of("docker").stop(Deployment("docker", "dppo-x", str(run_directory), 1, 1, 0.0, handle=handle))
    assert (run_directory / "logs" / "learner-1.log").read_text() == "trained\n"
    cut = (run_directory / "logs" / "actor-1.log").read_text()
    assert cut == "half\ndppo down: this log is not whole: docker ended with code 3\n"
    asked = [next(word for word in call.split() if word in ("stop", "logs", "down", "ps")) for call in programs.calls()]
    assert asked == ["stop", "ps", "logs", "logs", "down"], "what it logs at its end is kept, too"


def test_kubernetes_keeps_the_logs_of_pods(programs: Programs, tmp_path: Path) -> None:
    programs.answer("kubectl", 'case "$*" in *"get pods"*) echo pod/dppo-x-learner-0 ;; *logs*) echo "trained" ;; esac')
    handle = {"namespace": "lab", "workload": "statefulset"}
    engine_of("k8s").stop(Deployment("k8s", "dppo-x", str(tmp_path), 1, 1, 0.0, handle=handle))
    assert (tmp_path / "logs" / "learner-0.log").read_text() == "trained\n"
