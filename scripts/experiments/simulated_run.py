"""A learner and its actors in one process and in simulated time: real sessions, drivers, environments and trainer.

The clock is a number: a row of an actor's environments takes as long as the experiment says, messages and updates too.
So a straggler of an hour costs nothing, and a run is the same each time.
"""

import functools
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dppo.actor.driver import ActorDriver
from dppo.actor.session.session import ActorSession
from dppo.learner.config import LearnerConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.models.onnx_export import group_metadata
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Action, PeerKey, Send, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import EnvSettings

NO_LEASE_SECONDS = 1e9
TICK_SECONDS = 0.05

Seconds = Callable[[range], float]  # duration of the next row of an actor's environments, by their slots


@dataclass
class Actor:
    """One actor, what is on its way to it, and until when it steps."""

    slots: range
    key: PeerKey
    driver: ActorDriver
    inbox: deque[tuple[float, Send]] = field(default_factory=deque)  # each with the time of its arrival
    steps_until: float | None = None  # the end of the row that it is at


class SimulatedRun:
    """A run of one learner and actors of so many environments each."""

    def __init__(
        self,
        config: LearnerConfig,
        divisions: Sequence[int],
        seconds: Seconds,
        *,
        message_seconds: float = 0.0,
        update_step_seconds: float = 0.0,
    ) -> None:
        """divisions: environments of each actor. message_seconds: from a message of the learner to its arrival.

        update_step_seconds: of an update, for each step of its batch.
        """
        self.now = 0.0
        self._config, self._seconds = config, seconds
        self._message_seconds, self._update_step_seconds = message_seconds, update_step_seconds
        self._session = LearnerSession(_settings(config, sum(divisions)), Ledger(), SlotTable(1, limit=sum(divisions)))
        self._events: list[tuple[float, int, Actor | None]] = [(0.0, 0, None)]
        self._order = itertools.count(1)
        self.version = 0  # of the newest policy
        self._actors: dict[PeerKey, Actor] = {}
        for number in range(len(divisions)):
            self._start(number, range(sum(divisions[:number]), sum(divisions[: number + 1])))
        self.trainer = self._prepared()

    def _start(self, number: int, slots: range) -> None:
        name = f"actor-{number:03d}"
        session = ActorSession(actor=name, incarnation=number.to_bytes(8, "big"), envs=len(slots), release="experiment")
        driver = ActorDriver(session, note=lambda text: None, clock=lambda: self.now)
        actor = self._actors[PeerKey(name.encode())] = Actor(slots, PeerKey(name.encode()), driver)
        driver.connected()
        self._exchange(actor)  # HELLO: slots are handed out in the order of starts

    def _prepared(self) -> Trainer:
        session, peers = self._session, self._session.peer_table.peers
        while len(peers) < len(self._actors) or not all(peer.ready for peer in peers.values()):
            self._turn()
        assert session.peer_table.spec is not None, "that is what makes peers ready"
        config = self._config
        return Trainer(
            session.peer_table.spec,
            ppo=config.ppo,
            network=config.network,
            seed=config.run.seed,
            total_steps=config.run.total_steps,
        )

    def publish(self) -> None:
        """Publish the trainer's policy."""
        self.version += 1
        graph = self.trainer.graph_bytes(self.version)
        if self._config.collect.rule == "quota":
            graph += group_metadata()
        self._do(self._session.publish(self.version, graph, self.now))

    def next_batch(self) -> list[Received]:
        """Let time go on until a batch is full, and by an update on it, during which actors go on if they may."""
        while self._session.cycle.phase is not Phase.UPDATING:
            self._turn()
        batch = list(self._session.cycle.taken.rollouts)
        updated_at = self.now + self._update_step_seconds * sum(rollout.segment.steps for rollout in batch)
        while self._config.collect.max_staleness and self._events[0][0] <= updated_at:
            self._turn()
        self.now = updated_at
        return batch

    def close(self) -> None:
        """End the environments."""
        for actor in self._actors.values():
            actor.driver.close()

    def _turn(self) -> None:
        """The next thing that happens: a row ends, a message arrives, or it is time to look at timeouts."""
        at, _, actor = heapq.heappop(self._events)
        self.now = max(self.now, at)
        if actor is None:
            self._tick()
            return
        if actor.steps_until is not None:
            if actor.steps_until > self.now:
                return  # a message waits for the end of the row
            actor.steps_until = None
            actor.driver.step()
        self._exchange(actor)
        if actor.driver.may_step:
            actor.steps_until = self.now + self._seconds(actor.slots)
            self._push(actor.steps_until, actor)

    def _tick(self) -> None:
        for actor in self._actors.values():
            if actor.steps_until is None:
                actor.driver.tick()
                self._push(self.now, actor)
        self._do(self._session.tick(self.now))
        self._push(self.now + TICK_SECONDS, None)

    def _push(self, at: float, actor: Actor | None) -> None:
        heapq.heappush(self._events, (at, next(self._order), actor))

    def _exchange(self, actor: Actor) -> None:
        """Hand on all that is on its way to and from an actor."""
        while actor.driver.outgoing or (actor.inbox and actor.inbox[0][0] <= self.now):
            while actor.inbox and actor.inbox[0][0] <= self.now:
                _, sent = actor.inbox.popleft()
                actor.driver.handle(decode_from_learner(encode(sent.message), sent.blob is not None), sent.blob)
            outgoing, actor.driver.outgoing = actor.driver.outgoing, []
            for send in outgoing:
                message = decode_from_actor(encode(send.message), send.blob is not None)
                blob = None if send.blob is None else bytes(send.blob)
                self._do(self._session.receive(actor.key, message, blob, self.now))

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send) and action.peer in self._actors:
                actor = self._actors[action.peer]
                actor.inbox.append((self.now + self._message_seconds, action))
                self._push(self.now + self._message_seconds, actor)


def _settings(config: LearnerConfig, slots: int) -> Settings:
    env, collect = config.env, config.collect
    return Settings(
        "experiment",
        1,
        EnvSettings(env.id, vectorization="sync", kwargs_json=env.kwargs_json, wrappers_json=env.wrappers_json),
        collect.envs_per_actor,
        collect.batch_steps,
        collect.segment_steps,
        config.run.seed,
        collect.on_stop,
        NO_LEASE_SECONDS,
        collect.stop_grace_seconds,
        rule=collect.rule,
        slots=slots if collect.rule == "quota" else 0,
        max_staleness=collect.max_staleness,
        rollout_spec=functools.cache(lambda spec: rollout_spec(spec, config.network)),
    )
