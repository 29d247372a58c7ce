"""Faults of actors' environments, as their actors report them: stuck where, crashed how. For people only.

Nothing is decided by it: a stuck actor is given up by the grace and the lease like any other that is silent.
"""

import re

from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.records import Action, Note, Peer
from dppo.protocol.messages import EnvFault

MOST_NOTES = 50  # of one peer: what comes after that is not logged
MOST_KINDS = 100  # of things that are odd and no error
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d.,e+-]*")  # and no place in a leaf's name

OF_ENVIRONMENTS = ("observation", "reward", "episode_return")  # what a policy has no part in


class EnvFaults:
    """Environment faults of all actors of one run."""

    def __init__(self, peer_table: PeerTable) -> None:
        self.newest_crash = ""
        self._peer_table = peer_table
        self._noted: set[str] = set()  # texts without their numbers

    def reported(self, fault: EnvFault) -> list[Action]:
        """Take a report of an actor, or of its watchdog on another connection. Unknown incarnations are ignored."""
        peer = self._peer_table.index.of_incarnation(fault.incarnation)
        if peer is None:
            return []
        text = fault.text
        if fault.kind == "crashed":
            self.newest_crash = f"{peer.actor}: {text}"
            return self._note(peer, text)
        if fault.kind == "left":  # its connection ends next, which is what counts
            return [] if peer.has_left else self._last_note(peer, text)
        if fault.kind == "noted":
            return self._once(peer, text)
        known, peer.doing = peer.doing, text
        return [] if known else self._note(peer, f"stuck {text}")

    def _last_note(self, peer: Peer, text: str) -> list[Action]:
        peer.has_left = True
        return [Note(f"{peer.actor} left: {text}")]

    def _once(self, peer: Peer, text: str) -> list[Action]:
        """Note an oddity of the environments once: it is the same for all actors, so the first one's is logged."""
        kind = _NUMBER.sub("#", text)
        if kind in self._noted or len(self._noted) >= MOST_KINDS:
            return []
        self._noted.add(kind)
        return self._note(peer, text)

    def refused(self, peer: Peer, what: str, held: str) -> list[Action]:
        """A rollout held unusable numbers. Reported once for each array; its actor gets a NACK for every rollout."""
        if what in peer.refused:
            return []
        peer.refused.add(what)
        of_environment = what.partition(".")[0] in OF_ENVIRONMENTS  # a leaf is named after its group
        hint = "look at what the environment returns" if of_environment else "has training diverged?"
        return self._note(peer, f"{what} holds {held}: rollouts with such numbers are refused: {hint}")

    def _note(self, peer: Peer, text: str) -> list[Action]:
        peer.notes += 1
        if peer.notes > MOST_NOTES:
            return []
        last = "; no more will be said about its environments" if peer.notes == MOST_NOTES else ""
        return [Note(f"{peer.actor}: {text}{last}")]
