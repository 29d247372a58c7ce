"""A command that fails before it has trained leaves no run directory behind. Knows paths; knows no training."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from dppo.learner.storage.run_directory import DIRECTORIES, FILES
from dppo.learner.storage.run_lock import refuse_if_held
from dppo.learner.storage.settings_history import has_begun, has_trained
from dppo.protocol.errors import DppoError, RefusedError, UsageError

LOGS = "logs"
NOTHING_LEFT = "\ninterrupted before the first update: nothing was trained, and what this start had made is removed"


@contextlib.contextmanager
def removed_where_it_fails(directory: Path) -> Iterator[Callable[[], bool]]:
    """Remove what a failing start has made in `directory`, and the directory if it is new, unless it has trained.

    A log that the error names is moved to a temporary directory, and the error names it there. What was in the
    directory before stays. An interrupted start is no failure: the function that is yielded removes alike what it has
    made, unless it has trained or went on with a run, and returns whether it has.
    """
    missing = _missing(directory)
    above = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    changed_at = above.stat()
    had_begun = has_begun(directory)
    before = {path.name for path in directory.iterdir()} if directory.is_dir() else set()

    def remove(kept: Container[str]) -> None:
        with contextlib.suppress(OSError):
            _remove(directory, kept, missing)
            os.utime(above, ns=(changed_at.st_atime_ns, changed_at.st_mtime_ns))

    def undo() -> bool:
        if had_begun or has_trained(directory) or _is_in_use(directory):
            return False
        made = {*DIRECTORIES, *FILES} - before  # what others have put there meanwhile stays
        remove({path.name for path in directory.iterdir()} - made if directory.is_dir() else before)
        return True

    try:
        yield undo
    except Exception as error:
        if has_trained(directory) or _is_in_use(directory):
            raise
        moved = _without_lost_logs(error, directory, before)
        remove(before)
        if moved is error:
            raise
        raise moved from None


def broken_off_text(directory: Path) -> str:
    """Return what is left of a run whose learner could not say how it went."""
    saved = directory / "checkpoints"
    if saved.is_dir() and any(saved.iterdir()):
        return f"\ninterrupted before the learner could say how the run went; what it saved: {saved}"
    return f"\ninterrupted before the learner had begun: nothing was trained; what there is: {directory}"


def _is_in_use(directory: Path) -> bool:
    """Whether another learner has it: two that were started at once made it together, and one of them goes on."""
    try:
        refuse_if_held(directory)
    except RefusedError:
        return True
    return False


def _missing(directory: Path) -> list[Path]:
    """The directories that have to be made for it, the deepest first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _remove(directory: Path, kept: Container[str], missing: list[Path]) -> None:
    for path in list(directory.iterdir()):
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    for path in missing:
        path.rmdir()  # not, where another program has put something into it


def _without_lost_logs(error: Exception, directory: Path, before: set[str]) -> Exception:
    """The same error, naming its log where that is from now on; a wrong usage needs none."""
    logs = directory / LOGS
    if not isinstance(error, DppoError) or LOGS in before or f"(log: {logs}" not in str(error):
        return error
    without = type(error)(str(error).partition(" (log: ")[0])
    if isinstance(error, UsageError):
        return without
    try:
        kept = Path(tempfile.mkdtemp(prefix="dppo-failed-"))
    except OSError:  # a disk that is full, perhaps what the start failed of
        return without
    with contextlib.suppress(OSError):
        shutil.copytree(logs, kept, dirs_exist_ok=True)
    return type(error)(str(error).replace(str(logs), str(kept)))
