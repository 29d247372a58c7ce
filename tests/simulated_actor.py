"""A simulated actor: the real driver and session over simulated environments.

Every step has a number of its own that is also its observation: so the books of the onlooker know of each step under
which policy it was sampled, where it went and whether it was trained on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dppo.actor.driver import ActorDriver
from dppo.actor.session.actions import Exit
from dppo.actor.session.session import ActorSession
from dppo.learner.session.records import PeerKey
from dppo.protocol.rollout import Segment
from dppo.protocol.specs import Leaf, Spec

ENVS = 2
SPEC = Spec(
    observation=(Leaf("observation", "<i8", (), "box"),), action=(Leaf("action", "<i8", (), "discrete", categories=4),)
)

Incarnation = bytes
Identity = int  # of one step of one environment
Sampled = tuple[int, int]  # term and version of the policy that a step was sampled with


@dataclass
class Connection:
    """Two first-in-first-out channels between one actor and the learner, perhaps by way of a relay."""

    id: bytes  # of the learner's connection, which those behind one relay share
    incarnation: Incarnation
    local: bytes = b""  # its id at the relay; b"": there is none in between
    up: deque[tuple[bytes, bytes | None]] = field(default_factory=deque)
    down: deque[tuple[bytes, bytes | None]] = field(default_factory=deque)
    open: bool = True  # at the actor's end
    noticed: bool = False  # the learner's transport knows that it is gone
    delivered: list[tuple[bytes, bytes | None]] = field(default_factory=list)  # to the learner

    @property
    def is_relayed(self) -> bool:
        return bool(self.local)

    @property
    def place(self) -> PeerKey:
        """By which the network knows it."""
        return PeerKey(self.local) if self.local else self.key

    @property
    def key(self) -> PeerKey:
        """By which the learner knows the actor."""
        return PeerKey(self.id, self.incarnation if self.is_relayed else b"")


class SampledWorld(Protocol):
    """The part of the world that a simulated collector sees."""

    spec: Spec
    cuts_by_steps: bool
    numbers: Iterator[Identity]
    sampled: dict[Identity, Sampled]
    streams: set[tuple[int, int]]
    acting: "Process"


class FakeEnvironments:
    """Environments that have a spec and nothing to step."""

    description = "simulated"

    def __init__(self, envs: int, spec: Spec = SPEC) -> None:
        self.envs = envs
        self.spec = spec

    def given(self, column: int, name: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Close nothing."""


class FakePolicy:
    """The graph's bytes are the term and the version."""

    def __init__(self, graph: bytes) -> None:
        term, version = graph.split()
        self.sampled: Sampled = (int(term), int(version))


class FakeCollector:
    """A collector whose observations are the steps' own numbers. Some rows are resets, some end an episode."""

    def __init__(self, world: SampledWorld, envs: int, slots: Sequence[tuple[int, int]]) -> None:
        assert not world.streams & set(slots), f"a random stream is used twice: {slots}"
        world.streams.update(slots)
        self.env_seconds = self.policy_seconds = 0.0
        self._world = world
        self._envs = envs
        self._policy: FakePolicy | None = None
        self._observations: list[list[Identity]] = []
        self._valid: list[list[bool]] = []
        self._ends: list[bool] = []  # the first column's episode
        self._stepped = 0

    @property
    def rows(self) -> int:
        return len(self._valid)

    @property
    def steps(self) -> int:
        """Steps as the collector counts them; else resets count too, so that segments have a fixed number of rows."""
        return sum(map(sum, self._valid)) if self._world.cuts_by_steps else self.rows * self._envs

    @property
    def envs(self) -> int:
        return self._envs

    @property
    def ended_episode(self) -> bool:
        return bool(self._ends) and self._ends[-1]

    def load(self, policy: FakePolicy, rows: int) -> None:
        assert not self.rows, "an open segment would have two policies"
        self._policy = policy

    def step(self) -> None:
        assert self._policy is not None
        self._stepped += 1
        valid = [True] + [self._stepped % 5 != 4] * (self._envs - 1)
        numbers = [next(self._world.numbers) for _ in range(self._envs)]
        for number, is_step in zip(numbers, valid, strict=True):
            if is_step:
                self._world.sampled[number] = self._policy.sampled
        self._observations.append(numbers)
        self._valid.append(valid)
        self._ends.append(self._stepped % 9 == 5)

    def cut(self, *, keep_resets: bool = False) -> Segment | None:
        if not self.rows:
            return None
        T, E = self.rows, self._envs
        padding = {leaf.name: leaf for leaf in self._world.spec.observation if leaf.name != "observation"}
        segment = Segment(
            observations={"observation": np.array([*self._observations, [-1] * E], np.int64)}
            | {name: np.zeros((T + 1, E, *leaf.shape), leaf.dtype) for name, leaf in padding.items()},
            actions={"action": np.zeros((T, E), np.int64)},
            masks={},
            states={},
            behaviour_log_probs=np.zeros((T, E), np.float32),
            rewards=np.zeros((T, E), np.float32),
            terminated=np.array(self._ends)[:, None] & (np.arange(E) == 0),
            truncated=np.zeros((T, E), bool),
            valid=np.array(self._valid),
            final_observations={"observation": np.zeros(0, np.int64)}
            | {name: np.zeros((0, *leaf.shape), leaf.dtype) for name, leaf in padding.items()},
            episode_returns=np.zeros(0, np.float32),
            episode_lengths=np.zeros(0, np.int32),
            episode_columns=np.zeros(0, np.int32),
            episode_successes=np.zeros(0, np.float32),
        )
        self._observations, self._valid, self._ends = [], [], []
        return segment

    def discard(self) -> int:
        segment = self.cut()
        if segment is None:
            return 0
        self._world.acting.dropped += numbers_of(segment)
        return segment.steps


class WatchedSession(ActorSession):
    """The actor's session; tells the onlooker what it seals."""

    process: "Process"

    def deliver(self, segment: Segment) -> list[Any]:
        self.process.shipped.append(numbers_of(segment))
        return super().deliver(segment)


@dataclass
class Process:
    """One life of one actor."""

    name: str
    incarnation: Incarnation
    session: WatchedSession
    driver: ActorDriver
    connection: Connection | None = None
    alive: bool = True
    notes: list[str] = field(default_factory=list)
    shipped: list[list[Identity]] = field(default_factory=list)  # by sequence number, from 1
    dropped: list[Identity] = field(default_factory=list)  # cut and thrown away at a stop, in order

    @property
    def exit(self) -> Exit | None:
        return self.driver.exit

    @property
    def sealed_steps(self) -> int:
        return sum(map(len, self.shipped)) + len(self.dropped)

    def shipped_steps(self, upto: int) -> int:
        return sum(map(len, self.shipped[:upto]))


def numbers_of(segment: Segment) -> list[Identity]:
    """The numbers of the steps in it: rows that are only resets do not count."""
    numbers: list[Identity] = segment.observations["observation"][:-1][segment.valid].tolist()
    return numbers
