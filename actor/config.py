"""Every setting of an actor process, checked when made. Knows names and ranges; knows no command line and no file.

Everything else (which environment, how long a segment is) comes from the learner. The text below a field is its
help.
"""

from dataclasses import dataclass, field
from typing import Literal

from dppo.actor.setting_checks import check_endpoint_setting, check_name_setting
from dppo.protocol.errors import UsageError

SECRET = {"secret": True}  # metadata of a field that is never printed


@dataclass(frozen=True)
class ActorConfig:
    """Run one actor: join a learner, step its environment, send rollouts."""

    join: str = field(default="", metadata=SECRET)
    """The line that the learner printed (dppo1....@host:port); - reads it from standard input. Arguments can be seen in
    the list of processes: DPPO_JOIN and join_file cannot."""
    join_file: str = ""
    """A file with that line, not open to others than owner and group; the actor waits until it is there."""
    learner: str = ""
    """The learner's endpoint: ipc://path on one machine, without a join line; or tcp://host:port to reach the learner
    elsewhere than its join line says, through a tunnel for example."""
    insecure: bool = False
    """Join without keys a learner on this machine that was started with --insecure."""
    name: str = ""
    """Name of this actor at the learner; empty: host name and process number. With count: what its actors' names begin
    with, empty: host name."""
    count: int | Literal["auto"] = 1
    """Actors of this host, each a process, that this one starts, starts again when they die, and ends; they are called
    HOST-0, HOST-1 and so on. auto: one a core, as far as there is memory."""
    envs: int = 0
    """Environments that this actor steps; 0: as many as the learner says."""
    allow_env: tuple[str, ...] = ()
    """Patterns of environment ids and wrappers (module:Class) that a learner may have this actor make, for example
    my_robot:*; with none it may name any, and so import any module of this host."""
    stay_seconds: float = 0.0
    """Seconds to wait, when a run is over, for the learner of another one at the same address (`dppo tune --bind`); 0:
    end with the run."""
    trace: str = ""
    """Write every event of the session (messages, states, waits) to this file, as JSON lines; empty: no trace."""

    def __post_init__(self) -> None:
        check_endpoint_setting("learner", self.learner)
        check_name_setting(self.name)
        if self.count != "auto" and self.count < 1:
            raise UsageError(f"count={self.count} must be at least 1, or auto")
        if self.count != 1 and self.trace:
            raise UsageError("trace is of one actor: leave out count, or trace")
        if self.stay_seconds < 0:
            raise UsageError(f"stay_seconds={self.stay_seconds:g} must be at least 0 (0: end with the run)")
        if self.envs < 0:
            raise UsageError(f"envs={self.envs} must be at least 0 (0: as many as the learner says)")
