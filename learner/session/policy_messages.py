"""Messages that bring a policy to an actor. Part of the session, without I/O."""

from collections.abc import Sequence
from typing import Literal

from dppo.learner.session.flow_control import MOST_UNDELIVERED
from dppo.learner.session.records import Action, Peer, Send
from dppo.protocol.messages import Part, Policy
from dppo.protocol.rollout import Blob, most_steps
from dppo.protocol.snapshot import Snapshot


def policy_messages(
    peer: Peer,
    snapshot: Snapshot,
    graph: Sequence[Blob],
    *,
    cuts_at_episode_end: bool,
    on_stop: Literal["keep", "drop"],
) -> list[Action]:
    """Return what brings the policy to the peer, to act under it as its quota says; the journal's entry comes first.

    graph: the parts of it that are to be sent.
    """
    quota, current = peer.quota, (snapshot.term, snapshot.version)
    policy = Policy(*current, snapshot.digest, quota.segment_steps, cuts_at_episode_end, quota.share)
    granted = peer.grant(most_steps(quota.segment_steps, peer.slots.envs), rollouts=MOST_UNDELIVERED[on_stop])
    *parts, last = graph
    sends = [Send(peer.key, Part(*current, index), part) for index, part in enumerate(parts)]
    return [*granted, *sends, Send(peer.key, policy, last)]
