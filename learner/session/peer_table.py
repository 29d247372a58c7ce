"""Table of connected peers: admits actors, gives them slots and accounts, replaces them, counts violations.

Part of the learner's session; knows neither phases nor batches.
"""

import math
from collections.abc import Callable

from dppo.learner.session.admission import (
    ENDED,
    crowded,
    full,
    refusal,
    superseded_by_newer,
    too_large,
    without_slots,
)
from dppo.learner.session.name_owners import Names
from dppo.learner.session.peer_index import PeerIndex
from dppo.learner.session.placement import Placement
from dppo.learner.session.plausibility import Plausibility, check_tally
from dppo.learner.session.policy_fetches import Fetches
from dppo.learner.session.rate_limit import PeerLimits
from dppo.learner.session.records import Action, Kick, Note, Peer, PeerKey, Send, Settings
from dppo.learner.session.relays import Relays
from dppo.learner.session.run_spaces import Spaces
from dppo.learner.session.slots import SlotTable
from dppo.learner.storage.journal_records import Entry
from dppo.protocol.errors import HostileError, ProtocolError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Hello, Reject
from dppo.protocol.snapshot import Snapshot
from dppo.protocol.specs import Spec

ABSENT_SECONDS = 60.0  # without a connection, after which an account is written off
ABSENCE_LOOK_SECONDS = 1.0
IDLE_LEASES = 6  # without delivering what it was asked for, after which an actor may lose its place


