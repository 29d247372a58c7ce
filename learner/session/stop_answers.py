"""Answers to STOP: for whom to wait, for how long, and what to say of those that come too late. Without I/O."""

import math
from collections.abc import Mapping, Sequence

from dppo.learner.session.punctuality import LATE_TIMES, Punctuality
from dppo.learner.session.records import Action, Note, Peer, PeerKey

UNKNOWN_SECONDS = 1.5  # for actors that have not answered in time yet; all others answer within milliseconds
LOADING_SECONDS = 0.5  # a peer that takes longer to receive and load a policy is not waited for at STOP
STEPS_OF_ROOM = 1.5  # a grace that is advised is so much longer than the answer took


class Answers:
    """Record of which peers answer STOP within the grace."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._punctuality = Punctuality(grace_seconds, UNKNOWN_SECONDS)
        self.since = 0.0  # when the newest STOP to all was sent
        self._awaited: list[Peer] = []  # among them are all that have not answered it
        self._open: dict[PeerKey, Peer] = {}  # acting when STOP was sent, and not judged yet
        self._said: list[Action] = []  # for the next tick
        self._charged_at = -math.inf  # up to then, waits in vain are subtracted
        self._advised: set[str] = set()  # actors for which the setting that would let them contribute was logged

    def begin(self, now: float) -> None:
        """Note that STOP goes to all that act."""
        self.since, self._awaited = now, []

    def wait_for(self, peer: Peer, version: int, now: float) -> None:
        """Wait for its answer to STOP, if it is worth it."""
        peer.stopped = not self._expect(peer, version, now)
        self._awaited += [] if peer.stopped else [peer]

    def are_in(self, peers: Mapping[PeerKey, Peer]) -> bool:
        """Whether no peer is awaited any more. Looks at each peer once an update, not with every message."""
        awaited = self._awaited
        while awaited and (awaited[-1].stopped or peers.get(awaited[-1].key) is not awaited[-1]):
            awaited.pop()
        return not awaited

    def _expect(self, peer: Peer, version: int, now: float) -> bool:
        """STOP was sent. Return whether to wait for the answer."""
        if peer.have_version == version:  # acting under it: how soon it answers says how long its steps take
            if peer.key in self._open and peer.stop_version < version:
                self._said += self._judge(peer, now)  # it went on to a later policy without a word
            peer.stop_at, peer.stop_version = now, version
            self._open[peer.key] = peer
        allowed = self._punctuality.allowed_seconds(peer.actor, now)
        peer.wait_until = now + allowed
        return allowed > 0

    def answered(self, peer: Peer, version: int, now: float) -> list[Action]:
        """The answer to the STOP of that version."""
        if peer.stop_at is None or version != peer.stop_version:
            return []
        seconds, peer.stop_at = now - peer.stop_at, None
        is_judged = self._open.pop(peer.key, None) is None
        record = self._punctuality.record(peer.actor)
        was_given_up = record.is_given_up
        if seconds <= self._grace_seconds:
            self._punctuality.in_time(peer.actor, seconds)
            if was_given_up and not record.is_given_up:
                self._advised.discard(peer.actor)
                return [Note(f"{peer.actor} stops in time again: it is waited for")]
            return []
        actions = [] if is_judged else self._judge(peer, now)
        record.seconds = seconds
        return [*actions, *self._advise(peer)]

    def tick(self, peers: Mapping[PeerKey, Peer], now: float) -> list[Action]:
        """Judge those whose grace is over."""
        actions, self._said = self._said, []
        for key, peer in list(self._open.items()):
            if peers.get(key) is not peer:
                del self._open[key]
            elif peer.stop_at is not None and now - peer.stop_at > self._grace_seconds:
                del self._open[key]
                actions += self._judge(peer, now)
        return actions

    def give_up_late(self, version: int, now: float) -> list[Action]:
        """Go on without those that have not answered in time, or still read the policy of that version."""
        for peer in self._awaited:
            is_loading = peer.have_version < version
            if is_loading and not peer.stopped and now - peer.policy_sent_at > LOADING_SECONDS:
                peer.stopped = True  # it still reads its policy, and has nothing to send under it
                self._waited_in_vain(now)
        return self._give_up([peer for peer in self._awaited if not peer.stopped and now > peer.wait_until], now)

    def _give_up(self, late: Sequence[Peer], now: float) -> list[Action]:
        """Go on without these. Named are those that were waited for before."""
        actions: list[Action] = []
        since = self.since
        for peer in late:
            peer.stopped = True
            if not self._punctuality.record(peer.actor).late or peer.wait_until - since >= self._grace_seconds:
                waited = f"{min(self._grace_seconds, peer.wait_until - since):.2g} s"
                text = f"{peer.actor} did not stop within {waited} ({_silent(peer, now)}); going on without it"
                actions.append(Note(text))
        if late:
            self._waited_in_vain(now)
        return actions

    def gone(self, peer: Peer, now: float) -> None:
        """Record that a peer went without an answer to STOP."""
        self._waited_in_vain(now)
        self._punctuality.gone(peer.actor, now - self.since)

    def _waited_in_vain(self, now: float) -> None:
        """Record a wait that ended without an answer. Waits for several at the same time are counted once."""
        self._punctuality.wasted(now - max(self.since, min(self._charged_at, now)), now)
        self._charged_at = now

    def _judge(self, peer: Peer, now: float) -> list[Action]:
        record = self._punctuality.record(peer.actor)
        if record.is_given_up:
            record.in_time = 0
            return []
        self._punctuality.late(peer.actor)
        if not record.is_given_up:
            return []
        text = (
            f"{peer.actor} was late {LATE_TIMES} times to stop for an update ({_silent(peer, now)}): the learner waits "
            "no more for it, until it stops in time again. What it delivers late is dropped"
        )
        return [Note(text), *self._advise(peer)]

    def _advise(self, peer: Peer) -> list[Action]:
        """Say once what would let it contribute, as soon as that is known."""
        record = self._punctuality.record(peer.actor)
        if not record.is_given_up or peer.actor in self._advised or record.seconds <= self._grace_seconds:
            return []
        if len(self._advised) >= 1024:
            self._advised.clear()
        self._advised.add(peer.actor)
        enough = math.ceil(STEPS_OF_ROOM * record.seconds)
        text = (
            f"{peer.actor} cannot contribute: to stop takes it {record.seconds:.1f} s, which is a step of its "
            f"environments, and collect.stop_grace_seconds={self._grace_seconds:g}. With {enough} it could, and every "
            "update would wait for its step"
        )
        return [Note(text)]


def _silent(peer: Peer, now: float) -> str:
    doing = f", {peer.doing}" if peer.doing else ""
    return f"last heard {now - peer.heard:.1f} s ago{doing}"
