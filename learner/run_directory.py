"""The directory of one run: its lock, its identity, its paths. Knows nothing of what the files mean."""

import contextlib
import fcntl
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from learner.provenance import provenance
from learner.replacing_files import replace_file, replace_file_durably, sync_directory
from protocol.errors import CheckpointError, RefusedError, UsageError


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that this process holds the lock of, from `open` to `close` or to its death."""

    path: Path
    run_id: str  # 16 hex digits, the same for ever
    epoch: int  # how often a learner has been started on it, this start included
    _lock: int  # file descriptor

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """Create the directory if need be, lock it, count this start and note what it runs on.

        Raises RefusedError where another learner has it, UsageError where it cannot be written, CheckpointError where
        its identity (`run.json`) is damaged.
        """
        path = Path(path)
        try:
            (path / "checkpoints").mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = _take_lock(path)
            try:
                run_id, epoch = _next_start(path)
                replace_file(path / "environment.json", json.dumps(provenance(), indent=1).encode())
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise UsageError(
                f"run directory {path} cannot be used: {error.strerror or error}. "
                "Make it writable or choose another run.directory."
            ) from error
        return cls(path, run_id, epoch, lock)

    @property
    def config(self) -> Path:
        """All settings, resolved."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Directory of checkpoints; see learner/checkpoint.py."""
        return self.path / "checkpoints"

    @property
    def policy(self) -> Path:
        """The newest policy, the same bytes as published."""
        return self.path / "policy.onnx"

    @property
    def metrics(self) -> Path:
        """One JSON line per update."""
        return self.path / "metrics.jsonl"

    @property
    def ledger(self) -> Path:
        """Where every step went."""
        return self.path / "ledger.json"

    @property
    def events(self) -> Path:
        """Directory of TensorBoard events."""
        return self.path / "tb"

    def environment(self) -> dict[str, Any]:
        """What this start runs on, as noted in `environment.json`."""
        record: dict[str, Any] = json.loads((self.path / "environment.json").read_bytes())
        return record

    def write_atomic(self, name: str, content: bytes) -> None:
        """Replace file `name`; readers see the old content or the new. Not fsynced, so cheap. Raises OSError."""
        replace_file(self.path / name, content)

    def write_json(self, name: str, content: object) -> None:
        """As write_atomic, of plain values as JSON."""
        self.write_atomic(name, json.dumps(content, indent=1).encode())

    def close(self) -> None:
        """Give up the lock; another learner may open the directory from here on."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # closing alone would leave it with a forked child
        os.close(self._lock)

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _take_lock(path: Path) -> int:
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
    except BlockingIOError:
        holder = ""
        with contextlib.suppress(OSError):
            holder = os.read(lock, 256).decode(errors="replace").strip()
        os.close(lock)
        raise RefusedError(
            f"run directory {path} belongs to the learner with {holder or 'an unknown pid'}, which is running: "
            "stop that one or choose another run.directory"
        ) from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _next_start(path: Path) -> tuple[str, int]:
    """Run id and number of this start, on the disk before anyone sees them.

    Were a start's number ever given out twice, an actor could take an old policy for a new one of the same version.
    """
    file = path / "run.json"
    try:
        saved = json.loads(file.read_bytes())
        run_id, epoch = str(saved["run_id"]), int(saved["epoch"]) + 1
    except FileNotFoundError:
        run_id, epoch = secrets.token_hex(8), 1
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{file} is damaged: actors cannot tell which run this is. Restore it from a copy, or choose another "
            "run.directory."
        ) from error
    replace_file_durably(file, json.dumps({"run_id": run_id, "epoch": epoch}).encode())
    sync_directory(path.parent)  # the directory itself may be new
    return run_id, epoch
