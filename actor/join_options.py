"""Way from an actor to its learner: an endpoint, and keys where it is tcp. Reads the file with the join line."""

from dataclasses import dataclass, field
from pathlib import Path

from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.security.secret_file import read_secret
from dppo.protocol.transport.endpoints import check_endpoint, leaves_this_machine


@dataclass(frozen=True)
class JoinOptions:
    """Options of the user for joining."""

    learner: str = ""  # endpoint; "": as the join line says
    join: str = field(default="", repr=False)  # the join line
    join_file: str = ""  # a file with the join line
    insecure: bool = False  # tcp without keys, to a learner on this machine
    is_relay: bool = False  # that joins, for texts

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
                f"{'a relay' if self.is_relay else 'an actor'} needs the line that the learner printed: "
                "give --join LINE, --join-file FILE, or DPPO_JOIN "
                "(on one machine --learner ipc://PATH does without)"
            )
        if self.join:
            JoinLine.parse(self.join)

    def find(self) -> tuple[str, ClientSecurity | None] | None:
        """Endpoint and keys; None while the file is not there. Raises UsageError where the line cannot be used."""
        if self.insecure or self.learner.startswith("ipc://"):
            return self.learner, None
        text = self.join or read_secret("join_file", Path(self.join_file))
        if text is None:
            return None
        line = JoinLine.parse(text)
        return self.learner or line.endpoint, ClientSecurity(line.server_key, line.secret)
