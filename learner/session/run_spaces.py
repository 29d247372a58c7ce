"""Spaces of a run: those of its environment on the learner's host, else those of most actors.

Part of the session, without I/O.

The first to join may be wrong (another version of the environment) or lie. Before anything has been trained on, spaces
that more actors contradict than share are dropped, and so are spaces whose actors deliver nothing while others wait.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dppo.learner.session.records import Action, Note, Peer, PeerKey, Send
from dppo.protocol.messages import Hello, Reject
from dppo.protocol.specs import Leaf, Spec

VOTE_SECONDS = 10.0  # an actor with other spaces asks again sooner than this
RETRY_SECONDS = 2.0
MAX_VOTES = 4096


@dataclass(frozen=True)
class SpacesHere:
    """Result of making the run's environment on the learner's host."""

    spec: Spec | None = None
    why_unknown: str = ""  # "" where they are known


class Spaces:
    """The run's spaces, and the actors that sent others."""

    def __init__(self, spec: Spec | None, *, is_settled: bool, why_not: Callable[[Spec], str]) -> None:
        """is_settled: something was trained on. why_not: why spaces cannot be trained on at all, "" where they can."""
        self.spec = spec
        self.is_settled = is_settled
        self._why_not = why_not
        self._since = 0.0
        self._votes: dict[str, tuple[Spec, float]] = {}  # by actor

    def refusal(self, hello: Hello, token: str) -> Reject | None:
        """The answer to an actor whose spaces the run cannot have, None where it has them or might."""
        spec = hello.spec
        if spec is None:
            return None
        if self.spec is None:
            # without tokens the actor is this user's, and the learner ends with what is wrong
            why = self._why_not(spec) if token else ""
            return Reject("spec", f"these spaces cannot be trained on here: {why}"[:512], fatal=True) if why else None
        if spec == self.spec:
            return None
        text = f"the environment's spaces differ from the run's: {difference(spec, self.spec)}"
        if self.is_settled:
            return Reject("spec", text[:512], fatal=True)
        text += ". Nothing was trained on yet: the spaces of most actors count"
        return Reject("spec", text[:512], fatal=False, retry_after_seconds=RETRY_SECONDS)

    def begin(self, spec: Spec, now: float) -> None:
        """The run has these spaces from now on."""
        self.spec, self._since, self._votes = spec, now, {}

    def settle(self, spec: Spec) -> None:
        """The run has these spaces, whatever actors say."""
        self.spec, self.is_settled, self._votes = spec, True, {}

    def dropped(self, new: Spec, source: str, peers: Iterable[PeerKey]) -> list[Action]:
        """Return what follows where others take the place of these spaces. source: how they are known, for the log."""
        if self.spec is None:
            return []
        text = f"the run's spaces were wrong, {source}: {difference(self.spec, new)}"
        note = Note(text.replace(" here, ", " until now, ").replace("in the run", "from now on"))
        no = Reject("spec", "the run has other spaces now", fatal=False)
        return [note, *(Send(key, no) for key in peers)]

    def are_overruled(self, hello: Hello, token: str, peers: Iterable[Peer], now: float, idle_seconds: float) -> bool:
        """Count the vote of an actor with other spaces. Return whether they are to be the run's.

        idle_seconds: seconds after which spaces under which nothing was delivered give way to those of one that waits.
        """
        spec = hello.spec
        if spec is None or self.is_settled or (token and self._why_not(spec)):
            return False
        self._votes[hello.actor] = (spec, now)
        if len(self._votes) > MAX_VOTES:
            del self._votes[next(iter(self._votes))]
        against = sum(said == spec and now - at <= VOTE_SECONDS for said, at in self._votes.values())
        supporters = [peer for peer in peers if peer.ready]
        if any(peer.steps for peer in supporters):
            return against > len(supporters)
        return against > len(supporters) or now - self._since > idle_seconds


def difference(theirs: Spec, ours: Spec) -> str:
    """The first leaf that differs, in words for both sides."""
    for group in ("observation", "action", "mask", "state"):
        one, other = getattr(theirs, group), getattr(ours, group)
        if one != other:
            return f"{group} is {_leaves(one)} here, {_leaves(other)} in the run"
    if theirs.metrics != ours.metrics:
        return f"metrics are {', '.join(theirs.metrics) or 'none'} here, {', '.join(ours.metrics) or 'none'} in the run"
    return "none"


def _leaves(leaves: tuple[Leaf, ...]) -> str:
    return " and ".join(map(_leaf, leaves)) or "nothing"


def _leaf(leaf: Leaf) -> str:
    name = "" if leaf.name in ("observation", "action") else f"{leaf.name} "
    if leaf.kind == "multi_discrete":
        return f"{name}choices {leaf.shape} from {min(leaf.low):g}..{max(leaf.high):g}, {leaf.features} in all"
    if leaf.kind == "multi_binary":
        return f"{name}flags {leaf.shape}"
    if leaf.kind == "discrete":
        return f"{name}1 of {leaf.categories} choices from {leaf.start}"
    bounds = f" within {min(leaf.low):g}..{max(leaf.high):g}" if leaf.low else ""
    return f"{name}{np.dtype(leaf.dtype).name} {leaf.shape}{bounds}"
