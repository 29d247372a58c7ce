"""Every setting of a relay, checked when made. Knows names and ranges; knows no command line and no file.

The text below a field is its help.
"""

from dataclasses import dataclass, field

from dppo.actor.config import SECRET
from dppo.actor.setting_checks import check_endpoint_setting, check_name_setting
from dppo.protocol.errors import UsageError


@dataclass(frozen=True)
class RelayConfig:
    """Stand between the actors of this host and their learner: one connection, and one copy of each policy."""

    join: str = field(default="", metadata=SECRET)
    """The line that the learner printed (dppo1....@host:port); - reads it from standard input. Arguments can be seen in
    the list of processes: DPPO_JOIN and join_file cannot."""
    join_file: str = ""
    """A file with that line, not open to others than owner and group; the relay waits until it is there."""
    learner: str = ""
    """The learner's endpoint: ipc://path on one machine, without a join line; or tcp://host:port to reach the learner
    elsewhere than its join line says, through a tunnel for example."""
    insecure: bool = False
    """Join without keys a learner on this machine that was started with --insecure."""
    bind: str = ""
    """Address for its actors: ipc://path, for the same user on this host; or tcp://address:port, encrypted and only
    with a token of the relay's own. Empty: a socket in a directory of this user, which is printed."""
    directory: str = "relay"
    """Directory for the keys of a relay that listens on tcp; `dppo token add DIRECTORY NAME` makes more lines."""
    advertise: str = ""
    """Host or host:port in the join line of a relay on tcp, where others know this host by another name; empty: found
    out."""
    write_join_file: str = ""
    """Write the join line of a relay on tcp to this file instead of printing it."""
    name: str = ""
    """Name of this relay at the learner; empty: host name and process number."""

    def __post_init__(self) -> None:
        check_endpoint_setting("learner", self.learner)
        check_endpoint_setting("bind", self.bind)
        if self.bind and self.bind == self.learner:
            raise UsageError(f"bind={self.bind} is the learner's address: a relay needs one of its own")
        if not self.bind.startswith("tcp://"):
            for setting, value in (("advertise", self.advertise), ("write_join_file", self.write_join_file)):
                if value:
                    raise UsageError(f"{setting} is for a relay on tcp: add --bind tcp://ADDRESS:PORT, or leave it out")
        check_name_setting(self.name)
