"""Files of a run's processes in its logs/: the directory, and traces of sessions. Knows no processes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dppo.protocol.errors import RefusedError, UsageError

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
def tracing(path: Path | str | None, side: str, run_directory: Path | str = "") -> "Iterator[Trace | None]":
    """Give the trace that is written to that file; None where there is none. Raises UsageError.

    run_directory: the trace may be in its logs before there is such a run. A start that is refused leaves neither.
    """
    if not path:
        yield None
        return
    from dppo.protocol.process.trace_file import TraceFile

    path = Path(path)
    is_of_run = bool(run_directory) and path.absolute().parent == Path(run_directory).absolute() / "logs"
    missing = [folder for folder in path.absolute().parents if is_of_run and not folder.exists()]  # innermost first
    if missing:
        made_logs(Path(run_directory))
    try:
        with TraceFile(path, side) as file:
            yield file.trace
    except (UsageError, RefusedError):
        if missing:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it by now
                for folder in missing:
                    folder.rmdir()
        raise
