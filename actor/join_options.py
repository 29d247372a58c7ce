"""Way from an actor to its learner: an endpoint, and keys where it is tcp. Reads the file with the join line."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.transport.endpoints import check_endpoint, leaves_this_machine

_MAX_BYTES = 65536


@dataclass(frozen=True)
class JoinOptions:
    """Options of the user for joining."""

    learner: str = ""  # endpoint; "": as the join line says
    join: str = field(default="", repr=False)  # the join line
    join_file: str = ""  # a file with the join line
    insecure: bool = False  # tcp without keys, to a learner on this machine

    def __post_init__(self) -> None:
        if self.learner:
            check_endpoint(self.learner)
        if self.learner.startswith("ipc://"):
            return
        if self.insecure:
            if not self.learner or leaves_this_machine(self.learner):
                raise UsageError("insecure is for a learner on this machine: give --learner tcp://127.0.0.1:PORT")
        elif not (self.join or self.join_file):
            raise UsageError(
                "an actor needs the line that the learner printed: give --join LINE, --join-file FILE, or DPPO_JOIN "
                "(on one machine --learner ipc://PATH does without)"
            )
        if self.join:
            JoinLine.parse(self.join)

    def find(self) -> tuple[str, ClientSecurity | None] | None:
        """Endpoint and keys; None while the file is not there. Raises UsageError where the line cannot be used."""
        if self.insecure or self.learner.startswith("ipc://"):
            return self.learner, None
        text = self.join or _read_private(Path(self.join_file))
        if text is None:
            return None
        line = JoinLine.parse(text)
        return self.learner or line.endpoint, ClientSecurity(line.server_key, line.secret)


def _read_private(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"join_file={path} cannot be read: {error.strerror or error}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        os.close(descriptor)
        raise UsageError(f"join_file={path} is a directory: give the file in it")
    with open(descriptor, "rb") as file:
        if stat.S_ISREG(mode) and mode & 0o027:  # the group may read: that is how containers share a secret
            raise UsageError(
                f"join_file={path} is open to others (mode {stat.S_IMODE(mode):03o}), and it is a secret: chmod 600 it"
            )
        try:
            return file.read(_MAX_BYTES).decode()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"join_file={path} is not a text file") from None
