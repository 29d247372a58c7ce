"""Even shares of actors among several learners of one run: which one a new actor joins. Pure.

Each learner knows how many actors the others had a moment ago, and which ones it has sent there since. An actor that
has joined stays: where others leave, only those that come later make up for it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dppo.learner.session.records import Action, PeerKey, Send
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.messages import Hello, Redirect

PENDING_SECONDS = 15.0  # until an actor that was sent on and did not arrive is counted no more
NEW_SECONDS = 30.0  # for which the others are told of an actor that has joined


@dataclass(frozen=True)
class OtherLearner:
    """Newest statement of another learner of the run."""

    endpoint: str
    server_key: bytes  # public; b"": none is needed
    actors: int  # connected
    newcomers: frozenset[bytes] = frozenset()  # incarnations that have joined it within NEW_SECONDS


class Placement:
    """One learner's view of where actors are. Without other learners nothing is redirected."""

    def __init__(self) -> None:
        self._expected = 0  # other learners
        self._others: dict[int, OtherLearner] = {}  # by rank
        self._sent: dict[bytes, tuple[int, float]] = {}  # incarnations that were sent on: to which rank, and when
        self._joined: dict[bytes, float] = {}  # newcomers, and when they came

    def expect(self, others: int) -> None:
        """Expect so many other learners to say how many actors they have."""
        self._expected = others

    def answer(self, key: PeerKey, hello: Hello, peers: Collection[PeerKey], now: float) -> list[Action] | None:
        """Return the answer to a HELLO of an actor that is not to join here, None where it is.

        No answer where it is not known yet how many actors the others have: it asks again soon. An actor behind a relay
        is that relay's, and so are those that are among `peers`, all that are connected here.
        """
        if not key.incarnation and key not in peers and _may_move(hello):
            if len(self._others) < self._expected:
                return []
            redirect = self.redirect(hello, len(peers), now)
            if redirect is not None:
                return [Send(key, redirect)]
        self._note_joined(hello.incarnation, now)
        return None

    def learn(self, others: Mapping[int, OtherLearner], now: float) -> None:
        """Take note of the others, by rank."""
        self._others = dict(others)
        self._forget(now)

    def _note_joined(self, incarnation: bytes, now: float) -> None:
        if self._expected:
            self._joined.setdefault(incarnation, now)
            self._sent.pop(incarnation, None)

    def newcomers(self, now: float) -> list[bytes]:
        """Return the incarnations that the others have to know of."""
        self._forget(now)
        return list(self._joined)

    def redirect(self, hello: Hello, actors: int, now: float) -> Redirect | None:
        """Return where that actor is to join, None where it stays. actors: connected here, without that one.

        Asking again gives the same answer: the first one may have been lost.
        """
        if not self._others:
            return None
        self._forget(now)
        rank, _ = self._sent.get(hello.incarnation, (-1, now))
        if rank not in self._others:
            loads = {other: self._load(other) for other in self._others}
            rank = min(loads, key=lambda other: (loads[other], other))
            if loads[rank] >= actors:
                return None
        self._sent[hello.incarnation] = (rank, now)
        other = self._others[rank]
        return Redirect(other.endpoint, other.server_key)

    def _load(self, rank: int) -> int:
        other = self._others[rank]
        on_the_way = (actor for actor, (to, _) in self._sent.items() if to == rank)
        return other.actors + sum(actor not in other.newcomers for actor in on_the_way)

    def _forget(self, now: float) -> None:
        self._sent = {actor: sent for actor, sent in self._sent.items() if now - sent[1] < PENDING_SECONDS}
        self._joined = {actor: at for actor, at in self._joined.items() if now - at < NEW_SECONDS}


def _may_move(hello: Hello) -> bool:
    """Whether it is an actor's first one, and understood: one that has joined a learner stays with it."""
    is_understood = hello.protocol_min <= PROTOCOL_VERSION <= hello.protocol_max
    return is_understood and not (hello.stays or hello.run_id)
