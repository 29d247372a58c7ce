"""Actors that come one by one, by one learner's address, are shared evenly among all learners of a run."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from conversations import hello
from simulated_actor import SPEC
from simulated_settings import SETTINGS

from dppo.actor.session.actions import Connect, Exit, MakeEnvironments, Note, Send
from dppo.actor.session.redirects import MOST_REDIRECTS, RETURN_SECONDS, Redirects
from dppo.actor.session.session import ActorSession
from dppo.learner.session.placement import PENDING_SECONDS, OtherLearner, Placement
from dppo.learner.session.records import PeerKey
from dppo.learner.session.records import Send as Answer
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Redirect, TimeShares, Welcome

HOME = "ipc:///run/learner"


def endpoint_of(rank: int) -> str:
    return f"{HOME}-{rank}" if rank else HOME


class Actor:
    """An actor's session and the connection that it has; its environments are made at once."""

    def __init__(self, number: int, home: str = HOME) -> None:
        self.home = self.endpoint = home
        self.key = PeerKey(b"%08d" % number)
        self.session = ActorSession(
            actor=f"actor-{number}", incarnation=b"%08d" % number, envs=0, release="test", learner=home
        )
        self.moves = 0
        self.exit: Exit | None = None
        self.notes: list[str] = []
        self.up: list[bytes] = []
        self.rank: int | None = None  # of the learner that it has joined

    def do(self, actions: list[Any], now: float) -> None:
        for action in actions:
            match action:
                case Send():
                    self.up.append(encode(action.message))
                case Connect():
                    self.moves += 1
                    self.up.clear()
                    self.key = PeerKey(self.key.connection + b"'")
                    self.endpoint = action.endpoint or self.home
                    self.do(self.session.connected(now), now)
                case MakeEnvironments():
                    self.do(self.session.environments_ready(SPEC, now), now)
                case Exit():
                    self.exit = action
                case Note():
                    self.notes.append(action.text)


class Group:
    """Learners of one run, and what they tell each other now and then."""

    def __init__(self, ranks: int, *, expects: bool = True) -> None:
        self.now = 100.0
        self.learners: list[LearnerSession | None] = []
        self.actors: list[Actor] = []
        for rank in range(ranks):
            settings = replace(SETTINGS, learners=ranks)
            learner = LearnerSession(settings, Ledger(), SlotTable(first=4096 * rank))
            if expects:
                learner.peer_table.placement.expect(ranks - 1)
            self.learners.append(learner)

    def tell(self) -> None:
        """Let all learners say how many actors they have."""
        said = {
            rank: OtherLearner(
                endpoint_of(rank),
                b"",
                len(learner.peer_table.peers),
                frozenset(learner.peer_table.placement.newcomers(self.now)),
            )
            for rank, learner in enumerate(self.learners)
            if learner is not None
        }
        for rank, learner in enumerate(self.learners):
            if learner is not None:
                learner.peer_table.placement.learn({other: it for other, it in said.items() if other != rank}, self.now)

    def start(self, home: str = HOME) -> Actor:
        actor = Actor(len(self.actors), home)
        self.actors.append(actor)
        actor.do(actor.session.connected(self.now), self.now)
        return actor

    def exchange(self, actor: Actor) -> None:
        """Deliver what it has sent, and the answers, until nothing is on its way."""
        while actor.up:
            rank = next(rank for rank in range(len(self.learners)) if endpoint_of(rank) == actor.endpoint)
            learner, sent = self.learners[rank], list(actor.up)
            actor.up.clear()
            for header in sent if learner is not None else []:
                assert learner is not None
                endpoint = actor.endpoint
                for answer in learner.receive(actor.key, decode_from_actor(header, False), None, self.now):
                    if isinstance(answer, Answer) and actor.endpoint == endpoint:
                        message = decode_from_learner(encode(answer.message), False)
                        actor.rank = rank if isinstance(message, Welcome) else actor.rank
                        actor.do(actor.session.receive(message, None, self.now), self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for actor in self.actors:
            if actor.exit is None:
                actor.do(actor.session.tick(self.now, TimeShares), self.now)
                self.exchange(actor)

    def join(self, actors: int, home: str = HOME) -> None:
        for _ in range(actors):
            self.exchange(self.start(home))

    def shares(self) -> list[int]:
        """Numbers of actors, by learner."""
        counts = Counter(actor.rank for actor in self.actors if actor.rank is not None)
        assert [len(one.peer_table.peers) if one is not None else 0 for one in self.learners] == [
            counts[rank] for rank in range(len(self.learners))
        ]
        return [counts[rank] for rank in range(len(self.learners))]


@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("told_every", [1, 4, 100])
def test_shares_are_even_after_every_actor_that_comes_by_one_line(ranks: int, told_every: int) -> None:
    group = Group(ranks)
    group.tell()
    for number in range(4 * ranks + 1):
        group.join(1)
        shares = group.shares()
        assert max(shares) - min(shares) <= 1, shares
        if number % told_every == 0:
            group.tell()
    assert all(actor.moves <= 1 for actor in group.actors)
    assert all(actor.session._made is not None for actor in group.actors)


def test_actors_that_come_at_once_are_shared_before_any_of_them_has_arrived() -> None:
    group = Group(3)
    group.tell()
    for _ in range(9):
        group.start()
    group.tell()
    for actor in group.actors:
        group.exchange(actor)
    assert group.shares() == [3, 3, 3]


def test_actors_by_the_lines_of_all_learners_are_shared_too() -> None:
    group = Group(2)
    group.tell()
    group.join(3, endpoint_of(1))
    assert group.shares() == [1, 2]
    group.tell()
    group.join(3)
    assert group.shares() == [3, 3]


def test_an_actor_is_not_answered_before_it_is_known_where_there_is_room() -> None:
    group = Group(2)
    group.join(3)
    assert group.shares() == [0, 0]
    group.tell()
    for _ in range(12):
        group.pass_time(0.3)
    assert sorted(group.shares()) == [1, 2]


def test_one_learner_alone_and_learners_whose_actors_are_placed_redirect_nobody() -> None:
    group = Group(2, expects=False)
    group.join(4)
    assert group.shares() == [4, 0]


def test_what_joined_stays_and_those_that_come_later_make_up_for_those_that_left() -> None:
    group = Group(2)
    group.tell()
    group.join(6)
    left = [actor for actor in group.actors if actor.rank == 1]
    learner = group.learners[1]
    assert learner is not None
    for actor in left:
        learner.unreachable(actor.key.connection, group.now)
        actor.rank, actor.exit = None, Exit(0, "")
    group.tell()
    for actor in [actor for actor in group.actors if actor.rank == 0]:  # WHO, or a lost connection
        actor.do(actor.session.connected(group.now), group.now)
        group.exchange(actor)
    assert group.shares() == [3, 0]
    group.pass_time(PENDING_SECONDS)
    group.tell()
    group.join(3)
    assert group.shares() == [3, 3]


def test_an_actor_that_finds_no_learner_where_it_was_sent_comes_back_and_stays() -> None:
    group = Group(2)
    group.tell()
    group.join(1)
    gone, group.learners[1] = group.learners[1], None
    group.join(1)
    (first, second) = group.actors
    assert (second.endpoint, second.rank) == (endpoint_of(1), None)
    group.pass_time(RETURN_SECONDS)
    assert (second.endpoint, second.rank, second.moves) == (HOME, 0, 2)
    assert "no answer from it within 5 s; back to the learner at ipc:///run/learner" in second.notes[-1]
    group.learners[1] = gone
    group.pass_time(PENDING_SECONDS)
    group.tell()
    group.join(2)
    assert group.shares() == [2, 2]
    assert first.moves == 0


def test_an_actor_that_is_refused_where_it_was_sent_comes_back() -> None:
    redirects = Redirects(HOME, has_token=True)
    refused = Exit(3, "refused: the learner there does not accept this token")
    assert redirects.instead([refused]) == [refused]
    redirects.take(Redirect("tcp://10.0.0.2:5556", bytes(32)), 0.0)
    note, connect = redirects.instead([refused])
    assert connect == Connect("", b"")
    assert isinstance(note, Note)
    assert "does not accept this token; back to" in note.text
    assert redirects.stays
    assert redirects.instead([refused]) == [refused]


def test_an_actor_does_not_follow_for_ever() -> None:
    redirects = Redirects(HOME)
    for _ in range(MOST_REDIRECTS):
        assert isinstance(redirects.take(Redirect(endpoint_of(1)), 0.0)[-1], Connect)
    (ending,) = redirects.take(Redirect(endpoint_of(1)), 0.0)
    assert isinstance(ending, Exit)
    assert "have sent this actor on 4 times, and it follows 3" in ending.reason


@pytest.mark.parametrize(
    ("has_token", "endpoint", "key", "words"),
    [
        (True, "tcp://10.0.0.2:5556", b"", "without the key of a learner there"),
        (True, "tcp://10.0.0.2:5556", bytes(31), "without the key of a learner there"),
        (True, "ipc:///tmp/x", bytes(32), "without the key of a learner there"),
        (True, "http://10.0.0.2:80", bytes(32), "what is no address"),
        (False, "tcp://10.0.0.2:5556", b"", "which is another machine, without a key"),
        (False, "tcp://10.0.0.2:5556", bytes(32), "which is another machine, without a key"),
    ],
)
def test_an_actor_goes_nowhere_without_keys(has_token: bool, endpoint: str, key: bytes, words: str) -> None:
    session = ActorSession(actor="a", incarnation=b"12345678", envs=0, release="test", learner="tcp://10.0.0.1:5555")
    session.redirects = Redirects("tcp://10.0.0.1:5555", has_token=has_token)
    session.connected(0.0)
    (ending,) = session.receive(Redirect(endpoint, key), None, 0.0)
    assert isinstance(ending, Exit)
    assert ending.code == 3
    assert words in ending.reason
    assert not session.receive(Redirect(endpoint, key), None, 0.0), "it is over"


def test_a_redirect_after_welcome_is_an_answer_to_an_earlier_hello() -> None:
    group = Group(2)
    group.tell()
    group.join(1)
    (actor,) = group.actors
    assert actor.session.receive(Redirect(endpoint_of(1)), None, group.now) == []


def test_an_actor_of_another_release_or_that_is_to_stay_is_answered_where_it_is() -> None:
    placement, key = Placement(), PeerKey(b"c")
    placement.expect(1)
    changes: list[dict[str, Any]] = [{"stays": True}, {"protocol_max": 1, "protocol_min": 1}, {"run_id": "run"}]
    plain: dict[str, Any] = {"run_id": "", "spec": None, "spec_hash": b""}
    peers = [PeerKey(b"%d" % number) for number in range(5)]
    assert placement.answer(key, hello(**plain), peers, 0.0) == []
    placement.learn({1: OtherLearner(endpoint_of(1), b"", 0)}, 0.0)
    assert placement.answer(key, hello(**plain), peers, 0.0) == [Answer(key, Redirect(endpoint_of(1)))]
    for change in changes:
        assert placement.answer(key, hello(**{**plain, **change}), peers, 0.0) is None
    assert placement.answer(peers[0], hello(**plain), peers, 0.0) is None, "it is here already"
    assert placement.answer(PeerKey(b"c", b"12345678"), hello(**plain), peers, 0.0) is None, "a relay brings it"
