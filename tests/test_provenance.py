"""Provenance: what a start runs on is noted in the run directory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dppo.learner.storage import provenance, run_directory
from dppo.learner.storage.run_directory import RunDirectory


def test_what_a_start_runs_on_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "provenance", provenance.provenance)
    with RunDirectory.open(tmp_path) as run:
        record = json.loads((run.path / "environment.json").read_bytes())
    assert record == json.loads((tmp_path / "environment.json").read_text())
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["cpus"] >= record["usable_cpus"] >= 1
    assert record["versions"]["numpy"].count(".") == 2
    assert "torch" in record["versions"]


def test_a_distribution_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "DISTRIBUTIONS", ("no-such-distribution",))
    assert provenance.provenance()["versions"]["no-such-distribution"] is None


def test_the_revision_is_of_this_checkout_or_none(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    checkout = tmp_path.resolve()
    assert provenance.git_revision(checkout) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    revision = git("rev-parse", "HEAD")
    assert provenance.git_revision(checkout) == revision
    (tmp_path / "file").write_text("two")
    assert provenance.git_revision(checkout) == f"{revision}+changes"
    (tmp_path / "site-packages").mkdir()  # of a virtual environment inside somebody's checkout
    assert provenance.git_revision(checkout / "site-packages") is None
