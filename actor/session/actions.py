"""Actions that an actor's session asks its driver for. Records only."""

from dataclasses import dataclass

from dppo.protocol.messages import EnvSettings, FromActor, Welcome
from dppo.protocol.rollout import Blob


@dataclass(frozen=True)
class Send:
    """Send this; `blob` is frame 1."""

    message: FromActor
    blob: Blob | None = None


@dataclass(frozen=True)
class MakeEnvironments:
    """Build the environments, then call `environments_ready`."""

    env: EnvSettings
    envs: int
    seed: int
    first_slot: int
    life: int

    def refusal(self, wanted: Welcome) -> str:
        """Return what a learner wants of its actors now that is not what was made here; "" where it is the same."""
        # not the limit of a step's time, which may change
        fields = ("id", "kwargs_json", "vectorization", "wrappers_json", "metrics", "step_metrics", "action_mask")
        named = [(f"env.{f.removesuffix('_json')}", getattr(self.env, f), getattr(wanted.env, f)) for f in fields]
        named = [("environments", self.envs, wanted.envs), *named]
        changes = ", ".join(f"{name} {new} (here {old})" for name, old, new in named if new != old)
        return f"the learner now wants {changes}: start a new actor for it" if changes else ""


@dataclass(frozen=True)
class Load:
    """Cut the open segment, load this policy, then call `loaded`."""

    graph: bytes
    term: int
    version: int


@dataclass(frozen=True)
class Cut:
    """Cut the open segment now (keep or drop it as `on_stop` says), then call `stopped`."""


@dataclass(frozen=True)
class Finish:
    """Cut and seal the open segment, so that it is counted, then call `left`."""

    reason: str


@dataclass(frozen=True)
class Reconnect:
    """Close the connection and open a new one, then call `connected`."""


@dataclass(frozen=True)
class Connect:
    """Close the connection and open one to another learner, then call `connected`."""

    endpoint: str  # "": back to the one that the user named
    server_key: bytes  # its public key; b"": as its endpoint says, none is needed


@dataclass(frozen=True)
class Exit:
    """End the process."""

    code: int
    reason: str
    is_of_run: bool = False  # the run is over, or the learner is another run's: a new session may join the next one


@dataclass(frozen=True)
class Note:
    """Log this line."""

    text: str


Action = Send | MakeEnvironments | Load | Cut | Finish | Reconnect | Connect | Exit | Note
