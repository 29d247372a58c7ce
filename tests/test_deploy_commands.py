"""`dppo up`, `ps`, `logs`, `scale`, `down` with an engine that starts nothing: records, and refusals in one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import failed, forget_variables, run

import dppo.deploy.commands
from dppo.deploy.engine import Deployment, Plan, Process, Rendered, Report
from dppo.deploy.records import read_deployment, write_deployment
from dppo.protocol.errors import UsageError

FILE = """\
env: {id: CartPole-v1}
run: {directory: runs/x}
actors: 2
deploy: {engine: docker, actor_memory: 1G}
"""


class StandIn:
    """An engine of the five functions; records what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error = ""
        self.over = ""

    def render(self, plan: Plan) -> Rendered:
        return Rendered({"run.yaml": plan.settings}, [["engine", "start", plan.name]])

    def submit(self, plan: Plan, rendered: Rendered) -> Deployment:
        self.asked.append(f"submit {plan.actors}")
        (plan.run / "logs").mkdir(exist_ok=True)
        if self.error:
            raise UsageError(self.error)
        return Deployment("docker", plan.name, str(plan.run), plan.actors, plan.learners, 1.0)

    def status(self, deployment: Deployment) -> Report:
        names = ["learner", *(f"actor-{number}" for number in range(deployment.actors))]
        return Report([Process(name, "running", "h1", 2) for name in names], self.over)

    def scale(self, deployment: Deployment, actors: int) -> None:
        self.asked.append(f"scale {deployment.actors} {actors}")

    def stop(self, deployment: Deployment) -> None:
        self.asked.append("stop")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    monkeypatch.chdir(tmp_path)
    forget_variables(monkeypatch)
    made = StandIn()
    monkeypatch.setattr(dppo.deploy.commands, "engine_of", lambda name: made)
    Path("run.yaml").write_text(FILE)
    return made


