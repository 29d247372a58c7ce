"""Files of a run's processes in its logs/: the directory, and traces of sessions. Knows no processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dppo.protocol.errors import UsageError

if TYPE_CHECKING:
    from dppo.protocol.trace import Trace

SUFFIX = ".trace.jsonl"
NO_TRACE = {"DPPO_TRACE": ""}  # variables of an actor: all actors of a machine would write to one file


def made_logs(directory: Path) -> Path:
    """Return the directory of the logs, made. Raises UsageError."""
    logs = directory / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"run directory {directory} cannot be made: {error.strerror}. Choose another --run.directory."
        ) from None
    return logs


def trace_of(logs: Path, name: str) -> Path:
    """Return the file of that process's trace."""
    return logs / f"{name}{SUFFIX}"


@contextmanager
def tracing(path: Path | str | None, side: str) -> "Iterator[Trace | None]":
    """Give the trace that is written to that file; None where there is none. Raises UsageError."""
    if not path:
        yield None
        return
    from dppo.protocol.process.trace_file import TraceFile

    with TraceFile(Path(path), side) as file:
        yield file.trace
