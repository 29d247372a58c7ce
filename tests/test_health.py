"""The healthcheck as docker runs it: a process, an environment variable, a file."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dppo.ops.healthcheck import FRESH_SECONDS, verdict
from dppo.protocol.process.heartbeat_file import HealthFile


def touched(path: Path, at_seconds: float) -> Path:
    path.touch()
    os.utime(path, (at_seconds, at_seconds))
    return path


def run_healthcheck(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dppo.ops.healthcheck"], env=env, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_heartbeat_is_fresh_until_the_limit_and_hung_from_then_on(tmp_path: Path) -> None:
    heartbeat = touched(tmp_path / "health", at_seconds=1000.0)
    assert verdict(heartbeat, now_seconds=1000.0 + FRESH_SECONDS - 0.1)[0]
    healthy, line = verdict(heartbeat, now_seconds=1000.0 + FRESH_SECONDS)
    assert not healthy
    assert "15.0 s ago" in line


def test_a_clock_that_was_set_back_does_not_make_a_process_unhealthy(tmp_path: Path) -> None:
    assert verdict(touched(tmp_path / "health", at_seconds=5000.0), now_seconds=1000.0)[0]


def test_before_the_first_heartbeat_the_check_fails_and_names_the_file(tmp_path: Path) -> None:
    healthy, line = verdict(tmp_path / "health", now_seconds=1000.0)
    assert not healthy
    assert str(tmp_path / "health") in line


def test_the_process_exits_0_for_a_fresh_file_and_1_for_an_old_one(tmp_path: Path) -> None:
    heartbeat = tmp_path / "health"
    heartbeat.touch()
    assert run_healthcheck(DPPO_HEALTH_FILE=str(heartbeat)).returncode == 0
    touched(heartbeat, at_seconds=1000.0)
    result = run_healthcheck(DPPO_HEALTH_FILE=str(heartbeat))
    assert (result.returncode, result.stdout.split(":")[0]) == (1, "hung")


def test_without_the_variable_the_check_says_what_to_set() -> None:
    result = run_healthcheck()
    assert result.returncode == 1
    assert "DPPO_HEALTH_FILE" in result.stdout
    assert result.stderr == ""


def test_a_file_that_cannot_be_touched_is_said_once_and_does_not_end_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "health"
    monkeypatch.setenv("DPPO_HEALTH_FILE", str(file))
    health = HealthFile()

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", read_only)
        for now in (1.0, 2.5, 4.0):
            health.touch(now)
    assert [record.getMessage() for record in caplog.records] == [
        f"DPPO_HEALTH_FILE={file} cannot be touched: Read-only file system"
    ]
    health.touch(5.5)
    assert file.exists()
