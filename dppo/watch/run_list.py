"""List of runs, newest first, each with its state; for users who name none, or one that is not there.

Reads directories and changes nothing: it takes no lock, so that no learner that starts meanwhile is refused.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dppo.learner.telemetry.status import SUMMARY
from dppo.protocol.errors import UsageError
from dppo.protocol.texts import printable
from dppo.settings.fields import nearest_name
from dppo.settings.yaml_text import YAMLError, load

ROOT = Path("runs")
MOST_DEEP = 3  # runs/compose/Pendulum-v1, runs/sweep/a/b
MOST_LISTED = 20
MOST_LOOKED_AT = 2000  # directories: a folder of runs may hold anything
SUMMARY_SECONDS = 60.0  # that may pass between the last update and the summary
Ended = Literal["interrupted", "failed", "stopped"]  # before its time; first words of reasons in summary.json
State = Ended | Literal["running", "finished", "without a policy"]
ENDED: tuple[Ended, ...] = get_args(Ended)
MARKS = ("run.json", "config.yaml", "policy.onnx")
CHANGING = (SUMMARY, "metrics.jsonl", "policy.onnx", "config.yaml", "run.json")


@dataclass(frozen=True)
class FoundRun:
    """One run directory."""

    path: Path
    changed: float  # seconds since 1970
    env: str  # "" where config.yaml does not say
    state: State
    steps: int | None = None  # where it ended; None: unknown, or it has not

    def line(self, now: float) -> str:
        """Return one line for the list."""
        state = self.state if self.steps is None else f"{self.state} after {self.steps:,} steps"
        return f"  {self.path}  {self.env or 'unknown environment'}, {state}, {ago(now - self.changed)}"


def find_runs(root: Path = ROOT) -> list[FoundRun]:
    """Return the runs below a directory, newest first."""
    locked = _locked_inodes()
    found = [look_at(path, locked) for path in _directories(root)]
    return sorted(found, key=lambda run: -run.changed)


def no_run_named(command: str, setting: str) -> UsageError:
    """List the runs there are on standard error; return the error that asks for one of them."""
    runs = find_runs()
    if not runs:
        return UsageError(
            f"{setting} is missing: see dppo {command} --help. There are no runs in {ROOT.absolute()}: "
            "`dppo train` makes one"
        )
    now = time.time()
    print(f"runs in {ROOT}, newest first:", file=sys.stderr)
    for run in runs[:MOST_LISTED]:
        print(run.line(now), file=sys.stderr)
    if len(runs) > MOST_LISTED:
        print(f"  and {len(runs) - MOST_LISTED} more", file=sys.stderr)
    return UsageError(f"{setting} is missing: see dppo {command} --help. The newest: dppo {command} {runs[0].path}")


def check_run(run: str) -> Path:
    """Return the directory (or file) that a user named. Raises UsageError, with the nearest run that there is."""
    path = Path(run)
    try:
        if path.exists():
            return path
    except (OSError, ValueError) as error:  # too long, or a null byte in it
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"there is no run {printable(run)[:200]}: {reason}") from None
    raise UsageError(f"there is no run {printable(run)}{meant(run)}")


def meant(run: str) -> str:
    """Return `: did you mean runs/X?` for a run that is not there, or those there are."""
    runs = {str(found.path): found for found in find_runs()}
    name = run.rstrip("/")
    by_name = [known for known, found in runs.items() if found.path.name == name]  # without `runs/`
    by_env = sorted(known for known, found in runs.items() if found.env == name)
    with_policy = [known for known in by_env if runs[known].state != "without a policy"]
    for known in (*by_name, *with_policy, *by_env):
        return f": did you mean {known}?"
    near = nearest_name(name, runs)
    if near:
        return f": did you mean {near}?"
    listed = ", ".join(list(runs)[:3])
    return f": there are {listed}" if runs else ": give a run directory such as runs/CartPole-v1"


def ago(seconds: float) -> str:
    """Return how long ago something was: 12 s ago, 3 h ago."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def _directories(root: Path) -> list[Path]:
    """Return the run directories; those below a run (its checkpoints) are none."""
    found: list[Path] = []
    level, looked = [root], 0
    for _ in range(MOST_DEEP):
        below: list[Path] = []
        for directory in level:
            looked += 1
            if looked > MOST_LOOKED_AT:
                return found
            if directory != root and _has_mark(directory):
                found.append(directory)
                continue
            with suppress(OSError), os.scandir(directory) as entries:
                below += [directory / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        level = below
    return found + [path for path in level if _has_mark(path)]


def _has_mark(directory: Path) -> bool:
    """Whether it is a run directory, as far as this user may see: one that is private hides no other."""
    return any(os.path.isfile(directory / mark) for mark in MARKS)


def look_at(path: Path, locked: Sequence[tuple[int, int]] | None = None) -> FoundRun:
    """Return what can be said about one run directory. locked: (device, inode) of all files that are; None: look."""
    locked = _locked_inodes() if locked is None else locked
    changed = [0.0]
    for name in CHANGING:
        with suppress(OSError):
            changed.append((path / name).stat().st_mtime)
    return FoundRun(path, max(changed), _env_of(path), *_state(path, locked))


def _state(path: Path, locked: Sequence[tuple[int, int]]) -> tuple[State, int | None]:
    """Return the state, and the steps where its summary is of its end."""
    for held in (path, path / "lock"):
        with suppress(OSError):
            status = held.stat()
            if (status.st_dev, status.st_ino) in locked:
                return "running", None
    with suppress(OSError, ValueError, KeyError, TypeError):
        if (path / SUMMARY).stat().st_mtime < (path / "metrics.jsonl").stat().st_mtime - SUMMARY_SECONDS:
            return "interrupted", None  # it went on since, and was killed
        summary = json.loads((path / SUMMARY).read_bytes())
        steps, reason = int(summary["steps"]), str(summary["reason"])
        return next((word for word in ENDED if reason.startswith(word)), "finished"), steps
    return ("interrupted" if os.path.isfile(path / "policy.onnx") else "without a policy"), None


def _env_of(path: Path) -> str:
    with suppress(OSError, ValueError, YAMLError, AttributeError, KeyError, TypeError):
        with (path / "config.yaml").open(encoding="utf-8") as file:
            beginning = file.readline() + file.readline()  # `env:` and `  id:`: the rest takes too long for many runs
        return printable(str(load(beginning)["env"]["id"]))
    return ""


def _locked_inodes() -> list[tuple[int, int]]:
    """Return (device, inode) of all files that some process of this machine has locked; [] where Linux does not say."""
    found: list[tuple[int, int]] = []
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            major, minor, inode = line.split()[-3].split(":")
            found.append((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return found
