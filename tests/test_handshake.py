"""Reports of an actor's socket: which failures end the actor, which it waits for, and what it logs."""

import itertools

import pytest

from dppo.actor.session.actions import Action, Exit, Note, Reconnect
from dppo.actor.session.connection_status import (
    AT_ONCE_SECONDS,
    HUNG_UP_SECONDS,
    HUNG_UP_TIMES,
    MAX_REPEAT_SECONDS,
    REPEAT_SECONDS,
    RETRY_SECONDS,
    SILENT_SECONDS,
    Handshake,
)
from dppo.protocol.transport.connection_event import ConnectionEvent


def handshake(*, has_token: bool = True) -> Handshake:
    return Handshake("tcp://host:5555", has_token=has_token, now=0.0)


def the_exit(actions: list[Action]) -> Exit:
    (action,) = actions
    assert isinstance(action, Exit)
    assert action.code == 3
    assert "tcp://host:5555" in action.reason
    assert "\n" not in action.reason
    return action


def the_note(actions: list[Action]) -> str:
    (action,) = actions
    assert isinstance(action, Note)
    assert "tcp://host:5555" in action.text or "name" in action.text
    return action.text


def test_a_token_that_is_not_accepted_ends_the_actor_and_says_what_to_do() -> None:
    assert "ask for a new line" in the_exit(handshake().saw(ConnectionEvent.AUTHENTICATION_FAILED, 0.1)).reason


def test_a_learner_that_wants_a_token_says_so_to_an_actor_without() -> None:
    assert "without a token" in the_exit(handshake(has_token=False).saw(ConnectionEvent.MECHANISM_MISMATCH, 0.1)).reason


def test_an_actor_with_a_token_does_not_talk_to_a_learner_without_encryption() -> None:
    assert "not encrypted" in the_exit(handshake().saw(ConnectionEvent.MECHANISM_MISMATCH, 0.1)).reason


def hang_up(attempts: Handshake, since: float, seconds: float, times: int, *, after: float = 0.05) -> None:
    """That many connections in that time, each ended by the other side so long after a tick that did not know it."""
    for number in range(times):
        now = since + seconds * number / (times - 1)
        attempts.tick(now - after)
        assert attempts.saw(ConnectionEvent.TCP_CONNECTED, now) == []
        assert attempts.saw(ConnectionEvent.DISCONNECTED_IN_HANDSHAKE, now) == []
        assert attempts.saw(ConnectionEvent.DISCONNECTED, now) == []


def test_a_learner_that_keeps_hanging_up_is_asked_what_it_is_and_another_key_ends_the_actor() -> None:
    attempts = handshake()
    hang_up(attempts, 0.0, HUNG_UP_SECONDS, HUNG_UP_TIMES)
    assert attempts.wants_greeting
    assert "another key" in the_exit(attempts.greeted("CURVE", 6.0)).reason


@pytest.mark.parametrize(("seconds", "times"), [(HUNG_UP_SECONDS - 0.1, 50), (HUNG_UP_SECONDS, HUNG_UP_TIMES - 1)])
def test_a_few_hang_ups_in_a_short_time_are_nothing(seconds: float, times: int) -> None:
    attempts = handshake()
    hang_up(attempts, 0.0, seconds, times)
    assert not attempts.wants_greeting


def test_a_learner_too_busy_to_finish_handshakes_has_not_another_key() -> None:
    """It hangs up as well, after two seconds; an actor that is as busy hears of both at the same moment."""
    attempts = handshake()
    hang_up(attempts, 0.0, 60.0, 20, after=AT_ONCE_SECONDS + 0.1)
    assert not attempts.wants_greeting
    (note,) = [action for action in attempts.tick(100.0) if isinstance(action, Note)]
    assert "does not finish the handshake" in note.text


def test_a_proxy_without_a_learner_behind_it_is_waited_for() -> None:
    attempts = handshake()
    hang_up(attempts, 0.0, HUNG_UP_SECONDS, HUNG_UP_TIMES)
    assert attempts.greeted("", 6.0) == []
    assert not attempts.wants_greeting
    hang_up(attempts, 6.0, HUNG_UP_SECONDS, HUNG_UP_TIMES)
    assert attempts.wants_greeting


@pytest.mark.parametrize(
    "between", [ConnectionEvent.HANDSHAKE_SUCCEEDED, ConnectionEvent.HANDSHAKE_TIMED_OUT, ConnectionEvent.NO_LISTENER]
)
def test_what_comes_in_between_starts_the_count_of_hang_ups_anew(between: ConnectionEvent) -> None:
    attempts = handshake()
    hang_up(attempts, 0.0, HUNG_UP_SECONDS - 1, HUNG_UP_TIMES)
    attempts.saw(between, 4.5)
    hang_up(attempts, 5.0, 1.0, HUNG_UP_TIMES)
    assert not attempts.wants_greeting


