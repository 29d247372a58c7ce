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
from collections.abc import Callable, Iterator
from pathlib import Path

from dppo.learner.transport.private_files import check_private, read_private, replace_private, write_new
from dppo.learner.transport.run_keys import RunKeys
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Denied, fingerprint, new_secret_key, public_key
from dppo.protocol.security.join_line import KEY_BYTES, JoinLine

DIRECTORY = "access"
JOIN_FILE = "join"
FIRST_TOKEN = "default"  # noqa: S105  a name


class Access:
    """The files of one run. Every method raises UsageError, in one line, where one of them cannot be used."""

    def __init__(self, run_directory: Path) -> None:
        self.path = run_directory / DIRECTORY

    @staticmethod
    def is_kept(run_directory: Path) -> bool:
        """Whether there is anything of it yet; makes nothing."""
        return (run_directory / DIRECTORY).exists()

    @classmethod
    def open(cls, run_directory: Path, now: float, given: RunKeys | None = None) -> "Access":
        """The files of that run; made now, with a first token, where there are none.

        given: keys to make them of. Raises UsageError where the run has others.
        """
        access = cls(run_directory)
        with access._locked():
            if not access._file("server.key").exists():
                own = given.server_secret if given is not None else new_secret_key()
                write_new(access._file("server.key"), own.hex().encode() + b"\n")
            elif given is not None and access.secret_key() != given.server_secret:
                raise UsageError(
                    f"{access.path} has other keys than key_file: leave key_file out, or delete {access.path}, which "
                    "ends all join lines made before"
                )
            if not access._file("tokens.json").exists():
                secret = given.token_secret if given is not None else new_secret_key()
                replace_private(access._file("first.key"), secret.hex().encode() + b"\n")
                replace_private(
                    access._file("tokens.json"), TokenBook().add(FIRST_TOKEN, public_key(secret), now).to_json()
                )
        access.secret_key()
        access.book()
        return access

    def announce(self, address: str, now: float) -> JoinLine | None:
        """The learner is to be reached at host:port from now on. Returns the first token's line, if it is valid."""
        with self._locked():
            replace_private(self._file("address"), f"{address}\n".encode())
            line = self.first_line()
            if line is None or isinstance(self.book().verdict(public_key(line.secret), now), Denied):
                return None
            replace_private(self._file(JOIN_FILE), f"{line}\n".encode())
        return line

    def secret_key(self) -> bytes:
        """The learner's, 32 bytes."""
        return _key(self._file("server.key"), "for a new key, which ends all join lines")

    def book(self) -> TokenBook:
        """The tokens as they are now."""
        file = self._file("tokens.json")
        try:
            return TokenBook.from_json(read_private(file))
        except FileNotFoundError:
            raise UsageError(f"{file} is gone, so no actor can join: restore it") from None
        except ValueError as error:
            raise UsageError(
                f"{file} is damaged ({error}), so no actor can join: restore it, or delete it for a new first token"
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
                replace_private(self._file("first.key"), first_secret.hex().encode() + b"\n")
            replace_private(self._file("tokens.json"), book.to_json())
            line = self.first_line() if first_secret else None
            if line is not None:
                replace_private(self._file(JOIN_FILE), f"{line}\n".encode())
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
            return read_private(self._file("address")).decode().strip()
        except FileNotFoundError:
            return ""

    def _file(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.path, self.path.stat(), "chmod 700")
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
        key = bytes.fromhex(read_private(file).decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(f"{file} is damaged: restore it, or delete it {deleting}")
    return key
