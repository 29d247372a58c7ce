"""The settings of a run as its directory keeps them: config.yaml, and history.jsonl with everything that has changed.

Knows files; does not compare settings. A run's settings are those it was begun with; the few that may change are noted
here when they do, so that a curve can be read together with what it was made with.
"""

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dppo.learner.storage.run_directory import RunDirectory, cannot_be_used
from dppo.learner.telemetry.metrics import METRICS_FILE
from dppo.protocol.errors import UsageError

HISTORY_FILE = "history.jsonl"
MAX_VALUE_CHARACTERS = 60  # of one value in a message


@dataclass(frozen=True)
class Change:
    """One setting that is not as it was."""

    field: str  # ppo.gamma
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: {_short(self.old)} -> {_short(self.new)}"


@dataclass(frozen=True)
class KeptSettings:
    """Settings that a start writes into the run directory."""

    yaml: str  # all of them, for config.yaml
    changes: tuple[Change, ...] = ()  # since the last start, all of them allowed


@dataclass(frozen=True)
class Moment:
    """Moment of a change."""

    time: float  # seconds since 1970
    start: int  # number of this start of a learner
    update: int
    steps: int


def has_begun(path: Path) -> bool:
    """Whether a learner has left results there: a checkpoint, a curve, or rollouts that it acknowledged."""
    checkpoints, journal = path / "checkpoints", path / "journal"
    try:
        if any(child.name == "recent" or child.name[:8].isdigit() for child in _children(checkpoints)):
            return True
        return any(file.stat().st_size for file in (path / METRICS_FILE, *_children(journal)) if file.exists())
    except OSError as error:
        raise UsageError(
            f"run directory {path} cannot be read: {error.strerror or error}. "
            "Make it readable or choose another run.directory."
        ) from None


def has_trained(path: Path) -> bool:
    """Whether an update has been trained there, as far as can be seen."""
    checkpoints = path / "checkpoints"
    with contextlib.suppress(OSError):
        lasting = any(child.name[:8].isdigit() and int(child.name[:8]) > 0 for child in _children(checkpoints))
        return lasting or (checkpoints / "recent").exists() or (path / METRICS_FILE).exists()
    return True


def keep_settings(directory: RunDirectory, kept: KeptSettings, moment: Moment) -> None:
    """Note the changes and write config.yaml, if it is not the same already. Raises UsageError."""
    content = kept.yaml.encode()
    try:
        note_changes(directory.path, kept.changes, moment)
        if not directory.config.is_file() or directory.config.read_bytes() != content:
            directory.write_atomic(directory.config.name, content)
    except OSError as error:
        raise cannot_be_used(directory.path, error) from error


def note_changes(path: Path, changes: tuple[Change, ...], moment: Moment) -> None:
    """Append a line for each to history.jsonl. Raises OSError."""
    if not changes:
        return
    when = datetime.fromtimestamp(moment.time, UTC).isoformat(timespec="seconds")
    lines = [
        {
            "time": when,
            "start": moment.start,
            "update": moment.update,
            "steps": moment.steps,
            "field": change.field,
            "old": change.old,
            "new": change.new,
        }
        for change in changes
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path / HISTORY_FILE, flags, 0o644), "wb") as file:
        file.write(text.encode())


def _children(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, dict | tuple | list | bool) or value is None else str(value)
    text = text if text else "(empty)"
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 3]}..."
