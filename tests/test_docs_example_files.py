"""The files in examples/ run as they stand, each in an empty folder; a notebook's cells as one script."""

import ast
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import REPOSITORY

FOLDER = REPOSITORY / "examples"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SECONDS = 90.0


def cells(notebook: str) -> str:
    """Return the code of a notebook as one script."""
    content = json.loads((FOLDER / notebook).read_text())
    return "\n".join("".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code")


def run(folder: Path, script: Path) -> str:
    """Run a script in that folder; returns what it has printed."""
    surroundings = {**os.environ, "MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_on_the_page_and_none_has_a_run_of_another() -> None:
    page = (REPOSITORY / "docs" / "examples.md").read_text()
    assert set(re.findall(r"\(\.\./examples/([\w.-]+)\)", page)) >= {*SCRIPTS, *NOTEBOOKS}
    texts = [(FOLDER / name).read_text() for name in SCRIPTS] + [cells(name) for name in NOTEBOOKS]
    directories = [found for text in texts for found in re.findall(r'directory="([^"]+)"', text)]
    assert len(directories) == len(set(directories)) >= len(texts)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(notebook: str) -> None:
    content = json.loads((FOLDER / notebook).read_text())
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in content["cells"])
    ast.parse(cells(notebook), notebook)


def test_the_environment_for_compose_is_where_compose_looks() -> None:
    page = (REPOSITORY / "docs" / "examples.md").read_text()
    ((folder, module, name),) = re.findall(r"DPPO_MODULES=\./(\w+) DPPO_ENV=(\w+):(\w+) docker compose up", page)
    assert f"class {name}(gym.Env" in (REPOSITORY / folder / f"{module}.py").read_text()
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    for service in (services["learner"], services["actor"]):
        assert "${DPPO_MODULES:-./envs}:" + service["environment"]["PYTHONPATH"] + ":ro" in service["volumes"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    printed = run(tmp_path, FOLDER / name)
    (directory,) = (tmp_path / "runs").iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["reason"] in printed
    match name:
        case "own_environment.py":
            assert summary["success_rate"] > 0.6
            assert summary["metrics"]["distance"] < 3.0
            assert printed.rstrip().rpartition("\n")[2].startswith("to the goal:")
        case "own_network.py":
            assert summary["mean_return"] > 40  # a pole that nobody balances stands for about 20 steps
        case "own_hooks.py":
            with (directory / "watch.csv").open() as file:
                assert [int(row["updates"]) for row in csv.DictReader(file)] == [*range(1, summary["updates"] + 1)]
        case _:
            pytest.fail(f"{name} has no check of its own here")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_as_it_stands(notebook: str, tmp_path: Path) -> None:
    script = tmp_path / "cells.py"
    script.write_text(cells(notebook))
    run(tmp_path, script)
    assert (tmp_path / "runs" / "both.png").stat().st_size > 10_000
    assert {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()} == {
        "notebook",
        "notebook-short-sighted",
    }
