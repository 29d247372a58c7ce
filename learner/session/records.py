"""The records that a learner's session keeps and hands out: peers, settings, actions for the service."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dppo.learner.collect_checks import RuleName
from dppo.learner.session.flow_control import CREDIT, CREDIT_GOING_ON
from dppo.learner.session.slots import Slots
from dppo.learner.storage.journal_records import Entry
from dppo.protocol.account import Account
from dppo.protocol.messages import EnvSettings, FromLearner, TimeShares
from dppo.protocol.rollout import Blob
from dppo.protocol.specs import Spec

MAX_ACTORS_OF_RELAY = 512  # POLICY, ACK and PONG of all of them fit into what libzmq queues for one connection


class PeerKey(NamedTuple):
    """Names one peer: an incarnation on a connection. What belongs to the socket is named by the connection alone."""

    connection: bytes  # the id that ZeroMQ gave it
    incarnation: bytes = b""  # on the envelope of its messages; b"": the connection is one actor's own, without any


@dataclass(frozen=True)
class Send:
    """Send this message; `blob` is frame 1."""

    peer: PeerKey
    message: FromLearner
    blob: Blob | None = None


@dataclass(frozen=True)
class Note:
    """Log this line."""

    text: str


@dataclass(frozen=True)
class Kick:
    """End the connection, once what was sent has had time to arrive."""

    connection: bytes


Action = Send | Note | Kick | Entry  # an entry is for the journal, before what follows it is sent


@dataclass(frozen=True)
class Settings:
    """Settings of the session, out of the configuration."""

    run_id: str
    term: int
    env: EnvSettings
    envs_per_actor: int
    batch_steps: int
    segment_steps: int  # 0: derive
    seed: int
    on_stop: Literal["keep", "drop"]
    lease_seconds: float
    stop_grace_seconds: float
    max_ingress_bytes: int = 0  # 0: derive
    max_actors: int = 10_000
    max_envs_per_actor: int = 4096
    actors_per_relay: int = MAX_ACTORS_OF_RELAY
    why_not_trained: Callable[[Spec], str] = lambda spec: ""  # why spaces cannot be trained on, "" where they can
    stop_at_episode_end: bool = False
    rule: RuleName = "minimum"
    slots: int = 0  # quota: environments in all
    learners: int = 1  # that collect batches together
    late_learners: int = 0  # of them, that a batch may do without
    max_staleness: int = 0  # versions; 0: all stop for an update
    former_terms: frozenset[int] = frozenset()  # of this run's starts before this one
    max_rollout_bytes: int = 2**26
    rollout_spec: Callable[[Spec], Spec] = lambda spec: spec  # what rollouts of spaces hold: what a policy carries too

    @property
    def credit(self) -> int:
        """Rollouts that an actor may have under way beyond the watermark."""
        return CREDIT_GOING_ON if self.max_staleness else CREDIT


@dataclass
class Quota:
    """Rows that one incarnation owes and has delivered under the newest policy, over all its connections."""

    segment_steps: int = 1  # T that it was sent
    longest: int = 1  # T, also of older policies under which it may still deliver
    share: int = 0  # rows that it stops after by itself; 0: only at STOP
    rows: int = 0  # arrived
    last: int = 0  # newest sequence number that is still accepted after STOP; 0: STOP was not sent
    is_in_split: bool = False  # the batch was divided with it
    is_excused: bool = False  # what is left of its share goes to others
    delivered_at: float = 0.0

    @property
    def is_exhausted(self) -> bool:
        """Whether the actor has stopped by itself, with its whole share delivered."""
        return 0 < self.share <= self.rows

    def covers(self, seq: int) -> bool:
        """Whether a rollout of that number is no later than what STOP cut. True before STOP."""
        return not self.last or seq <= self.last


@dataclass
class Peer:
    """One incarnation on a live connection, by which it sent a valid HELLO."""

    key: PeerKey
    actor: str
    incarnation: bytes
    slots: Slots
    account: Account
    heard: float
    ready: bool  # its spec is known to be ours
    token: str = ""  # by which it came, "" where none is needed
    sent_version: int = 0  # newest POLICY sent
    have_version: int = 0
    first_version: int = 0  # of the policy that this connection was sent first; 0: none, or it has ended
    first_bytes: int = 0  # of that policy; 0: none was sent, or it has worked, or has ended
    fetched_by: str = ""  # the token by which it was sent, or is waited for
    policy_due: bool = False  # a newer one waits for HAVE
    policy_sent_at: float = 0.0
    load_seconds: float = 0.0  # from policies sent to HAVE: the longest, of which others wear off
    is_slow: bool = False  # lost its connection while reading a policy: not waited for before HAVE
    takes_small_parts: bool = False  # of policies: it has been slow on this connection or on one before it
    have_at: float = 0.0
    stopped: bool = True  # runs only after a POLICY
    steps: int = 0  # accepted
    credit_upto: int = 0  # newest sequence number that it has credit for
    active_at: float = 0.0  # when it joined, or last delivered
    credit_withheld: bool = False  # until it gets the newest policy
    shares: TimeShares = field(default_factory=TimeShares)
    open_steps: int = 0  # in the segment that it is filling, as its newest PING says; for people, in no account
    granted: int = 0  # steps that it may have sealed undelivered under the newest policy sent
    doing: str = ""  # where its main thread is stuck; "" as far as we know nowhere
    has_left: bool = False  # it has reported why it ends
    notes: int = 0  # about its environments
    refused: set[str] = field(default_factory=set)  # arrays of its rollouts that were not finite
    quota: Quota = field(default_factory=Quota)
    idle_policies: int = 0  # sent since it last delivered
    columns: int = 0  # environments that were stepping in what it delivered
    wait_until: float = 0.0  # for its answer to STOP
    stop_version: int = 0  # of the newest STOP that found it acting
    stop_at: float | None = None  # when that was sent; None: answered

    def grant(self, steps: int, rollouts: int) -> list[Action]:
        """Note that a policy is on its way, under which the actor may seal that many rollouts of that many steps.

        Those made under the policy before the last one have been delivered. The journal must know of it first, should
        actor and learner both die.
        """
        before = self.granted or self.account.may_hold
        self.granted, self.open_steps = steps * rollouts, 0
        known, self.account.may_hold = self.account.may_hold, max(before, self.granted)
        self.account.is_idle = False
        return [Entry.of(self.account, self.incarnation, "granted", 0)] if self.account.may_hold > known else []


@dataclass
class Latencies:
    """Seconds, newest update first to last; the bench reads them."""

    stop: float = math.nan  # STOP sent to the last answer
    policy: float = math.nan  # POLICY sent to the first step under it, slowest actor
