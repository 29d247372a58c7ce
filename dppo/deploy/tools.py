"""Programs of engines (docker, sbatch, kubectl): found, run, and their errors in one line. Knows no engine."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from dppo.protocol.errors import UsageError
from dppo.protocol.texts import printable

SECONDS = 60.0
MAX_WORDS = 300  # of a tool's error


def run_tool(command: Sequence[str], *, seconds: float = SECONDS, name: str = "") -> str:
    """Run it; return its standard output. Raises UsageError where it is not installed, fails, or takes too long.

    name: for errors; "": the program's and its first argument.
    """
    find(command[0])
    program, action = name or command[0], name or " ".join(command[:2])
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{program} has not answered in {seconds:.0f} s") from None
    except OSError as error:
        raise UsageError(f"{program} cannot be run: {error.strerror or error}") from None
    if done.returncode != 0:
        raise UsageError(f"{action} failed: {last_line(done.stderr) or last_line(done.stdout)}")
    return done.stdout


def find(program: str) -> None:
    """Raise UsageError where the program is not installed."""
    if shutil.which(program) is None:
        raise UsageError(f"{program} is not installed here (it is not on PATH): install it, or choose another engine")


def last_line(text: str) -> str:
    """Return the last line with anything in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[-1])[:MAX_WORDS] if lines else ""


@contextlib.contextmanager
def undone_where_it_fails(*commands: Sequence[str]) -> Iterator[None]:
    """Run these commands where what is done inside fails: nothing half submitted stays behind."""
    try:
        yield
    except BaseException:
        for command in commands:
            with contextlib.suppress(UsageError):  # there is nothing to undo, or the engine is gone
                run_tool(command)
        raise
