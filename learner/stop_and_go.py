"""Stop and go: the phases of a learner's session, the batch that is collected in them, STOP and POLICY to the peers.

Part of the learner's session, without I/O; knows neither HELLO nor the ledger.
"""

import math

from learner.batch import Received
from learner.intake import MOST_UNDELIVERED, SEGMENTS_PER_BATCH
from learner.peers import Action, Latencies, Note, Peer, Send, Settings
from learner.phases import Event, Phase, following
from learner.roster import Roster
from protocol.messages import Bye, Have, Part, Policy, Stop, Stopped
from protocol.snapshot import Snapshot

LOADING_SECONDS = 0.5  # whoever takes longer to receive and load a policy is not waited for at STOP


class StopAndGo:
    """Who runs under which policy, and when all must stop. Methods return what the shell has to do, in order."""

    def __init__(self, settings: Settings, roster: Roster) -> None:
        self.phase = Phase.WAITING
        self.snapshot = Snapshot(settings.epoch, 0, b"")
        self.batch: list[Received] = []
        self.batch_steps = 0
        self.batch_bytes = 0
        self.latencies = Latencies()
        self.stop_sent_at = 0.0
        self._settings = settings
        self._roster = roster
        self._peers = roster.peers
        self._drain_deadline = math.inf
        self._awaited: list[Peer] = []  # STOPPING: among them are all that have not answered
        self._episode_ended = False  # in the batch
        self._first_step_seconds: list[float] = []

    @property
    def current(self) -> tuple[int, int]:
        """Epoch and version of the newest policy."""
        return self.snapshot.epoch, self.snapshot.version

    def unstopped(self) -> list[Peer]:
        """Peers that act, or that have not answered STOP yet."""
        return [peer for peer in self._peers.values() if not peer.stopped]

    def collect(self, received: Received, size: int) -> None:
        """One more accepted rollout for the batch, of that many bytes."""
        self.batch.append(received)
        self.batch_bytes += size
        self._episode_ended |= self._settings.stop_at_episode_end and received.segment.ends_episode
        self.batch_steps += received.segment.steps

    def clear_batch(self) -> None:
        """The batch is done with."""
        self.batch, self.batch_steps, self.batch_bytes, self._episode_ended = [], 0, 0, False

    def advance(self, now: float) -> list[Action]:
        """Whatever the table allows now."""
        actions: list[Action] = []
        is_collecting = self.phase is Phase.COLLECTING
        if is_collecting and (self.batch_steps >= self._settings.batch_steps or self._episode_ended):
            self.phase = following(self.phase, Event.BATCH_FULL)
            self.stop_sent_at = now
            self._awaited = []
            for peer in self.unstopped():
                actions += self.stop(peer)
        elif is_collecting and self._settings.even_shares and all(peer.exhausted for peer in self.unstopped()):
            for peer in self.unstopped():  # someone died with its share, or rows were resets: another round
                actions += self.offer_policy(peer, now)
        if self.phase is Phase.STOPPING and self._all_have_stopped():
            self.phase = following(self.phase, Event.ALL_STOPPED)
            self.latencies = Latencies(now - self.stop_sent_at, max(self._first_step_seconds, default=math.nan))
        if self.phase is Phase.DRAINING and (self._roster.is_empty or now >= self._drain_deadline):
            self.phase = following(self.phase, Event.DRAINED)
        if self.phase is Phase.LEAVING and (not self.unstopped() or now >= self._drain_deadline):
            self.phase = following(self.phase, Event.DRAINED)
        return actions

    def _all_have_stopped(self) -> bool:
        """Whether nobody is awaited any more. Looks at each peer once an update, not with every message."""
        while self._awaited:
            peer = self._awaited[-1]
            if not peer.stopped and self._peers.get(peer.id) is peer:
                return False
            self._awaited.pop()
        return True

    @property
    def all_have_loaded(self) -> bool:
        """Whether everyone acts under the newest policy, those apart that are still reading an older one."""
        return not any(peer.have_version < peer.sent_version == self.snapshot.version for peer in self._peers.values())

    def give_up_late(self, now: float) -> list[Action]:
        """Go on without those that have not answered STOP within the grace."""
        actions: list[Action] = []
        for peer in self._awaited if self.phase is Phase.STOPPING else ():
            if peer.have_version < self.snapshot.version and now - peer.policy_sent_at > LOADING_SECONDS:
                peer.stopped = True  # it still reads its policy, and has nothing to send under it
        if self.phase is Phase.STOPPING and now - self.stop_sent_at > self._settings.stop_grace_seconds:
            for peer in self.unstopped():
                peer.stopped = True
                grace = f"{self._settings.stop_grace_seconds:g} s"
                silent = f"last heard {now - peer.heard:.1f} s ago{f', {peer.doing}' * bool(peer.doing)}"
                actions.append(Note(f"{peer.actor} did not stop within {grace} ({silent}); going on without it"))
        return actions

    def publish(self, version: int, graph: bytes, now: float) -> list[Action]:
        """A new policy: everyone goes on under this one."""
        self.phase = following(self.phase, Event.PUBLISHED)
        self.clear_batch()
        self.snapshot = Snapshot(self._settings.epoch, version, graph)
        self._first_step_seconds = []
        share = self._share()
        actions: list[Action] = []
        for peer in self._peers.values():
            actions += self.offer_policy(peer, now, share)
        return actions

    def finish(self, reason: str, now: float) -> list[Action]:
        """The run is over: BYE to all, and a deadline for their last words."""
        self.phase = following(self.phase, Event.FINISH)
        self.clear_batch()
        self._drain_deadline = now + self._settings.stop_grace_seconds
        return [Send(peer.id, Bye(reason)) for peer in self._peers.values()] + self.advance(now)

    def leave(self, now: float) -> list[Action]:
        """The learner ends: STOP to all who act, and a deadline for what they have begun."""
        told = self.phase is Phase.STOPPING
        self.phase = following(self.phase, Event.LEAVE)
        self.clear_batch()
        self._drain_deadline = now + self._settings.stop_grace_seconds
        actions: list[Action] = []
        for peer in [] if told else self.unstopped():
            actions += self.stop(peer)
        return actions + self.advance(now)

    def stop(self, peer: Peer) -> list[Action]:
        """Tell it to cut now."""
        # nobody waits for who comes back during the update, or gets its policy so slowly that it cannot have begun
        unread = peer.is_slow and peer.have_version < peer.sent_version
        peer.stopped = unread or self.phase not in (Phase.STOPPING, Phase.LEAVING)
        if not peer.stopped:
            self._awaited.append(peer)
        return [Send(peer.id, Stop(*self.current, self._settings.stop_grace_seconds))]

    def stopped(self, peer: Peer, message: Stopped, now: float) -> list[Action]:
        """Its answer to STOP."""
        if (message.epoch, message.version) != self.current:
            return []
        peer.stopped = True
        peer.account.is_idle = True
        if message.first_step_seconds > 0 and peer.have_version == message.version:
            self._first_step_seconds.append(peer.have_at - peer.policy_sent_at + message.first_step_seconds)
        return self.advance(now)

    def have(self, peer: Peer, have: Have, now: float) -> list[Action]:
        """It has loaded a policy."""
        if have.epoch != self.snapshot.epoch:
            return []
        peer.have_version = have.version
        peer.have_at = now
        peer.is_slow = False
        if self.phase is Phase.STOPPING and have.version == self.snapshot.version and peer.stopped:
            peer.stopped = False  # it begins only now; STOP is already on the way
            self._awaited.append(peer)
        return self.offer_policy(peer, now) if peer.policy_due else []

    def offer_policy(self, peer: Peer, now: float, share: int = 0) -> list[Action]:
        """Send the newest policy, at most one in flight: a slow reader skips versions.

        share: of the batch, in rows of every environment; 0: find it out.
        """
        if not peer.ready or self.phase is not Phase.COLLECTING:
            return []
        if peer.sent_version > peer.have_version:
            peer.policy_due = True
            return []
        peer.policy_due = False
        peer.sent_version = self.snapshot.version
        peer.policy_sent_at = now
        peer.stopped = False
        share = share or self._share()
        peer.rows, peer.share = 0, share if self._settings.even_shares else 0
        cut = self._settings.stop_at_episode_end
        segment_steps = self._settings.segment_steps or math.ceil(share / SEGMENTS_PER_BATCH)
        policy = Policy(*self.current, self.snapshot.digest, segment_steps, cut, peer.share)
        granted = peer.grant(segment_steps * peer.slots.envs, rollouts=MOST_UNDELIVERED[self._settings.on_stop])
        *parts, last = self.snapshot.parts
        sends = [Send(peer.id, Part(*self.current, index), part) for index, part in enumerate(parts)]
        return [*granted, *sends, Send(peer.id, policy, last)]

    @property
    def segment_steps(self) -> int:
        """T of a rollout message under the current actors."""
        return self._settings.segment_steps or math.ceil(self._share() / SEGMENTS_PER_BATCH)

    def _share(self) -> int:
        """Rows of every environment that make a batch together; of those that take part in it."""
        taking_part = [peer.slots.envs for peer in self._peers.values() if peer.ready and not peer.is_slow]
        envs = sum(taking_part) or self._settings.envs_per_actor
        return math.ceil(self._settings.batch_steps / envs)
