"""Runs `dppo train` as a user would and watches it from outside. Knows processes and files; judges nothing."""

import json
import os
import platform
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from dppo.local.child_process import ChildProcess
from dppo.local.exit_diagnosis import last_error
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline
from dppo.protocol.release import RELEASE

SAMPLE_SECONDS = 0.5
END_SECONDS = 30.0  # of a run when the bench is interrupted


@dataclass
class Observed:
    """One run of `dppo train`, watched from outside."""

    seed: int
    summary: dict[str, Any]
    curve: list[dict[str, Any]]
    actor_pss_bytes: list[int] = field(default_factory=list)  # peak of each actor process
    load_before: float = 0.0  # 1-minute load average when it was launched


def observe(
    arguments: Sequence[str], seed: int, seconds: float | None = None, ended: threading.Event | None = None
) -> Observed:
    """Run `dppo train ARGUMENTS` in a directory of its own, to its end or interrupted after that many seconds.

    ended: set from another thread where the bench is interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="dppo-bench-") as directory:
        run = Path(directory) / "run"
        command = ["-m", "dppo.cli", "train", *arguments, "--seed", str(seed)]
        command += ["--run.directory", str(run), "--evaluation-episodes", "0"]
        load = os.getloadavg()[0]
        with (Path(directory) / "output").open("w+") as output, Lifeline() as lifeline:
            process = ChildProcess(command, lifeline, stdout=output, stderr=output, is_command=True)
            try:
                pss = _watch(process, seconds, ended or threading.Event())
            finally:
                code = process.end(END_SECONDS)
            output.seek(0)
            text = output.read().strip()
        if code not in (0, 130) or not (run / "summary.json").exists():
            raise _failure(code, text, f"dppo train {shlex.join([*arguments, '--seed', str(seed)])}")
        summary = json.loads((run / "summary.json").read_bytes())
        metrics = run / "metrics.jsonl"
        curve = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    return Observed(seed, summary, curve, pss, load)


def _failure(code: int, text: str, command: str) -> DppoError:
    """Return what to raise for a run that failed: its own words, and whether its command was wrong."""
    lines = text.splitlines()
    words = last_error(text) or (lines[-1] if lines else f"it {how_it_ended(code)} and printed nothing")
    return (UsageError if code == UsageError.exit_code else DppoError)(f"{words} (said by `{command}`)")


def _watch(process: ChildProcess, seconds: float | None, ended: threading.Event) -> list[int]:
    """Wait for its end, or interrupt it once it has trained that long; returns the peak PSS of each actor."""
    peaks: dict[int, int] = {}
    deadline = None
    started = time.monotonic()
    while process.poll() is None and not ended.is_set():
        for child in _actors_of(process.pid):
            try:
                peaks[child.pid] = max(peaks.get(child.pid, 0), child.memory_full_info().pss)
            except (psutil.Error, AttributeError):  # it ended; or a system that does not count PSS
                continue
        if seconds is not None and deadline is None and peaks:
            deadline = started + seconds + 5.0  # the start is not measured
        if deadline is not None and time.monotonic() > deadline:
            process.send_signal(signal.SIGINT)
            deadline = None
            seconds = None
        time.sleep(SAMPLE_SECONDS)
    return sorted(peaks.values())


def _actors_of(pid: int) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(pid).children() if "dppo.actor" in child.cmdline()]
    except psutil.Error:
        return []


def conditions() -> dict[str, Any]:
    """Return what the figures were measured on, and when."""
    from dppo.learner.storage.provenance import cpu_model

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "release": RELEASE,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }
