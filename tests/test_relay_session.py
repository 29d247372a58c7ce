"""A relay's session, message by message. Runs with it in between are in the tests of both sessions and their faults."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from conversations import hello

from dppo.actor.session.actions import Note, Reconnect
from dppo.learner.session.rate_limit import BURST_MESSAGES, MAX_STRIKES
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode, enveloped
from dppo.protocol.messages import (
    Ack,
    Bye,
    EnvFault,
    FromLearner,
    Part,
    Ping,
    Policy,
    Reject,
    RelayHello,
    RelayWelcome,
    Tally,
    TimeShares,
    Who,
)
from dppo.protocol.snapshot import PART_BYTES, Snapshot, graph_digest
from dppo.relay.actions import Disconnect, Down, Exit, Up
from dppo.relay.session import KICK_SECONDS, LEAVE_SECONDS, RelaySession

ONE, OTHER = b"one-----", b"other---"
LEFT, RIGHT = b"left", b"right"  # connections of actors
WELCOME = RelayWelcome(PROTOCOL_VERSION, "run-1", 1, 2, 5.0, 1.0, 2**20)
PING = encode(Ping(1.0, Tally(), TimeShares()))


def new() -> RelaySession:
    return RelaySession(relay="r", release="test", learner="tcp://learner:5555")


@pytest.fixture
def relay() -> RelaySession:
    """A relay that the learner has welcomed."""
    session = new()
    session.connected(0.0)
    hear(session, WELCOME)
    return session


def hear(session: RelaySession, message: FromLearner, to: bytes = b"", blob: bytes | None = None) -> list[Any]:
    return list(session.from_learner(enveloped(encode(message), to), blob, 0.0))


def join(session: RelaySession, connection: bytes, incarnation: bytes) -> list[Any]:
    return list(session.from_actor(connection, said(incarnation), None, 0.0))


def said(incarnation: bytes) -> bytes:
    return encode(hello(actor=incarnation.decode().strip("-"), incarnation=incarnation))


def told(actions: Sequence[Any]) -> list[FromLearner]:
    """Messages for actors."""
    return [decode_from_learner(a.header, a.blob is not None) for a in actions if isinstance(a, Down)]


def test_it_introduces_itself_on_every_connection_and_until_it_is_answered() -> None:
    session = new()
    (first,) = session.connected(0.0)
    assert isinstance(first, Up)
    assert not first.incarnation
    expected = RelayHello(PROTOCOL_VERSION, PROTOCOL_VERSION, "test", "r")
    assert decode_from_actor(first.header, has_blob=False) == expected
    assert session.tick(0.1) == []
    assert session.tick(0.4) == [first]
    assert not session.is_attached
    hear(session, WELCOME)
    assert session.is_attached
    (ping,) = session.tick(2.0)
    assert isinstance(decode_from_actor(ping.header, has_blob=False), Ping)
    session.lost()
    assert session.connected(3.0) == [first]


def test_silence_of_the_learner_ends_the_connection(relay: RelaySession) -> None:
    assert Reconnect() in relay.tick(WELCOME.lease_seconds + 0.1)
    assert not relay.is_attached


def test_messages_are_handed_on_as_they_are_in_both_directions(relay: RelaySession) -> None:
    assert join(relay, LEFT, ONE) == [Up(ONE, said(ONE))]
    assert join(relay, RIGHT, OTHER) == [Up(OTHER, said(OTHER))]
    assert relay.from_actor(RIGHT, PING, None, 0.0) == [Up(OTHER, PING)]
    assert hear(relay, Ack(3, 8), to=ONE) == [Down(LEFT, encode(Ack(3, 8)))]
    assert hear(relay, Ack(3, 8), to=b"nobody--") == []


def test_an_actor_that_the_relay_does_not_know_is_asked_and_not_handed_on(relay: RelaySession) -> None:
    assert told(relay.from_actor(LEFT, PING, None, 0.0)) == [Who()]
    assert relay.from_actor(LEFT, PING, None, 0.0) == []


def test_without_a_learner_an_actor_is_told_what_it_waits_for() -> None:
    session = new()
    (no,) = told(join(session, LEFT, ONE))
    assert isinstance(no, Reject)
    assert (no.fatal, no.text) == (
        False,
        "relay r has no connection to the learner at tcp://learner:5555; trying again",
    )
    assert session.from_actor(LEFT, PING, None, 0.0) == []


def test_after_the_learners_connection_was_lost_all_actors_introduce_themselves_again(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    relay.lost()
    assert relay.from_actor(LEFT, PING, None, 1.0) == []
    relay.connected(1.0)
    hear(relay, WELCOME)
    assert told(relay.from_actor(LEFT, PING, None, 2.0)) == [Who()]
    assert join(relay, LEFT, ONE) == [Up(ONE, said(ONE))]


def test_another_learner_on_the_same_connection_is_introduced_to(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    (again,) = hear(relay, Who())
    assert isinstance(decode_from_actor(again.header, has_blob=False), RelayHello)
    assert not relay.is_attached


def test_an_actor_that_comes_by_another_connection_is_gone_from_the_one_before(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    assert join(relay, RIGHT, ONE) == [Up(ONE, b""), Up(ONE, said(ONE))]
    assert hear(relay, Ack(1, 8), to=ONE) == [Down(RIGHT, encode(Ack(1, 8)))]
    assert told(relay.from_actor(LEFT, PING, None, 0.0)) == [Who()]  # what was left of it there
    assert relay.departed(LEFT) == []
    assert relay.departed(RIGHT) == [Up(ONE, b"")]
    assert relay.departed(RIGHT) == []


def test_a_host_of_actors_has_all_that_a_relay_needs() -> None:
    program = "import sys, dppo.relay.service, dppo.relay.command; print({'torch', 'onnx'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"


# Policies


def policy_of(graph: bytes, version: int = 1, *, steps: int = 4) -> Policy:
    return Policy(1, version, graph_digest(graph), steps)


def test_a_policy_that_came_once_is_given_to_every_actor_with_its_own_header(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    join(relay, RIGHT, OTHER)
    graph = bytes(range(256)) * (PART_BYTES // 100)
    *parts, last = Snapshot(1, 1, graph).parts
    assert parts
    for index, part in enumerate(parts):
        (down,) = hear(relay, Part(1, 1, index), ONE, bytes(part))
        assert (down.connection, bytes(down.blob)) == (LEFT, bytes(part))
    first = policy_of(graph, steps=3)
    assert hear(relay, first, ONE, bytes(last)) == [Down(LEFT, encode(first), bytes(last))]
    second = policy_of(graph, steps=7)
    actions = hear(relay, second, OTHER, b"")
    assert {action.connection for action in actions} == {RIGHT}
    assert b"".join(bytes(action.blob) for action in actions) == graph
    assert told(actions) == [*(Part(1, 1, index) for index in range(len(parts))), second]


def test_a_policy_is_kept_also_where_the_actor_that_it_came_for_has_gone(relay: RelaySession) -> None:
    join(relay, RIGHT, OTHER)
    assert hear(relay, policy_of(b"graph"), ONE, b"graph") == []
    (down,) = hear(relay, policy_of(b"graph"), OTHER, b"")
    assert (down.connection, bytes(down.blob)) == (RIGHT, b"graph")


@pytest.mark.parametrize(
    ("policy", "blob"), [(policy_of(b"other", 2), b""), (policy_of(b"other", 2), b"damaged"), (policy_of(b"x"), b"")]
)
def test_a_policy_that_the_relay_cannot_have_begins_the_connection_anew(
    relay: RelaySession, policy: Policy, blob: bytes
) -> None:
    join(relay, LEFT, ONE)
    hear(relay, policy_of(b"graph"), ONE, b"graph")
    note, reconnect = hear(relay, policy, ONE, blob)
    assert isinstance(note, Note)
    assert reconnect == Reconnect()
    assert not relay.is_attached


# Limits


def test_what_cannot_be_read_stays_at_the_relay_and_ends_that_actor_alone(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    actions = [action for _ in range(MAX_STRIKES) for action in relay.from_actor(LEFT, b"\xc1", None, 0.0)]
    (no,) = told(actions)
    assert isinstance(no, Reject)
    assert no.fatal
    assert not [action for action in actions if isinstance(action, Up)]
    assert relay.from_actor(LEFT, PING, None, 0.0) == []
    assert Disconnect(LEFT) in relay.tick(KICK_SECONDS)
    assert relay.departed(LEFT) == [Up(ONE, b"")]


def test_who_has_not_been_welcomed_is_limited_by_the_relay(relay: RelaySession) -> None:
    handed_on = [relay.from_actor(LEFT, said(ONE), None, 0.0) for _ in range(int(BURST_MESSAGES) + 1)]
    assert all(isinstance(actions[-1], Up) for actions in handed_on[:-1])
    assert not [action for action in handed_on[-1] if isinstance(action, Up)]


@pytest.mark.parametrize(
    "changes", [{"tally": Tally(1, 2, 3)}, {"incarnation": OTHER}], ids=["absurd counts", "another process"]
)
def test_a_hello_that_no_actor_of_ours_makes_does_not_reach_the_learner(
    relay: RelaySession, changes: dict[str, Any]
) -> None:
    join(relay, LEFT, ONE)
    actions = relay.from_actor(LEFT, encode(hello(actor="one", **{"incarnation": ONE} | changes)), None, 0.0)
    assert not [action for action in actions if isinstance(action, Up)]
    assert [no.fatal for no in told(actions) if isinstance(no, Reject)] == [True]


def test_more_actors_than_it_may_carry_wait(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    join(relay, RIGHT, OTHER)
    (no,) = told(join(relay, b"third", b"third---"))
    assert isinstance(no, Reject)
    assert (no.code, no.fatal) == ("full", False)
    relay.departed(LEFT)
    assert join(relay, b"third", b"third---")[-1] == Up(b"third---", said(b"third---"))


def test_a_relay_behind_a_relay_is_refused(relay: RelaySession) -> None:
    other = encode(RelayHello(PROTOCOL_VERSION, PROTOCOL_VERSION, "test", "other"))
    (no,) = told(relay.from_actor(LEFT, other, None, 0.0))
    assert isinstance(no, Reject)
    assert (no.code, no.fatal) == ("relay", True)


def test_a_watchdogs_report_passes_whoever_it_comes_from(relay: RelaySession) -> None:
    report = encode(EnvFault(ONE, "stuck", "in step"))
    assert relay.from_actor(b"watchdog", report, None, 0.0) == [Up(ONE, report)]


# The end


def test_a_refusal_of_the_relay_ends_it_and_one_of_an_actor_that_actor(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    no = Reject("token", "ask for a new line", fatal=True)
    assert hear(relay, no, ONE) == [Down(LEFT, encode(no))]
    assert Disconnect(LEFT) in relay.tick(KICK_SECONDS)
    assert hear(relay, no) == [Exit(3, "refused by the learner: ask for a new line")]


def test_after_the_learners_last_word_it_stays_until_the_actors_have_had_theirs(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    hear(relay, Bye("done"))
    assert not [action for action in relay.tick(1.0) if isinstance(action, Exit)]
    farewell = encode(Bye("done", Tally()))
    assert relay.from_actor(LEFT, farewell, None, 1.0) == [Up(ONE, farewell)]
    relay.departed(LEFT)
    assert Exit(0, "done") in relay.tick(1.1)


def test_an_actor_that_does_not_leave_does_not_hold_the_relay(relay: RelaySession) -> None:
    join(relay, LEFT, ONE)
    hear(relay, Bye("done"))
    hear(relay, Ack(0, 0), ONE)
    assert Exit(0, "done") in relay.tick(LEAVE_SECONDS)
