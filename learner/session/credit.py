"""Credit: rollouts that a peer may have under way, granted with ACK, withheld while they would be of no use. Pure.

An actor that acts under an older policy gets none: what it makes is stale. The newest policy brings it back.
"""

from dppo.learner.session.records import Peer, Send
from dppo.protocol.messages import Ack


def begin(peer: Peer, *, is_wanted: bool, most: int) -> int:
    """Return the credit to say in WELCOME. A peer that has some from an earlier connection keeps that.

    most: rollouts beyond the watermark.
    """
    credit = most if peer.ready and is_wanted else 0
    peer.credit_withheld = not credit
    peer.credit_upto = peer.account.watermark + most
    return credit


def acknowledge(peer: Peer, *, has_room: bool, most: int) -> Send:
    """Acknowledge all rollouts up to the watermark, and grant credit if there is room for more."""
    credit = most if has_room else 0
    if credit:
        peer.credit_withheld = False
        peer.credit_upto = max(peer.credit_upto, peer.account.watermark + credit)
    return Send(peer.key, Ack(peer.account.watermark, credit))


def acknowledge_stale(peer: Peer) -> Send:
    """Acknowledge all rollouts up to the watermark, and withhold credit: they are stale."""
    peer.credit_withheld = True
    return Send(peer.key, Ack(peer.account.watermark, 0))


def is_due(peer: Peer, version: int, *, most: int) -> bool:
    """Whether to give what was withheld: the peer was sent the newest policy, whose version that is."""
    has_too_little = peer.credit_withheld or peer.credit_upto < peer.account.watermark + most
    return has_too_little and peer.ready and peer.sent_version == version
