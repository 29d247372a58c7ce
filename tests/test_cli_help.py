"""Help: every command and setting is in it, and it is quick."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import forget_variables, run

from dppo.learner.config import LearnerConfig
from dppo.settings.fields import settings_of

HEAVY = ("torch", "gymnasium", "onnxruntime", "matplotlib", "numpy", "zmq", "rich", "tyro")
HEAVIER_THAN_HELP = ("msgspec", "hashlib", "multiprocessing")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # without runs of whoever tests
    forget_variables(monkeypatch)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for command in ("train", "learner", "actor", "evaluate", "plot", "bench solve", "bench preset", "bench throughput"):
        assert f"\n  {command} " in out


def test_no_command_is_help_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == run("bench") == 2
    assert "usage: dppo COMMAND" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("dppo 0.")


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = f"""
import sys
from dppo.cli import main
try: main(["--help"])
except SystemExit: pass
print([name for name in {HEAVY + HEAVIER_THAN_HELP} if name in sys.modules], file=sys.stderr)
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert time.monotonic() - start < 5  # 0.1 s on a quiet machine


def test_a_run_starts_its_processes_before_anything_heavy_is_imported() -> None:
    modules = "sys, dppo.local.train, dppo.local.actor_group"
    code = f"import {modules}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["train", "learner"])
def test_help_mentions_every_setting_with_text(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run(command, "--help") == 0
    out = capsys.readouterr().out
    for path in settings_of(LearnerConfig):
        assert f"--{path.replace('_', '-')}" in out
    assert "Weight of the entropy bonus." in out
    assert "--preset" in out
    assert "--config" in out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("actor",), ("--join", "--join-file", "--learner", "--name", "--envs")),
        (("token", "list"), ("Run directory",)),
        (("token", "add"), ("NAME", "--expires", "--address")),
        (("token", "rotate"), ("--name", "--keep", "--expires")),
        (("token", "revoke"), ("NAME", "or id")),
        (("token", "show"), ("Run directory",)),
        (("evaluate",), ("--episodes", "--json", "Run directory")),
        (("plot",), ("--output", "{steps,time,both}", "--from", "--timeline")),
        (("bench", "solve"), ("--seeds", "--actors")),
        (("bench", "preset"), ("--seeds", "--output")),
        (("bench", "throughput"), ("--seconds", "--output")),
    ],
)
def test_every_command_has_help(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)
