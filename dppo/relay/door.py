"""The side of a relay that its actors see: where it listens, and that no other process listens there."""

import fcntl
import logging
import os
import socket
import stat
import tempfile
from pathlib import Path

from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.listener import Listening, check_address, open_listener, reopen_listener
from dppo.protocol.codec import MAX_HEADER_BYTES
from dppo.protocol.errors import UsageError
from dppo.protocol.transport.endpoints import check_endpoint
from dppo.protocol.transport.router import Router

log = logging.getLogger("dppo.relay")

LEAST_BLOB_BYTES = 2**26  # collect.max_rollout_bytes of a learner, where nothing else is set
UNREAD_ROLLOUTS = 10  # of one actor: what credit and a stop allow
SOCKET_NAME = "relay"


def own_endpoint() -> str:
    """Return the endpoint for the actors of this user on this host. Raises UsageError where others could listen."""
    directory = Path(tempfile.gettempdir()) / f"dppo-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise UsageError(f"{directory} cannot be used: {error.strerror or error}; choose another with --bind") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(f"{directory} is open to others: choose another place with --bind ipc://PATH, or chmod 700 it")
    return check_endpoint(f"ipc://{directory / SOCKET_NAME}")


class Door:
    """A relay's socket for actors. Made before anything is sent to the learner, so that what is wrong is known."""

    def __init__(self, listening: Listening, directory: Path) -> None:
        """directory: of the keys, where it is tcp. Raises UsageError where the address cannot be used."""
        self._listening, self._directory = listening, directory
        self._lock = _locked(listening.bind) if listening.bind.startswith("ipc://") else None
        self.max_blob_bytes = LEAST_BLOB_BYTES
        self.authenticator: TokenAuthenticator | None = None
        self.router: Router
        check_address(listening)
        self._keep(*open_listener(listening, self.max_blob_bytes, directory))
        if self._lock is not None:
            log.info("actors of this host join with: dppo actor --learner %s", listening.bind)

    def _keep(self, router: Router, authenticator: TokenAuthenticator | None) -> None:
        self.router, self.authenticator = router, authenticator

    def make_room(self, max_blob_bytes: int) -> bool:
        """Accept rollouts as large as the learner does. Return whether the socket is another one for that."""
        if max_blob_bytes <= self.max_blob_bytes:
            return False
        self.max_blob_bytes = max_blob_bytes
        self.router.close()
        self._keep(*reopen_listener(self._listening, max_blob_bytes, self._directory))
        return True

    @property
    def allowed_bytes(self) -> int:
        """Bytes of one actor that may wait unread."""
        return UNREAD_ROLLOUTS * (self.max_blob_bytes + MAX_HEADER_BYTES)

    def close(self) -> None:
        """Stop listening."""
        self.router.close()
        if self._lock is not None:
            os.close(self._lock)


def _locked(endpoint: str) -> int:
    """Lock the path of a socket: a second one bound there would silently take its place. Raises UsageError."""
    check_endpoint(endpoint)
    path = Path(endpoint.removeprefix("ipc://"))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"bind={endpoint} cannot be used: {error.strerror or error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UsageError(f"another relay listens on {endpoint}: choose another address with --bind") from None
    if _is_listened_on(path):
        os.close(lock)
        raise UsageError(f"another program, a learner perhaps, listens on {endpoint}: choose another with --bind")
    return lock


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
