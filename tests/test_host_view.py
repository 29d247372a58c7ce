"""A run in a container shows paths, commands and addresses of its host; its actors have the container's names."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from dppo.local.host_view import HostView, host_view
from dppo.local.launch_texts import again_text
from dppo.local.run_summary import close_run, say_what_is_next
from dppo.local.run_summary_text import next_steps

REPOSITORY = Path(__file__).parent.parent
COMPOSE = HostView("./runs/compose", "docker compose", "http://localhost:6006")
SUMMARY = {
    **{"env": "Pendulum-v1", "reason": "stopped", "updates": 0, "steps": 1000, "episodes": 0, "elapsed_seconds": 1.0},
    "ledger": {"sealed": 0, "trained": 0, "dropped": {}, "pending": 0, "in_flight": 0},
}


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Working directory of a container of compose, with a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPPO_LIFELINE_FD", raising=False)
    for name in ("runs", "compose", "tensorboard"):
        monkeypatch.setenv(f"DPPO_HOST_{name.upper()}", getattr(COMPOSE, name))
    run = tmp_path / "runs" / "x"
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    (run / "ledger.json").write_text("{}")
    return run


def test_paths_below_the_mounted_directory_are_the_hosts() -> None:
    assert COMPOSE.path(Path("runs/x/curve.png")) == Path("runs/compose/x/curve.png")
    assert HostView("/data").path(Path("runs/x")) == Path("/data/x")
    assert COMPOSE.path(Path("/tmp/runs/x")) == Path("/tmp/runs/x")
    assert host_view({}).path(Path("runs/x")) == Path("runs/x")


def test_at_the_start_it_is_said_where_results_and_curves_will_be() -> None:
    run = Path("runs/x")
    assert COMPOSE.places(run) == "results in runs/compose/x, curves on http://localhost:6006"
    assert HostView("/data").places(run) == "results in /data/x"
    assert HostView().places(run) == ""


def test_the_end_of_a_run_names_what_people_can_open(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    close_run(inside, episodes=0)
    say_what_is_next(inside, seeds="")
    shown = capsys.readouterr().out
    assert "  runs/compose/x/ledger.json\n" in shown
    assert "docker compose run --rm learner dppo evaluate runs/x" in shown
    assert "http://localhost:6006" in shown
    assert "DPPO_ARGS='... --run.total-steps 2000' docker compose up" in shown
    assert "tensorboard --logdir" not in shown
    assert again_text("learner", ("--bind", "x"), inside) == "the same command goes on with it: docker compose up"


def test_where_the_host_has_dppo_its_commands_have_the_hosts_paths() -> None:
    text = next_steps(Path("runs/x"), SUMMARY, has_best=False, view=HostView("/home/ada/runs"))
    assert "  dppo evaluate /home/ada/runs/x --video episode.mp4" in text
    assert "  tensorboard --logdir /home/ada/runs " in text


def named(folder: Path, found: str, **environ: str) -> str:
    """Return DPPO_NAME as the entry point of actors sets it, where the engine's DNS answers with that name."""
    answers = {"grep": "exit 0", "hostname": "echo 10.0.0.3", "getent": f"echo '{found}'" if found else "exit 2"}
    for program, answer in answers.items():
        (folder / program).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / program).chmod(0o755)
    script = REPOSITORY / "scripts" / "docker-actor-entrypoint.sh"
    command = ["/bin/sh", str(script), "sh", "-c", 'echo "${DPPO_NAME-none}"']
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        command, env={"PATH": path, **environ}, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("found", "project", "name"),
    [
        ("10.0.0.3 dppo-actor-2.dppo_default", "dppo", "actor-2"),
        ("10.0.0.3      my_x-test-actor-of-1-12.my_x-test_default", "my_x-test", "actor-of-1-12"),
        ("10.0.0.3 dppo-actor-2.dppo_default", "", "dppo-actor-2"),  # older compose
        ("10.0.0.3 happy_turing.lab", "dppo", "happy_turing"),
        ("", "dppo", "none"),
    ],
)
def test_an_actor_is_named_as_compose_names_its_container(tmp_path: Path, found: str, project: str, name: str) -> None:
    assert named(tmp_path, found, COMPOSE_PROJECT_NAME=project) == name


@pytest.mark.parametrize("given", ["lab", ""])
def test_a_name_that_was_given_stays_also_an_empty_one(tmp_path: Path, given: str) -> None:
    assert named(tmp_path, "10.0.0.3 dppo-actor-2.dppo_default", DPPO_NAME=given) == given