def test_a_dry_run_prints_what_would_start_and_writes_nothing(
    engine: StandIn, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("up", "run.yaml", "--dry-run", "--ppo.gamma", "0.9") == 0
    out = capsys.readouterr().out
    assert "  gamma: 0.9\n" in out
    assert out.endswith("$ engine start dppo-x\n")
    assert engine.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_a_deployment_is_recorded_for_its_owner_only_and_needs_only_the_run(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("up", "run.yaml") == 0
    assert "runs/x is up on docker: 1 learner, 2 actors" in capsys.readouterr().out
    for path in (Path("runs/x/deploy.json"), Path("runs/x/deploy/run.yaml"), Path("runs/x/deploy")):
        assert path.stat().st_mode & 0o077 == 0, path

    assert run("ps") == 0
    out = capsys.readouterr().out
    assert "3 of 3 processes run" in out
    assert "  actor-1  h1  running  restarts 2\n" in out

    assert run("scale", "5") == run("scale", "runs/x", "4") == 0
    assert "runs/x: 5 -> 4 actors" in capsys.readouterr().out
    found = read_deployment(Path("runs/x"))
    assert found is not None
    assert found.actors == 4

    assert run("down", "runs/x") == 0
    assert engine.asked == ["submit 2", "scale 2 5", "scale 5 4", "stop"]
    assert "is down already" in failed_after(capsys, "down", "runs/x")


def test_a_learner_is_not_left_without_actors(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("up", "run.yaml", "--learners", "2") == 0
    assert "actors=1 must be at least the 2 learners" in failed_after(capsys, "scale", "1")
    assert run("scale", "2") == 0


def failed_after(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    return failed(capsys, *arguments)


def test_what_fails_leaves_nothing_behind(engine: StandIn, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    engine.error = "the engine refuses"
    assert failed(capsys, "up", "run.yaml") == "the engine refuses"
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_what_fails_leaves_what_was_there_before(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/notes.txt").write_text("mine")
    engine.error = "the engine refuses"
    failed(capsys, "up", "run.yaml")
    assert [path.name for path in Path("runs/x").iterdir()] == ["notes.txt"]


def test_a_run_that_is_up_is_not_started_twice_and_keeps_its_record(
    engine: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("up", "run.yaml") == 0
    assert "runs/x is up already (docker, 2 actors)" in failed_after(capsys, "up", "run.yaml")
    assert read_deployment(Path("runs/x")) is not None
    engine.over = "the run is over"
    assert "is over (the run is over)" in failed_after(capsys, "scale", "3")
    assert run("up", "run.yaml") == 0


def two_deployments() -> None:
    for name in ("x", "y"):
        Path("runs", name).mkdir(parents=True)
        write_deployment(Deployment("docker", name, f"runs/{name}", 1, 1, 1.0))


def damage() -> None:
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/deploy.json").write_text("{")


def nothing() -> None:
    """Leave the folder as it is."""


@pytest.mark.parametrize(
    ("before", "arguments", "said"),
    [
        (nothing, ("ps",), "nothing is deployed below"),
        (nothing, ("scale", "3"), "nothing is deployed below"),
        (nothing, ("down", "runs/none"), "runs/none is not deployed: dppo up FILE does"),
        (nothing, ("scale", "runs/x", "many"), "'many' is not a whole number"),
        (nothing, ("scale", "100001"), "actors=100001 must be from 0 to 100,000"),
        (nothing, ("scale",), "actors is missing"),
        (nothing, ("logs", "--lines", "-1"), "lines=-1 must be at least 0"),
        (nothing, ("up", "none.yaml"), "cannot read none.yaml"),
        (nothing, ("up", "run.yaml", "--actors", "-1"), "actors=-1 must be at least 0"),
        (nothing, ("up", "run.yaml", "--on", "dokcer"), "did you mean docker?"),
        (nothing, ("up", "run.yaml", "--learners", "2", "--advertise", "h1:5555"), "give the host only"),
        (nothing, ("up", "run.yaml", "--bind", "5555"), "5555"),
        (two_deployments, ("down",), "2 deployments are up below runs: "),
        (damage, ("ps", "runs/x"), "runs/x/deploy.json cannot be read"),
    ],
)
def test_wrong_commands_are_one_line(
    engine: StandIn,
    capsys: pytest.CaptureFixture[str],
    before: Callable[[], None],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    before()
    assert said in failed(capsys, *arguments)
    assert engine.asked == []


def test_a_file_with_a_section_for_engines_is_good_for_other_commands_and_a_typing_error_in_it_is_found(
    engine: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPPO_DEPLOY__ENGINE", "slurm")
    assert run("train", "--config", "run.yaml", "--print-config") == 0
    assert "deploy" not in capsys.readouterr().out
    assert run("up", "run.yaml", "--print-config") == 0
    assert "  engine: slurm" in capsys.readouterr().out
    Path("run.yaml").write_text("deploy: {partitoin: main}\n")
    assert "unknown key deploy.partitoin" in failed(capsys, "up", "run.yaml")


def test_logs_are_the_ends_of_files(engine: StandIn, capfd: pytest.CaptureFixture[str]) -> None:
    run("up", "run.yaml")
    Path("runs/x/logs/actor-0.log").write_text("one\ntwo\nthree\n")
    capfd.readouterr()
    assert run("logs", "--lines", "2") == 0
    assert capfd.readouterr().out == "two\nthree\n"


def test_status_is_json_on_request(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    run("up", "run.yaml")
    capsys.readouterr()
    assert run("ps", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["deployment"]["engine"] == "docker"
    assert [process["name"] for process in found["processes"]] == ["learner", "actor-0", "actor-1"]


def test_the_command_line_does_not_import_engines() -> None:
    code = "import sys, dppo.cli; print([name for name in sys.modules if name.startswith('dppo.deploy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def records(name: str, *, ended: bool, submitted: float = 1.0, logs: tuple[str, ...] = (), on: str = "docker") -> None:
    made = Deployment(on, "dppo-x", f"runs/{name}", 1, 1, submitted, ended, logs=list(logs))
    (Path("runs") / name / "logs").mkdir(parents=True)
    write_deployment(made)
    (Path("runs") / name / "logs" / "learner.log").write_text(f"{name}: one\n{name}: two\n")


def test_a_deployment_that_is_down_has_its_logs_though_its_engine_has_none_any_more(
    engine: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    records("x", ended=True, logs=("false",))
    assert run("logs", "runs/x", "--lines", "1", "--follow") == 0
    printed = capfd.readouterr()
    assert printed.out == "x: two\n"
    assert "runs/x is down" in printed.err


def test_where_none_is_up_the_newest_one_is_read(engine: StandIn, capfd: pytest.CaptureFixture[str]) -> None:
    records("old", ended=True, submitted=1.0)
    records("new", ended=True, submitted=2.0)
    assert run("logs", "--lines", "1") == 0
    assert capfd.readouterr().out == "new: two\n"
    records("up", ended=False, submitted=0.0)
    assert run("logs", "--lines", "1") == 0
    assert capfd.readouterr().out == "up: two\n"


def test_a_log_that_is_not_here_is_one_line(engine: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    records("x", ended=False, on="ssh")
    said = failed(capsys, "logs", "--process", "h1.actor-0")
    assert "process=h1.actor-0 has no log" in said
    assert "there are learner; those of actors are on their hosts, in ~/.dppo/dppo-x/logs" in said
    (Path("runs/x/logs/learner.log")).unlink()
    assert "there are no logs in" in failed(capsys, "logs")