@pytest.mark.parametrize(("mechanism", "word"), [("NULL", "not encrypted"), ("PLAIN", "not encrypted")])
def test_what_hangs_up_and_is_no_curve_server_is_not_ours(mechanism: str, word: str) -> None:
    attempts = handshake()
    hang_up(attempts, 0.0, HUNG_UP_SECONDS, HUNG_UP_TIMES)
    assert word in the_exit(attempts.greeted(mechanism, 6.0)).reason


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (None, "no learner answers"),
        (ConnectionEvent.NO_LISTENER, "no learner answers"),
        (ConnectionEvent.NAME_NOT_RESOLVED, "name of the learner's host is unknown"),
        (ConnectionEvent.TCP_CONNECTED, "accepts connections, but nothing answers"),
        (ConnectionEvent.HANDSHAKE_TIMED_OUT, "does not finish the handshake"),
        (ConnectionEvent.AUTHENTICATION_UNAVAILABLE, "cannot check tokens"),
        (ConnectionEvent.NOT_ZEROMQ, "does not speak ZeroMQ"),
        (ConnectionEvent.DISCONNECTED_IN_HANDSHAKE, "hangs up"),
    ],
)
def test_an_actor_that_waits_says_for_what_after_a_while_and_now_and_then(
    seen: ConnectionEvent | None, words: str
) -> None:
    attempts = handshake()
    if seen is not None:
        attempts.tick(SILENT_SECONDS - 0.2)
        assert attempts.saw(ConnectionEvent.TCP_CONNECTED, SILENT_SECONDS - 0.1) == []
        assert attempts.saw(seen, SILENT_SECONDS - 0.1) == []
    assert attempts.tick(SILENT_SECONDS - 0.05) == []
    assert words in the_note(attempts.tick(SILENT_SECONDS))
    later = SILENT_SECONDS + REPEAT_SECONDS
    assert [a for a in attempts.tick(later - 0.1) if isinstance(a, Note)] == []
    assert words in the_note([a for a in attempts.tick(later) if isinstance(a, Note)])


def test_a_learner_that_stays_away_is_spoken_of_ever_more_rarely() -> None:
    attempts = handshake()
    said = []
    for second in range(24 * 3600):
        said += [second for action in attempts.tick(float(second)) if isinstance(action, Note)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(said)]
    assert pauses[0] == REPEAT_SECONDS
    assert pauses == sorted(pauses)
    assert max(pauses) == MAX_REPEAT_SECONDS


def test_a_socket_on_this_machine_that_is_not_there_is_no_unknown_host() -> None:
    waiting = Handshake("ipc:///run/learner", has_token=False, now=0.0)
    waiting.saw(ConnectionEvent.NAME_NOT_RESOLVED, 0.1)
    (note,) = waiting.tick(SILENT_SECONDS + 0.1)
    assert isinstance(note, Note)
    assert "no learner answers at ipc:///run/learner yet" in note.text


def test_an_actor_that_got_through_has_nothing_to_say_until_the_connection_is_lost_for_long() -> None:
    attempts = handshake()
    attempts.saw(ConnectionEvent.HANDSHAKE_SUCCEEDED, 1.0)
    assert attempts.tick(100.0) == []
    attempts.saw(ConnectionEvent.DISCONNECTED, 100.0)
    attempts.saw(ConnectionEvent.NO_LISTENER, 101.0)
    assert attempts.tick(100.0 + REPEAT_SECONDS - 0.1) == [], "the session has said that the learner is gone"
    assert "no learner answers at" in (note := the_note(attempts.tick(100.0 + REPEAT_SECONDS)))
    assert "any more" in note
    attempts.saw(ConnectionEvent.HANDSHAKE_SUCCEEDED, 110.0)
    assert attempts.tick(1000.0) == []


@pytest.mark.parametrize(
    "seen",
    [
        ConnectionEvent.TCP_CONNECTED,
        ConnectionEvent.DISCONNECTED_IN_HANDSHAKE,
        ConnectionEvent.HANDSHAKE_TIMED_OUT,
        ConnectionEvent.NOT_ZEROMQ,
        ConnectionEvent.NAME_NOT_RESOLVED,
    ],
)
def test_anything_but_silence_after_a_loss_is_said_soon(seen: ConnectionEvent) -> None:
    attempts = handshake()
    attempts.saw(ConnectionEvent.HANDSHAKE_SUCCEEDED, 1.0)
    attempts.tick(99.9)
    attempts.saw(ConnectionEvent.DISCONNECTED, 100.0)
    attempts.saw(ConnectionEvent.NO_LISTENER, 100.1)
    attempts.saw(seen, 101.0)
    assert [a for a in attempts.tick(101.0 + SILENT_SECONDS - 0.1) if isinstance(a, Note)] == []
    said_at = 101.0 + SILENT_SECONDS
    assert "no learner answers" not in the_note([a for a in attempts.tick(said_at) if isinstance(a, Note)])
    attempts.saw(seen, said_at + 1.0)
    assert [a for a in attempts.tick(said_at + REPEAT_SECONDS - 0.1) if isinstance(a, Note)] == [], "not again so soon"


@pytest.mark.parametrize("seen", [ConnectionEvent.AUTHENTICATION_UNAVAILABLE, ConnectionEvent.NOT_ZEROMQ])
def test_what_libzmq_takes_for_final_is_tried_again(seen: ConnectionEvent) -> None:
    attempts = handshake()
    attempts.saw(seen, 0.5)
    assert attempts.tick(0.5 + RETRY_SECONDS - 0.1) == []
    assert attempts.tick(0.5 + RETRY_SECONDS) == [Reconnect()]
    assert [a for a in attempts.tick(0.6 + RETRY_SECONDS) if isinstance(a, Reconnect)] == []


def test_a_token_can_be_revoked_at_any_time() -> None:
    attempts = handshake()
    attempts.saw(ConnectionEvent.HANDSHAKE_SUCCEEDED, 1.0)
    attempts.saw(ConnectionEvent.DISCONNECTED, 50.0)
    the_exit(attempts.saw(ConnectionEvent.AUTHENTICATION_FAILED, 50.2))
