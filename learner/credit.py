"""How many rollouts a peer may have under way: granted with ACK, withheld while they would be of no use. Pure.

An actor that acts under an older policy gets none: what it makes is stale. The newest policy brings it back.
"""

from learner.intake import CREDIT
from learner.peers import Peer, Send
from protocol.messages import Ack


def begin(peer: Peer, *, is_wanted: bool) -> int:
    """Return the credit to say in WELCOME. A peer that has some from an earlier connection keeps that."""
    credit = CREDIT if peer.ready and is_wanted else 0
    peer.credit_withheld = not credit
    peer.credit_upto = peer.account.watermark + CREDIT
    return credit


def acknowledge(peer: Peer, *, has_room: bool) -> Send:
    """Everything up to the watermark is disposed of; more may come where there is room for it."""
    credit = CREDIT if has_room else 0
    if credit:
        peer.credit_withheld = False
        peer.credit_upto = max(peer.credit_upto, peer.account.watermark + credit)
    return Send(peer.id, Ack(peer.account.watermark, credit))


def acknowledge_stale(peer: Peer) -> Send:
    """Everything up to the watermark is disposed of, and no more of its kind is wanted."""
    peer.credit_withheld = True
    return Send(peer.id, Ack(peer.account.watermark, 0))


def is_due(peer: Peer, version: int) -> bool:
    """Whether to give what was withheld: the peer was sent the newest policy, whose version that is."""
    has_too_little = peer.credit_withheld or peer.credit_upto < peer.account.watermark + CREDIT
    return has_too_little and peer.ready and peer.sent_version == version
