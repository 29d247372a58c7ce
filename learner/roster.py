"""Who is connected: admits actors, gives them slots and accounts, replaces them, counts what strangers do wrong.

Part of the learner's session; knows neither phases nor batches.
"""

from collections.abc import Callable

from learner.admission import ENDED, refusal, superseded_by_newer
from learner.entries import Entry
from learner.peers import Action, Note, Peer, Send, Settings
from learner.slots import SlotTable
from protocol.errors import ProtocolError
from protocol.ledger import Ledger
from protocol.messages import Hello, Reject
from protocol.specs import Spec

MAX_STRIKES = 3
MAX_STRIKERS = 4096  # connections whose violations are counted; strangers come and go


class Roster:
    """All live peers of one run."""

    def __init__(self, settings: Settings, ledger: Ledger, slots: SlotTable, spec: Spec | None) -> None:
        self.peers: dict[bytes, Peer] = {}
        self.lost: dict[bytes, Peer] = {}  # nothing reaches them any more, but what they had sent may still arrive
        self.slots = slots
        self.spec = spec  # None until the first actor has said its own
        self._settings = settings
        self._ledger = ledger
        self._strikes: dict[bytes, int] = {}

    def admit(self, peer_id: bytes, hello: Hello, now: float, token: str = "") -> tuple[Peer | None, list[Action]]:
        """The peer that this HELLO makes, None where it is refused, and what to send and say."""
        no = refusal(hello, run_id=self._settings.run_id, spec=self.spec, superseded=self._ledger.ended)
        if no is not None:
            self.forget(peer_id)
            return None, [Send(peer_id, no), Note(f"{hello.actor} was refused: {no.text}")]
        account = self._ledger.open(hello.incarnation, hello.actor)
        lost = account.reconcile(hello.tally)
        actions = self._supersede(peer_id, hello)
        if lost:
            actions.append(Entry.of(account, hello.incarnation, "learner_crash", lost))
        known = self.peers.get(peer_id)
        envs = hello.envs or self._settings.envs_per_actor
        names = {peer.actor for peer in self.peers.values()}
        slots = self.slots.assign(hello.actor, hello.incarnation, envs, in_use=names)
        ready = hello.spec is not None
        if ready and self.spec is None:
            self.spec = hello.spec
        peer = Peer(peer_id, hello.actor, hello.incarnation, slots, account, heard=now, ready=ready, token=token)
        peer.steps = known.steps if known else 0
        self.peers[peer_id] = peer
        self.lost.pop(peer_id, None)
        if lost:
            actions.append(Note(f"{hello.actor}: {lost} steps had been accepted by a learner that died; booked"))
        if ready and not (known and known.ready):
            actions.append(Note(f"{hello.actor} joined with {envs} environments{f' (token {token})' if token else ''}"))
        return peer, actions

    def forget(self, peer_id: bytes) -> Peer | None:
        """That connection is no more; its account stays open."""
        self._strikes.pop(peer_id, None)
        self.lost.pop(peer_id, None)
        return self.peers.pop(peer_id, None)

    def lose(self, peer_id: bytes) -> Peer | None:
        """Nothing can be sent to that connection any more. Its last messages, BYE perhaps, may still be on the way."""
        peer = self.peers.pop(peer_id, None)
        if peer is not None:
            self.lost[peer_id] = peer
        return peer

    def heard_of(self, peer_id: bytes) -> Peer | None:
        """Who speaks on that connection, None where nobody said HELLO on it."""
        return self.peers.get(peer_id) or self.lost.get(peer_id)

    def expel(self, may_stay: Callable[[str], bool]) -> list[Action]:
        """Forget those whose token has ended; they cannot come back, so their accounts are closed."""
        actions: list[Action] = []
        for peer in [p for p in (*self.peers.values(), *self.lost.values()) if p.token and not may_stay(p.token)]:
            self.forget(peer.id)
            if not peer.account.over:
                self._ledger.close(peer.incarnation, "actor_lost")
            actions += [Send(peer.id, ENDED), Note(f"{peer.actor} was sent away: its token {peer.token} has ended")]
        return actions

    def of_incarnation(self, incarnation: bytes) -> Peer | None:
        """That process's live connection, if it has one."""
        return next((peer for peer in self.peers.values() if peer.incarnation == incarnation), None)

    @property
    def is_empty(self) -> bool:
        """Whether nobody has anything more to say."""
        return not self.peers and not self.lost

    def expire(self, now: float) -> list[Action]:
        """Expect nothing more from who has been silent for the lease."""
        notes: list[Action] = []
        for peer in [p for p in (*self.peers.values(), *self.lost.values()) if self._is_overdue(p, now)]:
            if peer.id in self.peers:
                notes.append(Note(f"{peer.actor} has been silent for {now - peer.heard:.0f} s; going on without it"))
            self.forget(peer.id)
        return notes

    def _is_overdue(self, peer: Peer, now: float) -> bool:
        return now - peer.heard > self._settings.lease_seconds

    def dismiss(self) -> None:
        """Everybody is a stranger from now on."""
        self.peers.clear()
        self.lost.clear()

    def strike(self, peer_id: bytes, error: ProtocolError) -> list[Action]:
        """Count a violation; after three the connection is sent away."""
        strikes = self._strikes[peer_id] = self._strikes.get(peer_id, 0) + 1
        while len(self._strikes) > MAX_STRIKERS:
            del self._strikes[next(iter(self._strikes))]
        if strikes < MAX_STRIKES:
            return []
        peer = self.forget(peer_id)
        text = f"{MAX_STRIKES} messages that cannot be used; the last: {error}"[:512]
        name = peer.actor if peer else "a stranger"
        return [Send(peer_id, Reject("protocol", text, fatal=True)), Note(f"{name} was sent away: {error}")]

    def _supersede(self, peer_id: bytes, hello: Hello) -> list[Action]:
        """The newest connection of an incarnation wins, and so does the newest incarnation of a name."""
        actions: list[Action] = []
        for other in [p for p in (*self.peers.values(), *self.lost.values()) if p.id != peer_id]:
            if other.incarnation == hello.incarnation:
                self.forget(other.id)
            elif other.actor == hello.actor:
                self.forget(other.id)
                actions.append(Send(other.id, superseded_by_newer(hello.actor)))
        for incarnation, account in list(self._ledger.accounts.items()):
            if account.actor == hello.actor and incarnation != hello.incarnation and not account.over:
                self._ledger.close(incarnation, "actor_lost")
        return actions
