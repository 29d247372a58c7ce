"""Every message of the protocol as a frozen record. Knows neither bytes nor sockets; limits and checks are in codec.py.

On the wire each is a MessagePack array whose first element is the tag. Times are in seconds, clocks are monotonic and
only ever compared with themselves.
"""

from typing import Annotated, Literal

import msgspec

from dppo.protocol.specs import Spec
from dppo.protocol.texts import MAX_TEXT

MAX_COUNT = 2**53
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:@-]+\Z")]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Incarnation = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
Digest = Annotated[bytes, msgspec.Meta(max_length=16)]

Metrics = Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], ...], msgspec.Meta(max_length=16)]


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=True):
    """Shared settings of all messages; tags are the class names."""


class Tally(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Counts of one incarnation, by itself, of what it has sealed so far."""

    sealed_upto: Count = 0  # newest sequence number given out
    sealed_steps: Count = 0  # steps in all sealed segments, dropped ones included
    acked_upto: Count = 0  # newest sequence number that a learner disposed of
    acked_steps: Count = 0
    dropped_steps: Count = 0  # sealed, then dropped here, at a stop (`on_stop=drop`)
    env_restarts: Count = 0  # environments made again because they crashed


class EnvSettings(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Environment that every actor of the run steps."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]  # Gymnasium id, or "module:id"
    kwargs_json: Annotated[str, msgspec.Meta(max_length=2048)] = "{}"
    vectorization: Literal["auto", "sync", "async", "native"] = "auto"
    step_timeout_seconds: Seconds = 60.0  # a step, a reset or a making that takes longer is hung; 0: none is
    wrappers_json: Annotated[str, msgspec.Meta(max_length=2048)] = "[]"  # as dppo.protocol.env_wrappers reads them
    metrics: Metrics = ()  # keys of an episode's last info whose numbers the learner wants to know
    step_metrics: Metrics = ()  # likewise of every info, as means over the episode; their names follow the others
    action_mask: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] = "auto"  # as EnvConfig.action_mask


class TimeShares(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Seconds that an actor spent on each of its tasks since its last report."""

    env: Seconds = 0.0
    policy: Seconds = 0.0
    send: Seconds = 0.0
    idle: Seconds = 0.0


# From the actor


class Hello(_Message, frozen=True):
    """Opens a session, and opens it again after every reconnect or WHO."""

    protocol_min: Count
    protocol_max: Count
    release: Annotated[str, msgspec.Meta(max_length=64)]
    actor: Name
    incarnation: Incarnation  # random, one per process life
    envs: Count  # environments it steps; 0: as many as the learner says
    tally: Tally
    run_id: Annotated[str, msgspec.Meta(max_length=64)] = ""  # "" before the first WELCOME
    term: Count = 0  # of the policy held
    version: Count = 0  # of the policy held, 0: none
    spec_hash: Digest = b""  # b"" while the environment is unknown: WELCOME names it
    spec: Spec | None = None
    answer: Count = 0  # the number of a REJECT that asked for it: this process is alive
    stays: bool = False  # a REDIRECT has brought it here, or none can be followed: let it stay

    @property
    def policy(self) -> tuple[int, int]:
        """Term and version of the policy held."""
        return self.term, self.version


class Have(_Message, frozen=True):
    """The policy is loaded."""

    term: Count
    version: Count
    load_seconds: Seconds


class Rollout(_Message, frozen=True):
    """One segment; the blob follows in frame 1."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]
    term: Count
    version: Count
    T: Count
    E: Count
    finals: Count
    episodes: Count
    steps: Count


class Stopped(_Message, frozen=True):
    """The answer to STOP: everything up to `tally.sealed_upto` has been sent, nothing else comes under that version."""

    term: Count
    version: Count
    tally: Tally
    first_step_seconds: Seconds  # from HAVE sent to the end of the first step under this version; 0: no step taken


class Ping(_Message, frozen=True):
    """Sign of life of the actor and of its loop."""

    time: float
    tally: Tally
    shares: TimeShares
    open_steps: Count = 0  # in the segment that is being filled; in no account before it is sealed


class EnvFault(_Message, frozen=True):
    """Report that environments are in trouble, or end the actor. Names an incarnation, not a connection: while its
    main thread is stuck in an environment, an actor's watchdog says so on a connection of its own.
    """

    incarnation: Incarnation
    kind: Literal["stuck", "crashed", "noted", "left"]
    text: Text  # one line for the user: where it is stuck, what crashed and how often, what is odd, why it ends


class Bye(_Message, frozen=True):
    """Either side ends the session for good. From the learner: the run is over. From the actor: the last word."""

    reason: Text
    tally: Tally = Tally()


class RelayHello(_Message, frozen=True):
    """Opens a connection that carries several actors, each by its envelope; again after every reconnect or WHO."""

    protocol_min: Count
    protocol_max: Count
    release: Annotated[str, msgspec.Meta(max_length=64)]
    relay: Name


# From the learner


class Welcome(_Message, frozen=True):
    """The answer to HELLO. Credit 0 while the actor's spec is not known."""

    protocol: Count
    run_id: Annotated[str, msgspec.Meta(max_length=64)]
    term: Count  # counts the learner's starts on this run directory
    env: EnvSettings
    envs: Count
    first_slot: Count  # the actor's environments are slots first_slot .. first_slot + envs - 1
    seed: Count
    life: Count  # how often these slots were handed out before: keeps random streams apart
    watermark: Count  # newest sequence number disposed of: forget up to it, resend the rest
    credit: Count  # may have watermark + credit outstanding
    lease_seconds: Seconds  # silence after which either side gives the other up
    heartbeat_seconds: Seconds
    on_stop: Literal["keep", "drop"]
    max_rollout_bytes: Count = 2**26  # the learner hangs up over a larger one


class RelayWelcome(_Message, frozen=True):
    """The answer to RELAYHELLO."""

    protocol: Count
    run_id: Annotated[str, msgspec.Meta(max_length=64)]
    term: Count
    actors: Count  # at most behind this relay
    lease_seconds: Seconds  # as in WELCOME
    heartbeat_seconds: Seconds
    max_rollout_bytes: Count


class Reject(_Message, frozen=True):
    """Refusal. Fatal: exit. Otherwise repeat HELLO after the given time."""

    code: Literal["protocol", "spec", "run", "superseded", "full", "envs", "token", "relay"]
    text: Text
    fatal: bool
    retry_after_seconds: Seconds = 1.0
    challenge: Count = 0  # to be returned in the next HELLO


class Redirect(_Message, frozen=True):
    """The answer to a first HELLO where another learner of the same run has fewer actors: join that one."""

    endpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    server_key: Annotated[bytes, msgspec.Meta(max_length=32)] = b""  # its public key; b"": none is needed there


class Part(_Message, frozen=True):
    """The beginning of a policy's graph, in frame 1: a large one comes in parts, the last with POLICY. Without them a
    slow connection would carry nothing else for so long that both ends took it for dead.
    """

    term: Count
    version: Count
    index: Count  # from 0


class Policy(_Message, frozen=True):
    """A new policy, and the signal to go on under it; the ONNX graph follows in frame 1, or what PART left of it.

    To a relay that was sent the graph before, with another actor's POLICY, frame 1 is empty: the relay fills it in.
    """

    term: Count
    version: Count
    digest: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    segment_steps: Annotated[int, msgspec.Meta(ge=1, le=2**24)]  # T under this version
    cut_at_episode_end: bool = False  # a segment is also full with the step that ended an episode
    rows: Count = 0  # stop by yourself after so many steps of every environment; 0: only at STOP


class Extend(_Message, frozen=True):
    """The batch is not full yet: go on under the policy that you hold."""

    term: Count
    version: Count
    rows: Count  # as in POLICY, which this replaces: counted from the first step under that policy


class Ack(_Message, frozen=True):
    """Acknowledge all rollouts up to `upto`: accepted in the learner's memory, or refused by NACK."""

    upto: Count
    credit: Count


class Nack(_Message, frozen=True):
    """Refused and counted as dropped; do not send it again."""

    seq: Count
    reason: Annotated[str, msgspec.Meta(max_length=64)]


class Stop(_Message, frozen=True):
    """The batch is full: cut now, send what you have, wait for the next policy."""

    term: Count
    version: Count
    grace_seconds: Seconds


class Pong(_Message, frozen=True):
    """The answer to PING."""

    time: float


class Who(_Message, frozen=True):
    """Ask an unknown peer for HELLO: the learner may have restarted."""


FromActor = Hello | Have | Rollout | Stopped | Ping | EnvFault | Bye | RelayHello
FromLearner = Welcome | RelayWelcome | Reject | Redirect | Part | Policy | Extend | Ack | Nack | Stop | Pong | Who | Bye
Message = FromActor | FromLearner

WITH_BLOB = (Rollout, Part, Policy)
