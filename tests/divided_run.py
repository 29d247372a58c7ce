"""Real actors, sessions and trainer in one process, with any number of actors in any order, and some of them killed."""

import hashlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dppo.actor.driver import ActorDriver
from dppo.actor.session.session import ActorSession
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.models.onnx_export import group_metadata
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Action, Note, PeerKey, Send, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.storage.version_log import lives_of
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.ledger import Ledger, imbalance
from dppo.protocol.messages import EnvSettings
from dppo.protocol.recurrent_state import with_state

SLOTS = 8
BATCH_STEPS = 96
ROUND_SECONDS = 0.01


@dataclass
class Actor:
    """One process, and what is on its way to it."""

    name: str
    envs: int
    key: PeerKey
    driver: ActorDriver
    inbox: deque[Send] = field(default_factory=deque)
    steps: int = 0


class DividedRun:
    """One learner of real parts; the order in which actors step and messages arrive is that of a seed."""

    def __init__(
        self,
        divisions: Mapping[str, int],
        *,
        seed: int,
        env: str = "CartPole-v1",
        memory: str = "none",
        noise_colour: float = 0.0,
    ) -> None:
        """divisions: environments of each actor, by its name."""
        self._network = NetworkConfig(
            policy_hidden=(16,), critic_hidden=(16,), memory=memory, noise_colour=noise_colour
        )
        self.now = 0.0
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        environment = EnvSettings(env, vectorization="sync")
        size = self._network.state_size
        settings = Settings(
            "run", 1, environment, SLOTS, BATCH_STEPS, 0, 1, "keep", 1e6, 3.0, rule="quota", slots=SLOTS
        )
        self._settings = replace(settings, rollout_spec=lambda spec: with_state(spec, size))
        self.session = LearnerSession(self._settings, Ledger(), SlotTable(1, limit=SLOTS))
        self.actors: dict[str, Actor] = {}
        self.notes: list[str] = []
        for name, envs in divisions.items():
            self.start(name, envs)

    def start(self, name: str, envs: int) -> None:
        """Start a process of that name."""
        number = next(self._numbers)
        session = ActorSession(actor=name, incarnation=self._random.randbytes(8), envs=envs, release="test")
        driver = ActorDriver(session, note=lambda text: None, clock=lambda: self.now)
        self.actors[name] = Actor(name, envs, PeerKey(b"connection-%d" % number), driver)
        driver.connected()
        self._deliver(self.actors[name])  # HELLO: slots are handed out in the order of starts

    def kill(self, name: str) -> Actor:
        """Kill the process; nothing that it has not sent arrives."""
        actor = self.actors.pop(name)
        actor.driver.close()
        self._do(self.session.unreachable(actor.key.connection, self.now))
        return actor

    def digests(self, versions: int, meanwhile: Callable[["DividedRun"], None] = lambda run: None) -> list[str]:
        """Train so many versions; SHA-256 of each graph. meanwhile: called between any two steps."""
        while self.session.peer_table.spec is None:
            self._turn()
        trainer = Trainer(
            self.session.peer_table.spec,
            ppo=PpoConfig(epochs=2, minibatch_steps=32),
            network=self._network,
            seed=1,
            total_steps=10**6,
        )
        found: list[str] = []
        self.lives: list[object] = []
        for version in range(1, versions + 1):
            graph = trainer.graph_bytes(version) + group_metadata()
            found.append(hashlib.sha256(graph).hexdigest())
            self._do(self.session.publish(version, graph, self.now))
            while self.session.cycle.phase is not Phase.UPDATING:
                self._turn()
                meanwhile(self)
            batch = self.session.cycle.batch.rollouts
            self.lives.append(lives_of(batch))
            trainer.update(batch)
        ledger = self.session.ledger
        assert imbalance([ledger.closed, *ledger.accounts.values()]) == ""
        for actor in self.actors.values():
            actor.driver.close()
        return found

    def _turn(self) -> None:
        """One of the actors steps, or gets its messages."""
        self.now += ROUND_SECONDS
        actor = self._random.choice(list(self.actors.values()))
        for _ in range(self._random.randrange(4)):
            if actor.driver.may_step:
                actor.driver.step()
                actor.steps += 1
        self._deliver(actor)
        actor.driver.tick()
        self._do(self.session.tick(self.now))

    def _deliver(self, actor: Actor) -> None:
        outgoing, actor.driver.outgoing = actor.driver.outgoing, []
        for send in outgoing:
            message = decode_from_actor(encode(send.message), send.blob is not None)
            self._do(self.session.receive(actor.key, message, send.blob, self.now))
        while actor.inbox:
            sent = actor.inbox.popleft()
            actor.driver.handle(decode_from_learner(encode(sent.message), sent.blob is not None), sent.blob)

    def _do(self, actions: list[Action]) -> None:
        by_key = {actor.key: actor for actor in self.actors.values()}
        for action in actions:
            if isinstance(action, Send) and action.peer in by_key:
                by_key[action.peer].inbox.append(action)
            elif isinstance(action, Note):
                self.notes.append(action.text)
