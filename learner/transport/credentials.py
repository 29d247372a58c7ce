"""The files that say who may join a run: `access/` in the run directory, for its owner's eyes only.

    server.key   the learner's secret key, made once and never written again: the join lines are bound to it
    tokens.json  public keys of the tokens; replaced as a whole, so a running learner sees the old or the new list
    first.key    the secret of the first token, so that its line can be printed again; deleting it is allowed
    join         that line, as it was last printed, for actors that share the disk
    address      where the learner was last to be reached

Storing the secret of one token adds no risk: a user that can read this directory can also write tokens.json.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from dppo.learner.atomic_files import sync_directory
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Denied, fingerprint, new_secret_key, public_key
from dppo.protocol.security.join_line import KEY_BYTES, JoinLine

DIRECTORY = "access"
JOIN_FILE = "join"
FIRST_TOKEN = "default"  # noqa: S105  a name
MAX_FILE_BYTES = 2**24


class Access:
    """The files of one run. Every method raises UsageError, in one line, where one of them cannot be used."""

    def __init__(self, run_directory: Path) -> None:
        self.path = run_directory / DIRECTORY

    @staticmethod
    def is_kept(run_directory: Path) -> bool:
        """Whether there is anything of it yet; makes nothing."""
        return (run_directory / DIRECTORY).exists()

    @classmethod
    def open(cls, run_directory: Path, now: float) -> "Access":
        """The files of that run; made now, with a first token, where there are none."""
        access = cls(run_directory)
        with access._locked():
            if not access._file("server.key").exists():
                _write_new(access._file("server.key"), new_secret_key().hex().encode() + b"\n")
            if not access._file("tokens.json").exists():
                secret = new_secret_key()
                _replace(access._file("first.key"), secret.hex().encode() + b"\n")
                _replace(access._file("tokens.json"), TokenBook().add(FIRST_TOKEN, public_key(secret), now).to_json())
        access.secret_key()
        access.book()
        return access

    def announce(self, address: str, now: float) -> JoinLine | None:
        """The learner is to be reached at host:port from now on. Returns the first token's line, if it is valid."""
        with self._locked():
            _replace(self._file("address"), f"{address}\n".encode())
            line = self.first_line()
            if line is None or isinstance(self.book().verdict(public_key(line.secret), now), Denied):
                return None
            _replace(self._file(JOIN_FILE), f"{line}\n".encode())
        return line

    def secret_key(self) -> bytes:
        """The learner's, 32 bytes."""
        return _key(self._file("server.key"), "for a new key, which ends all join lines")

    def book(self) -> TokenBook:
        """The tokens as they are now."""
        file = self._file("tokens.json")
        try:
            return TokenBook.from_json(_read(file))
        except FileNotFoundError:
            raise UsageError(f"{file} is gone, so nobody can join: restore it") from None
        except ValueError as error:
            raise UsageError(
                f"{file} is damaged ({error}), so nobody can join: restore it, or delete it for a new first token"
            ) from None

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever the tokens do; cheap."""
        try:
            status = self._file("tokens.json").stat()
        except OSError:
            return ()
        return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode

    def change(self, edit: Callable[[TokenBook], TokenBook], *, first_secret: bytes = b"") -> TokenBook:
        """Replace the tokens by what `edit` makes of them; other processes wait meanwhile.

        first_secret: the first token's from now on, should it be that one that changes.
        """
        with self._locked():
            book = edit(self.book())
            if first_secret:
                _replace(self._file("first.key"), first_secret.hex().encode() + b"\n")
            _replace(self._file("tokens.json"), book.to_json())
            line = self.first_line() if first_secret else None
            if line is not None:
                _replace(self._file(JOIN_FILE), f"{line}\n".encode())
        return book

    def line(self, secret: bytes, address: str) -> JoinLine:
        """The line of a token with that secret key."""
        return JoinLine(public_key(self.secret_key()), bytes.fromhex(fingerprint(public_key(secret))), secret, address)

    def first_line(self) -> JoinLine | None:
        """The line of the first token; None where it is not known (deleted), or no learner was started yet."""
        try:
            secret = _key(self._file("first.key"), "which ends nothing: its token can be rotated or revoked")
        except FileNotFoundError:
            return None
        address = self.address()
        return self.line(secret, address) if address else None

    def address(self) -> str:
        """Return where the learner was last to be reached, as host:port; "" before its first start."""
        try:
            return _read(self._file("address")).decode().strip()
        except FileNotFoundError:
            return ""

    def _file(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(self.path, self.path.stat(), "chmod 700")
            lock = os.open(self._file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be used: {error.strerror or error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise UsageError(f"{self.path} cannot be used: {error.strerror or error}") from error
        finally:
            os.close(lock)


def _key(file: Path, deleting: str) -> bytes:
    """A secret key out of a file. Raises FileNotFoundError where there is none."""
    try:
        key = bytes.fromhex(_read(file).decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(f"{file} is damaged: restore it, or delete it {deleting}")
    return key


def _check_private(path: Path, status: os.stat_result, cure: str) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise UsageError(f"{path} is open to others (mode {mode:03o}), and so are the keys: {cure} {path}")
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        raise UsageError(f"{path} belongs to another user: run this command as its owner")


def _read(path: Path) -> bytes:
    """A private file. Raises UsageError where it is not private, FileNotFoundError where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    with open(descriptor, "rb") as file:
        _check_private(path, os.fstat(descriptor), "chmod 600")
        return file.read(MAX_FILE_BYTES)


def _write_new(path: Path, content: bytes) -> None:
    """Make a file that only its owner can read. Raises FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            if os.geteuid() == 0:  # `docker exec`, say: the learner must be able to read it
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)  # half a key would be taken for a damaged one
        raise
    sync_directory(path.parent)


def _replace(path: Path, content: bytes) -> None:
    """The old content or the new, never a mixture, and private from the first byte."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        _write_new(temporary, content)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    sync_directory(path.parent)
