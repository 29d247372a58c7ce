"""Report what a learner waits for: every wait has a culprit. Decides nothing; part of the session, without I/O."""

from collections.abc import Iterable

from dppo.learner.session.collection import CollectionCycle
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Note, Peer
from dppo.protocol.process.wait_backoff import WaitBackoff

FIRST_SECONDS = 3.0  # a wait of this length is reported
FIRST_SECONDS_AFTER_STOP = 1.0  # actors answer within milliseconds, and the grace is short
MAX_NAMES = 3
WAITS = {Phase.WAITING, Phase.COLLECTING, Phase.STOPPING, Phase.DRAINING, Phase.LEAVING}


class WaitReporter:
    """Reports waits that last."""

    def __init__(self, peer_table: PeerTable, cycle: CollectionCycle) -> None:
        self._peer_table = peer_table
        self._cycle = cycle
        self._to_collect = WaitBackoff(FIRST_SECONDS)
        self._to_stop = WaitBackoff(FIRST_SECONDS_AFTER_STOP)

    def tick(self, now: float) -> list[Note]:
        """Return the notes that are due."""
        phase, batch = self._cycle.phase, self._cycle.batch.rollouts
        stopping = phase in (Phase.STOPPING, Phase.DRAINING, Phase.LEAVING)
        marker = (phase, self._cycle.snapshot.version, len(batch)) if phase in WAITS else None
        if phase is Phase.COLLECTING and batch:
            self._to_collect.was_usual(now)
        waited = self._to_collect.look(None if stopping else marker, now)
        stopped = self._to_stop.look(marker if stopping else None, now)
        seconds = stopped if waited is None else waited
        if seconds is None:
            return []
        what = waiting_for(self._peer_table, self._cycle, now)
        return [Note(f"waiting {seconds:.0f} s for {what}")] if what else []


def waiting_for(peer_table: PeerTable, cycle: CollectionCycle, now: float) -> str:
    """Return which peers hold the run up and what is expected of them, "" where none does."""
    peers = list(peer_table.peers.values())
    match cycle.phase:
        case Phase.WAITING if not any(peer.ready for peer in peers):
            return f"{named(peers, now)} to make environments" if peers else "the first actor to join"
        case Phase.COLLECTING if not peers:
            return "actors to join: there is none"
        case Phase.COLLECTING:
            late = [peer for peer in peers if not peer.quota.is_exhausted]
            if not late and (lacking := cycle.rule.lacks(peers)):
                return lacking
            late = late or peers
            return f"{named(late, now)} to deliver"
        case Phase.STOPPING | Phase.LEAVING if late := cycle.unstopped():
            return f"{named(late, now)} to stop"
        case Phase.DRAINING if late := [*peers, *peer_table.lost.values()]:
            return f"{named(late, now)} to end"
    return ""


def named(peers: Iterable[Peer], now: float) -> str:
    """Names, those silent for longest first, with what is known of each."""
    late = sorted(peers, key=lambda peer: peer.heard)
    words = [_name(peer, now) for peer in late[:MAX_NAMES]]
    return ", ".join(words) + (f" and {len(late) - MAX_NAMES} more" if len(late) > MAX_NAMES else "")


def _name(peer: Peer, now: float) -> str:
    doing = f", {peer.doing}" if peer.doing else ""
    return f"{peer.actor} (last heard {now - peer.heard:.1f} s ago{doing})"
