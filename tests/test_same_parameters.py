"""With even shares and quota the parameters do not depend on how environments are divided among actors, to the bit."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

HERE = Path(__file__).parent
DIVISIONS = ((1, 8), (2, 4), (4, 2), (0, 8))  # actors, environments of each; 0: in one process


def parameters_of(run: Path) -> str:
    """SHA-256 of all tensors of the newest checkpoint."""
    newest = max(path for path in (run / "checkpoints").iterdir() if path.name.isdecimal())
    digest = hashlib.sha256()
    for file in sorted(newest.glob("*.safetensors")):
        for name, array in sorted(load_file(file).items()):
            digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def train(directory: Path, actors: int, envs: int, *flags: str, rule: str = "even_shares") -> str:
    command = [
        *(sys.executable, "-m", "dppo.cli", "train", "--preset", "none", "--run.directory", str(directory)),
        *("--actors", str(actors), "--collect.envs-per-actor", str(envs), "--collect.rule", rule),
        *("--collect.batch-steps", "512", "--run.total-steps", "4000", "--ppo.epochs", "2"),
        *("--evaluation-episodes", "0", "--run.tensorboard", "false", *flags),
    ]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE.parent), str(HERE)))}
    done = subprocess.run(command, cwd=directory.parent, env=place, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return parameters_of(directory)


@pytest.mark.thin(2)
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("env", "vectorization"),
    [("CartPole-v1", "sync"), ("simulators:Regular-v0", "native"), ("simulators:Regular-v0", "sync")],
)
def test_every_division_gives_the_same_parameters(tmp_path: Path, env: str, vectorization: str) -> None:
    flags = ("--env", env, "--env.vectorization", vectorization)
    found = {division: train(tmp_path / f"{division[0]}x{division[1]}", *division, *flags) for division in DIVISIONS}
    assert len(set(found.values())) == 1, found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_native_environment_with_one_generator_gives_the_same_parameters_each_time(tmp_path: Path) -> None:
    flags = ("--env", "CartPole-v1", "--env.vectorization", "native")
    found = [
        train(tmp_path / str(number), *division, *flags) for number, division in enumerate([(1, 8), (1, 8), (0, 8)])
    ]
    assert len(set(found)) == 1, found


def versions_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "versions.jsonl").read_text().splitlines()]


def delayed(file: Path, *, fatal_slot: int = -1) -> tuple[str, ...]:
    kwargs = {"slot": "{slot}", "fatal_slot": fatal_slot, "fatal_step": 100, "file": str(file)}
    return "--env", "delayed_env:make", "--env.kwargs", json.dumps(kwargs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_under_quota_every_version_is_the_same_in_every_division(tmp_path: Path) -> None:
    found = {}
    for actors, envs in (*DIVISIONS, (8, 1)):
        run = tmp_path / f"{actors}x{envs}"
        train(run, actors, envs, *delayed(tmp_path / "none"), rule="quota")
        found[actors, envs] = versions_of(run)
    assert all(versions == found[0, 8] for versions in found.values()), found
    assert len(found[0, 8]) == 8
    assert found[0, 8][-1]["lives"] == [[0, 8, 0]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_under_quota_every_version_is_the_same_where_an_actor_is_killed_at_the_same_step(tmp_path: Path) -> None:
    """Its hundredth step is in the middle of the second batch, of 64 steps of each environment."""
    found = []
    for number in range(2):
        run = tmp_path / str(number)
        train(run, 2, 4, *delayed(tmp_path / f"killed-{number}", fatal_slot=5), rule="quota")
        assert (tmp_path / f"killed-{number}").exists()
        found.append(versions_of(run))
    assert found[0] == found[1]
    assert [line["lives"] for line in found[0][:3]] == [[[0, 8, 0]], *[[[0, 4, 0], [4, 8, 1]]] * 2]
