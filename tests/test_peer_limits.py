"""Limits of a connection before anything that it sends is parsed, and its end."""

import pytest

from dppo.learner.session.rate_limit import (
    BURST_MESSAGES,
    FORGIVEN_SECONDS,
    MAX_RECORDS,
    MAX_STRIKES,
    MESSAGES_PER_SECOND,
    QUESTION_SECONDS,
    PeerLimits,
)
from dppo.learner.session.records import PeerKey
from dppo.protocol.errors import HostileError, ProtocolError

ODD = ProtocolError("odd")
A, B = PeerKey(b"a"), PeerKey(b"b")


def said_until_refused(peer_limits: PeerLimits, now: float, at_most: int = 10_000) -> int:
    for said in range(at_most):
        try:
            peer_limits.spend(A, now)
        except HostileError:
            return said
    return at_most


def test_a_burst_passes_and_a_flood_does_not() -> None:
    assert said_until_refused(PeerLimits(), 5.0) == BURST_MESSAGES


def test_what_heartbeats_need_passes_for_ever() -> None:
    peer_limits = PeerLimits()
    for second in range(100_000):
        peer_limits.spend(A, float(second))


def test_the_allowance_grows_back_with_time_up_to_a_burst() -> None:
    peer_limits = PeerLimits()
    said_until_refused(peer_limits, 0.0)
    assert said_until_refused(peer_limits, 1.0) == MESSAGES_PER_SECOND
    assert said_until_refused(peer_limits, 1e6) == BURST_MESSAGES


def test_what_was_asked_for_costs_nothing() -> None:
    peer_limits = PeerLimits()
    for _ in range(100_000):  # rollouts in an instant: credit bounds them
        peer_limits.spend(A, 1.0)
        peer_limits.give_back(A, 1)
    peer_limits.give_back(A, 1e9)
    assert said_until_refused(peer_limits, 1.0) == BURST_MESSAGES


def test_one_connection_does_not_pay_for_another() -> None:
    peer_limits = PeerLimits()
    said_until_refused(peer_limits, 0.0)
    peer_limits.spend(B, 0.0)


def test_so_many_strikes_and_out() -> None:
    peer_limits = PeerLimits()
    assert [peer_limits.strike(A, ODD, 0.0) for _ in range(MAX_STRIKES)] == [False] * (MAX_STRIKES - 1) + [True]
    assert peer_limits.is_dismissed(A)
    assert not peer_limits.is_dismissed(B)


def test_strikes_are_forgiven_one_a_while() -> None:
    peer_limits, now = PeerLimits(), 0.0
    for _ in range(100):
        now += FORGIVEN_SECONDS
        assert not peer_limits.strike(A, ODD, now)
    for _ in range(MAX_STRIKES - 2):
        assert not peer_limits.strike(A, ODD, now)
    assert peer_limits.strike(A, ODD, now)


def test_what_no_actor_can_send_is_borne_not_once() -> None:
    peer_limits = PeerLimits()
    assert peer_limits.strike(A, HostileError("frames"), 0.0)
    assert peer_limits.is_dismissed(A)
    peer_limits.forget(b"a")
    assert not peer_limits.is_dismissed(A)


def test_a_stranger_is_asked_once_in_a_while() -> None:
    peer_limits = PeerLimits()
    assert peer_limits.may_be_asked(A, 0.0)
    assert not any(peer_limits.may_be_asked(A, 0.9 * QUESTION_SECONDS) for _ in range(1000))
    assert peer_limits.may_be_asked(B, 0.0)
    assert peer_limits.may_be_asked(A, QUESTION_SECONDS)


@pytest.mark.fast(3)
@pytest.mark.parametrize("deed", ["spend", "strike", "may_be_asked"])
def test_records_are_bounded_whatever_strangers_do(deed: str) -> None:
    peer_limits = PeerLimits()
    for number in range(MAX_RECORDS + 10):
        peer = PeerKey(b"%d" % number)
        if deed == "strike":
            peer_limits.strike(peer, ODD, 0.0)
        else:
            getattr(peer_limits, deed)(peer, 0.0)
    assert len(peer_limits) == MAX_RECORDS
