"""The directory of one run: its lock, its identity, its paths. Knows nothing of what the files mean."""

import errno
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from dppo.learner.atomic_files import replace_file, replace_file_durably, sync_directory
from dppo.learner.regular_files import first_link, why_not_writable
from dppo.learner.storage.provenance import provenance
from dppo.learner.storage.run_lock import RunLock, refuse_if_held
from dppo.protocol.errors import CheckpointError, UsageError

TERM_BITS = 53  # what a count on the wire may have
RANDOM_BITS = 32
MAX_FORMER_TERMS = 4096

_WHAT_TO_DO = {errno.ENOSPC: "Free space there", errno.EDQUOT: "Free space there"}

DIRECTORIES = ("access", "checkpoints", "journal", "logs", "ranks", "tb", "videos")
FILES = (
    "config.yaml", "curve.png", "environment.json", "eval.jsonl", "evaluation.json", "history.jsonl", "ledger.json",
    "lock", "metrics.jsonl", "policy-best.onnx", "policy-evaluated.onnx", "policy.onnx", "run.json", "summary.json",
)  # fmt: skip


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that this process holds the lock of, from `open` to `close` or to its death."""

    path: Path
    run_id: str  # 16 hex digits, the same for ever
    term: int  # of this start, never used twice: not by a copy of the directory either
    start: int  # how often a learner has been started on it, this start included
    former_terms: frozenset[int]  # of the starts before this one, as far as the directory remembers
    _lock: RunLock

    @classmethod
    def open(cls, path: str | Path, check: Callable[[], None] = lambda: None) -> "RunDirectory":
        """Create the directory if need be, lock it, count this start and note what it runs on.

        `check` is called under the lock, before the start is counted; what it raises refuses the start.
        Raises RefusedError where another learner has it, UsageError where it cannot be written, CheckpointError where
        its identity (`run.json`) is damaged.
        """
        path = Path(path)
        try:
            refuse_links(path)
            (path / "checkpoints").mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = RunLock(path)
            try:
                check()
                identity = _next_start(path)
                replace_file(path / "environment.json", json.dumps(provenance(), indent=1).encode())
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise cannot_be_used(path, error) from error
        return cls(path, identity.run_id, identity.term, identity.start, frozenset(identity.former_terms), lock)

    @property
    def config(self) -> Path:
        """All settings, resolved."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Directory of checkpoints; see learner/storage/checkpoint.py."""
        return self.path / "checkpoints"

    def check_lock(self, now: float) -> None:
        """Raise DppoError where this path no longer leads to the directory that is locked. now: monotonic. Cheap."""
        self._lock.check(now)

    def write_atomic(self, name: str, content: bytes) -> None:
        """Replace file `name`; readers see the old content or the new. Not fsynced, so cheap. Raises OSError."""
        replace_file(self.path / name, content)

    def write_json(self, name: str, content: object) -> None:
        """Write plain values as JSON by write_atomic; numbers that are not finite become null, as in metrics.jsonl."""
        plain = msgspec.json.decode(msgspec.json.encode(content))
        self.write_atomic(name, json.dumps(plain, indent=1, allow_nan=False).encode())

    def close(self) -> None:
        """Give up the lock; another learner may open the directory from here on."""
        self._lock.release()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def cannot_be_used(path: Path, error: OSError) -> UsageError:
    """Return the error for a run directory in which something cannot be written."""
    what = _WHAT_TO_DO.get(error.errno or 0, "Make it writable")
    where = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
    return UsageError(
        f"run directory {path} cannot be used: {error.strerror or error}{where}. {what} or choose another "
        "run.directory."
    )


def check_start(path: Path) -> None:
    """Raise what `RunDirectory.open` would raise for the directory as it is, without writing anything."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    problem = why_not_writable(there) if there.is_dir() else os.strerror(errno.ENOTDIR)
    if problem:
        raise UsageError(
            f"run directory {path} cannot be used: {problem}. Make it writable or choose another run.directory."
        )
    if path.is_dir():
        refuse_links(path)
        refuse_if_held(path)
        try:
            _Identity.next(path / "run.json")
        except OSError as error:
            raise UsageError(f"{path / 'run.json'} cannot be read: {error.strerror}. Make it readable.") from None


def refuse_links(path: Path) -> None:
    """Raise UsageError where something that a run writes is a symbolic link (the directory itself may be one)."""
    unfinished = tuple(f".{name}.new" for name in FILES)
    found = first_link(path, (*DIRECTORIES, *FILES, *unfinished)) or first_link(
        path / "checkpoints", ("recent", ".recent.new", "best.json", ".best.json.new")
    )
    if found is None and (path / "logs").is_dir():
        found = first_link(path / "logs", tuple(sorted(os.listdir(path / "logs"))))
    if found is not None:
        raise UsageError(
            f"{found} is a symbolic link, and a run writes through none: remove it or move its target here"
        )


@dataclass(frozen=True)
class _Identity:
    """Contents of run.json."""

    run_id: str
    term: int
    start: int
    former_terms: tuple[int, ...]

    @classmethod
    def next(cls, file: Path) -> "_Identity":
        """Return this start's identity, from the file of the start before. Raises CheckpointError if it is damaged."""
        try:
            saved = json.loads(file.read_bytes())
            term = int(saved["term"] if "term" in saved else saved["epoch"])  # its name in files of older releases
            former = (*saved.get("former_terms", saved.get("former_epochs", ())), term)[-MAX_FORMER_TERMS:]
            start = int(saved.get("start", term)) + 1  # once the term was the count of starts
            return cls(str(saved["run_id"]), _new_term(start), start, tuple(map(int, former)))
        except FileNotFoundError:
            return cls(secrets.token_hex(8), _new_term(1), 1, ())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"{file} is damaged: actors cannot tell which run this is. Restore it from a copy, or choose another "
                "run.directory."
            ) from error

    def to_json(self) -> bytes:
        return json.dumps(
            {
                "run_id": self.run_id,
                "term": self.term,
                "start": self.start,
                "former_terms": list(self.former_terms),
            }
        ).encode()


def _new_term(start: int) -> int:
    """A number that no other start has, whatever is restored or copied: the count of starts, and 32 random bits."""
    counted = start % (1 << (TERM_BITS - RANDOM_BITS))
    return (counted << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)


def _next_start(path: Path) -> _Identity:
    """The identity of this start, on the disk before it is used.

    Were an term given out twice, an actor could take an old policy for a new one of the same version. A count alone
    would be: a directory that is put back to a backup, or copied, counts on from there while actors of the lost history
    live.
    """
    file = path / "run.json"
    identity = _Identity.next(file)
    replace_file_durably(file, identity.to_json())
    sync_directory(path.parent)  # the directory itself may be new
    return identity


@dataclass(frozen=True)
class StartIdentity:
    """Identity of a start, as actors receive it."""

    run_id: str
    term: int
    start: int
    former_terms: frozenset[int]


def next_identity(path: Path) -> StartIdentity:
    """The identity of a start that is not counted: it will train nothing, and no policy is published in its term."""
    identity = _Identity.next(path / "run.json")
    return StartIdentity(identity.run_id, identity.term, identity.start, frozenset(identity.former_terms))
