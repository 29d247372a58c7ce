"""Envelopes: several actors on one connection, on the wire and through a real socket."""

from pathlib import Path

import pytest
import zmq
from conversations import hello
from simulated_settings import SETTINGS
from test_ingress_guard import PING, Bench
from test_relayed_actors import ONE, OTHER, RELAY, RELAY_HELLO, session_for

from dppo.learner.session.records import PeerKey
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.session.traced_session import TracedLearnerSession
from dppo.protocol.codec import (
    ENVELOPE,
    decode_from_actor,
    decode_from_learner,
    encode,
    enveloped,
    opened,
)
from dppo.protocol.errors import ProtocolError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import RelayWelcome, Welcome, Who
from dppo.protocol.trace import Record, Trace


def test_an_envelope_is_a_prefix_that_no_message_begins_with() -> None:
    header = encode(PING)
    assert opened(header) == (b"", header)
    assert enveloped(header, b"") == header
    assert opened(enveloped(header, ONE)) == (ONE, header)
    for torn in (ENVELOPE, ENVELOPE + ONE[:7]):
        assert opened(torn) == (b"", torn)
        with pytest.raises(ProtocolError):
            decode_from_actor(torn, has_blob=False)
    with pytest.raises(ProtocolError):  # one in another
        decode_from_actor(opened(enveloped(enveloped(header, ONE), OTHER))[1], has_blob=False)


def test_envelopes_go_both_ways_through_a_real_socket_and_an_empty_one_ends_a_peer(tmp_path: Path) -> None:
    bench = Bench(f"ipc://{tmp_path}/l")
    bench.session = bench.ingress_guard._session = LearnerSession(SETTINGS, Ledger(), SlotTable())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    relay = context.socket(zmq.DEALER)
    relay.linger = 0
    relay.connect(bench.router.endpoint)
    relay.send(encode(RELAY_HELLO))

    def answers() -> dict[bytes, list[object]]:
        found: dict[bytes, list[object]] = {}
        for _ in range(200):
            bench.turn()
            while relay.poll(0):
                incarnation, header = opened(relay.recv())
                found.setdefault(incarnation, []).append(decode_from_learner(header, has_blob=False))
            if found:
                return found
        raise AssertionError(bench.notes)

    try:
        assert [type(answer) for answer in answers()[b""]] == [RelayWelcome]
        for name, incarnation in (("one", ONE), ("other", OTHER)):
            relay.send(enveloped(encode(hello(actor=name, incarnation=incarnation)), incarnation))
            ((whose, (answer,)),) = answers().items()
            assert whose == incarnation
            assert isinstance(answer, Welcome)
        relay.send(enveloped(b"", ONE))
        relay.send(enveloped(encode(PING), ONE))  # which is unknown now
        assert answers() == {ONE: [Who()]}
        assert [peer.actor for peer in bench.session.peer_table.peers.values()] == ["other"]
        assert "one is gone (connection lost)" in bench.notes
    finally:
        relay.close()
        context.term()
        bench.router.close()


def test_a_trace_names_each_of_them() -> None:
    records: list[Record] = []
    settings = session_for(2).settings
    session = TracedLearnerSession(settings, Ledger(), SlotTable(), trace=Trace(records.append, lambda: 0.0))
    session.receive(PeerKey(RELAY), RELAY_HELLO, None, 0.0)
    for name, incarnation in (("one", ONE), ("other", OTHER)):
        session.receive(PeerKey(RELAY, incarnation), hello(actor=name, incarnation=incarnation), None, 0.0)
    session.detached(PeerKey(RELAY, ONE), 0.0)
    session.unreachable(RELAY, 0.0)
    sent = [record["peer"] for record in records if record["event"] == "sent"]
    gone = [record["peer"] for record in records if record["event"] == "gone"]
    assert (sent, gone) == (["relay", "one", "other"], ["one", "relay", "other"])