class PeerTable:
    """All live peers of one run."""

    def __init__(self, settings: Settings, ledger: Ledger, slots: SlotTable, spec: Spec | None) -> None:
        self.index = PeerIndex()
        self.peers, self.lost = self.index.peers, self.index.lost
        self.slots = slots
        is_settled = ledger.total().trained > 0
        self.spaces = Spaces(spec, is_settled=is_settled, why_not=settings.why_not_trained)
        self._settings = settings
        self.ledger = ledger
        self.peer_limits = PeerLimits(settings.actors_per_relay)
        self.relays = Relays(settings, self.peer_limits, self.index)
        self.fetches, self.placement = Fetches(), Placement()
        self.plausibility = Plausibility(settings, ledger)
        self._gone: list[Peer] = []  # from `peers`, since they were taken
        self._owners = Names(ledger, settings.term)
        self._absent_since: dict[bytes, float] = {}  # incarnations with an account and no connection
        self._absence_at = -math.inf

    @property
    def spec(self) -> Spec | None:
        """The run's spaces; None until the first actor has sent its own."""
        return self.spaces.spec

    @property
    def rollout_spec(self) -> Spec | None:
        """The run's spaces with what the policy carries from step to step: what a rollout holds."""
        spec = self.spaces.spec
        return None if spec is None else self._settings.rollout_spec(spec)

    def paying(self, key: PeerKey) -> PeerKey:
        """Return what a message counts for: an incarnation that has joined by an envelope, else the connection."""
        return key if not key.incarnation or key in self.peers else PeerKey(key.connection)

    def admit(self, key: PeerKey, hello: Hello, now: float, token: str = "") -> tuple[Peer | None, list[Action]]:
        """The peer that this HELLO makes, None where it is refused, and what to send and say."""
        no = refusal(hello, run_id=self._settings.run_id, superseded=self.ledger.ended, max_envs=self._max_envs)
        no = no or too_large(self._settings, hello) or self._owners.refusal(hello, token)
        no = no or self.spaces.refusal(hello, token)
        envs = hello.envs or self._settings.envs_per_actor
        no = no or without_slots(hello, self.slots, envs, in_use=self.index.names)
        if no is not None:
            self.forget(key)
            notes = [] if no.challenge else [Note(f"{hello.actor} was refused: {no.text}")]
            return None, [Send(key, no), *notes]
        if self._is_crowded(key, hello):
            return None, [Send(key, crowded(self.relays.most_carried(key.connection)))]
        room = self._make_room(hello, now)
        if room is None:
            return None, [Send(key, full(self._settings.max_actors))]
        account = self.ledger.open(hello.incarnation, hello.actor)
        account.token = token
        was_away = account.away
        lost = account.reconcile(self.plausibility.joining(account, hello, envs))
        self.ledger.unaccounted.add(least=-lost, most=-lost)
        is_slow = self._left_unread(key, hello)
        takes_small_parts = any(peer.takes_small_parts for peer in self._connections_of(hello))
        actions = [*room, *self._supersede(key, hello)]
        if lost:
            actions.append(Entry.of(account, hello.incarnation, "learner_crash", lost))
        elif was_away:  # replayed, any entry takes it up again: it may hold steps of which this learner never hears
            actions.append(Entry.of(account, hello.incarnation, "granted", 0))
        known = self.peers.get(key)
        slots = self.slots.assign(hello.actor, hello.incarnation, envs, in_use=self.index.names)
        ready = hello.spec is not None
        if hello.spec is not None and self.spec is None:
            self.spaces.begin(hello.spec, now)
        joined = ready and not (known and known.ready)
        active_at = known.active_at if known and known.ready == ready else now
        peer = known or Peer(key, hello.actor, hello.incarnation, slots, account, heard=now, ready=ready)
        # what was sent on this connection arrives, so all that is known of the peer still holds
        peer.slots, peer.account, peer.heard, peer.ready, peer.token = slots, account, now, ready, token
        peer.is_slow, peer.active_at = is_slow, active_at
        peer.takes_small_parts |= is_slow or takes_small_parts
        self.index.add(peer)
        if lost:
            actions.append(Note(f"{hello.actor}: {lost} steps had been accepted by a learner that died; booked"))
        if joined:
            actions.append(Note(f"{hello.actor} joined with {envs} environments{f' (token {token})' if token else ''}"))
        return peer, actions

    def _is_crowded(self, key: PeerKey, hello: Hello) -> bool:
        """Whether the connection carries enough others; a process before this one makes room for it."""
        carried = self.index.of_connection(key.connection)
        others = [peer for peer in carried if peer.key != key and peer.actor != hello.actor]
        return len(others) >= self.relays.most_carried(key.connection)

    def _make_room(self, hello: Hello, now: float) -> list[Action] | None:
        """None where all places are taken by actors that work. An idle one loses its place to one that wants in."""
        if len(self.peers) < self._settings.max_actors or self.index.of_actor(hello.actor):
            return []
        idle = [peer for peer in self.peers.values() if self._is_idle(peer, now)]
        if not idle:
            return None
        longest = min(idle, key=lambda peer: peer.active_at)
        self.forget(longest.key)
        note = Note(f"{longest.actor} has not delivered for {now - longest.active_at:.0f} s and lost its place")
        return [Send(longest.key, full(self._settings.max_actors)), note]

    def _is_idle(self, peer: Peer, now: float) -> bool:
        """Whether that peer takes a place and brings nothing."""
        lease = self._settings.lease_seconds
        if peer.steps:
            return peer.idle_policies > 2 and now - peer.active_at > IDLE_LEASES * lease
        return now - peer.active_at > lease + (0 if peer.ready else self._settings.env.step_timeout_seconds)

    @property
    def _max_envs(self) -> int:
        return max(self._settings.max_envs_per_actor, self._settings.envs_per_actor)

    def _left_unread(self, key: PeerKey, hello: Hello) -> bool:
        """Whether this process's connections before this one ended over a policy that it had not read to its end."""
        return any(p.is_slow or (p.key != key and p.have_version < p.sent_version) for p in self._connections_of(hello))

    def _connections_of(self, hello: Hello) -> list[Peer]:
        """Return the connections of this process that are known."""
        return [peer for peer in self.index.of_actor(hello.actor) if peer.incarnation == hello.incarnation]

    def check_identity(self, key: PeerKey, hello: Hello) -> None:
        """Raises HostileError where a connection or an incarnation changes hands, which no process can do."""
        check_tally(hello.tally)
        if key.incarnation not in (b"", hello.incarnation):
            raise HostileError(f"{hello.actor} says HELLO in the envelope of another process")
        peer = self.peers.get(key)
        if peer is not None and peer.incarnation != hello.incarnation:
            raise HostileError(f"{peer.actor} says HELLO as another process on the same connection")
        account = self.ledger.accounts.get(hello.incarnation)
        if account is not None and account.actor != hello.actor:
            raise HostileError(f"{hello.actor} says HELLO with the incarnation of {account.actor}")

    def forget(self, key: PeerKey) -> Peer | None:
        """Forget that peer; its account stays open."""
        gone = self.heard_of(key)
        if gone is not None:
            self.fetches.end(gone)
        peer = self.index.remove(key)
        self._gone += [] if peer is None else [peer]
        return peer

    def lose(self, connection: bytes) -> list[Peer]:
        """Send nothing more over that connection. The last messages on it, BYE perhaps, may still be on the way."""
        gone = self.index.lose(connection)
        self._gone += gone
        for peer in gone:
            self.fetches.end(peer)
        return gone

    def may_fetch(self, peer: Peer, snapshot: Snapshot, now: float) -> bool:
        """Whether to send the peer that policy now; if not, it waits. The first one is free if its relay holds it."""
        is_free = not peer.sent_version and self.relays.holds(peer.key, snapshot)
        return is_free or self.fetches.begin(peer, snapshot, now)

    def take_gone(self) -> list[Peer]:
        """Return once each peer that has left the table."""
        gone, self._gone = self._gone, []
        return gone

    def heard_of(self, key: PeerKey) -> Peer | None:
        """Return the peer of that key, None before its HELLO."""
        return self.index.heard_of(key)

    def expel(self, may_stay: Callable[[str], bool]) -> list[Action]:
        """Forget those whose token has ended; they cannot come back, so their accounts are closed."""
        actions: list[Action] = []
        for peer in [p for p in (*self.peers.values(), *self.lost.values()) if p.token and not may_stay(p.token)]:
            self.forget(peer.key)
            if not peer.account.over:
                self.ledger.close(peer.incarnation, "actor_lost")
            note = Note(f"{peer.actor} was disconnected: its token {peer.token} has ended")
            actions += [Send(peer.key, ENDED), Kick(peer.key.connection), note]
        return actions

    @property
    def is_empty(self) -> bool:
        """Whether no peer can send anything more."""
        return not self.peers and not self.lost

    def expire(self, now: float) -> list[Action]:
        """Expect nothing more from peers that have been silent for the lease."""
        notes: list[Action] = []
        for peer in [p for p in (*self.peers.values(), *self.lost.values()) if self._is_overdue(p, now)]:
            if peer.key in self.peers:
                notes.append(self._note_silent(peer, now))
            self.forget(peer.key)
        if now - self._absence_at >= ABSENCE_LOOK_SECONDS:
            self._absence_at = now
            self._write_off_absent(now)
        return notes

    def _note_silent(self, peer: Peer, now: float) -> Note:
        lease = f"collect.lease_seconds={self._settings.lease_seconds:g}"
        text = f"{peer.actor} has been silent for {now - peer.heard:.0f} s; going on without it"
        if peer.doing:  # its watchdog has reported, over a connection of its own
            text += f". It is {peer.doing}, for longer than {lease} allows: raise that above the longest step"
        return Note(text)

    def _write_off_absent(self, now: float) -> None:
        """Write off accounts of absent processes; one that comes back gets its own back."""
        here = {peer.incarnation for peer in (*self.peers.values(), *self.lost.values())}
        absent = [key for key, account in self.ledger.accounts.items() if key not in here and not account.away]
        self._absent_since = {key: self._absent_since.get(key, now) for key in absent}
        for key, since in self._absent_since.items():
            if now - since >= ABSENT_SECONDS:
                self.ledger.write_off(key)
        for key in [key for key in absent if self.ledger.accounts[key].is_untouched]:
            self.ledger.forget(key)
        self._owners.free(now, self._absent_since)
        self.slots.keep_only(lambda name: name in self._owners or bool(self.index.of_actor(name)))

    def _is_overdue(self, peer: Peer, now: float) -> bool:
        return now - peer.heard > self._settings.lease_seconds

    def forget_lost(self) -> None:
        """Expect nothing more of those whose connections have ended."""
        for key in list(self.lost):
            self.forget(key)

    def close_accounts(self, *, of_connected: bool) -> None:
        """Book what is in flight as lost: no more arrives; for good where a connected peer is not to come back."""
        connected = {peer.incarnation for peer in self.peers.values()} if of_connected else set()
        for incarnation in list(self.ledger.accounts):
            if incarnation in connected:
                self.ledger.close(incarnation, "shutdown")
            else:
                self.ledger.write_off(incarnation)
        self.dismiss()  # what they say from now on belongs to no account

    def dismiss(self) -> None:
        """Forget all peers."""
        self.index.clear()
        self._gone.clear()
        self.fetches.forget()

    def strike(self, key: PeerKey, error: ProtocolError, now: float) -> list[Action]:
        """Count a violation; after three, or one that no actor of ours can make, disconnect the peer.

        One of several incarnations that have joined goes alone; else the connection ends, with all that it carries.
        """
        paying = self.paying(key)
        if not self.peer_limits.strike(paying, error, now):
            return []
        is_alone = not paying.incarnation
        name = self.index.described(key.connection) if is_alone else self.peers[paying].actor
        for peer in self.index.of_connection(key.connection) if is_alone else [self.peers[paying]]:
            self.forget(peer.key)
        text = f"messages that cannot be used; the last: {error}"[:512]
        kick = [Kick(key.connection)] if is_alone else []
        return [Send(key, Reject("protocol", text, fatal=True)), *kick, Note(f"{name} was disconnected: {error}")]

    def _supersede(self, key: PeerKey, hello: Hello) -> list[Action]:
        """The newest connection of an incarnation wins, and so does the newest incarnation of a name."""
        actions: list[Action] = []
        for other in self.index.of_actor(hello.actor):
            if other.key == key:
                continue
            self.forget(other.key)
            if other.incarnation != hello.incarnation:
                actions.append(Send(other.key, superseded_by_newer(hello.actor)))
        self._owners.take(hello)
        return actions
