"""Huge counts and absurd times in every number of every message: the learner lives, its books close, it restarts."""

import json
import math
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_actor import SPEC
from simulated_settings import RUN_ID
from simulation import Simulation, learner_of, running

from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.plausibility import FORGOTTEN_STEPS, Plausibility, check_tally
from dppo.learner.session.records import PeerKey
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.storage.journal_records import Entry, unpack
from dppo.learner.storage.journal_replay import replay
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.account import Account
from dppo.protocol.codec import decode_from_actor
from dppo.protocol.errors import HostileError, ProtocolError
from dppo.protocol.ledger import Ledger, imbalance
from dppo.protocol.messages import Bye, EnvFault, Have, Hello, Ping, Rollout, Stopped, Tally, TimeShares
from dppo.protocol.specs import spec_hash

Sent = tuple[bytes, bytes | None]
LIAR = b"liar----"
COUNTS = [0, 1, 2**31 - 1, 2**31, 2**32, 2**52, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
TIMES = [0.0, -1.0, 1e9, 1e300, 5e-324, math.inf, -math.inf, math.nan]
TALLY = Tally(3, 30, 1, 10, 0, 0)
MESSAGES = [
    Hello(PROTOCOL_VERSION, PROTOCOL_VERSION, "test", "liar", LIAR, 2, TALLY, RUN_ID, 1, 1, spec_hash(SPEC), SPEC),
    Hello(PROTOCOL_VERSION, PROTOCOL_VERSION, "test", "liar", LIAR, 2, TALLY, RUN_ID, 7, 1, spec_hash(SPEC), SPEC),
    Have(1, 1, 0.1),
    Rollout(1, 1, 1, 2, 2, 0, 0, 4),
    Rollout(1, 1, 0, 2, 2, 0, 0, 4),
    Rollout(2, 7, 1, 2, 2, 0, 0, 4),
    Stopped(1, 1, TALLY, 0.1),
    Ping(1.0, TALLY, TimeShares(0.1, 0.1, 0.1, 0.1)),
    EnvFault(LIAR, "stuck", "x"),
    Bye("enough", TALLY),
]


def numbers_in(value: Any, path: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], type]]:
    """Paths of all numbers in a message's plain form."""
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in numbers_in(item, (*path, index))]
    return [(path, type(value))] if isinstance(value, int | float) and not isinstance(value, bool) else []


@st.composite
def lies(draw: st.DrawFn) -> tuple[bytes, bytes | None]:
    """A message in which some numbers are absurd, and its blob."""
    message = draw(st.sampled_from(MESSAGES))
    plain = msgpack.unpackb(msgspec.msgpack.encode(message), strict_map_key=False)
    places = numbers_in(plain)
    for path, kind in draw(st.lists(st.sampled_from(places), max_size=4)) if places else []:
        target = plain
        for index in path[:-1]:
            target = target[index]
        target[path[-1]] = draw(st.sampled_from(COUNTS if kind is int else TIMES))
    blob = draw(st.sampled_from([b"", b"x", bytes(200)])) if isinstance(message, Rollout) else None
    return msgpack.packb(plain), blob


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(lies(), min_size=1, max_size=12), st.sampled_from(["keep", "drop"]))
@pytest.mark.slow
def test_no_number_ends_the_learner_or_gets_into_its_books(
    messages: list[tuple[bytes, bytes | None]], stop: str
) -> None:
    with Simulation(on_stop=stop) as world:
        (honest,) = running(world, "honest")
        learner, journal = learner_of(world), b""
        connections = 0
        for header, blob in messages:
            connection = PeerKey(b"liar-%d" % connections)
            try:
                message = decode_from_actor(header, has_blob=blob is not None)
            except ProtocolError as error:
                actions = learner.violation(connection, error, world.now)
            else:
                actions = learner.receive(connection, message, blob, world.now)
            journal += b"".join(action.pack() for action in actions if isinstance(action, Entry))
            connections += learner.peer_table.peer_limits.is_dismissed(connection)
            learner.tick(world.now)
            world.now += 0.3
        total = learner.ledger.total()
        assert total.sealed <= honest.sealed_steps + FORGOTTEN_STEPS + 20_000 * len(messages)
        assert total.env_restarts <= total.sealed + 3000 * len(messages)
        assert imbalance([learner.ledger.closed, *learner.ledger.accounts.values(), total]) == ""
        saved = json.dumps(learner.ledger.to_state(), allow_nan=False)
        for state, entries in ((saved, []), (json.dumps(Ledger().to_state()), list(unpack(journal)))):
            restarted = Ledger.from_state(json.loads(state))
            replay(restarted, [record.entry for record in entries])
            assert imbalance([restarted.closed, *restarted.accounts.values(), restarted.total()]) == ""
            following = LearnerSession(world.settings, restarted, SlotTable(2))
            for header, blob in messages:
                try:
                    following.receive(
                        PeerKey(b"again"), decode_from_actor(header, has_blob=blob is not None), blob, world.now
                    )
                except ProtocolError as error:
                    following.violation(PeerKey(b"again"), error, world.now)
            assert imbalance([restarted.closed, *restarted.accounts.values(), restarted.total()]) == ""


@pytest.mark.parametrize(
    "tally",
    [Tally(1, 5, 2, 5), Tally(10_000, 5), Tally(1, 5, 1, 6), Tally(1, 5, 0, 0, 6), Tally(2, 10, 1, 6, 6)],
)
def test_a_tally_that_contradicts_itself_is_no_honest_peers(tally: Tally) -> None:
    with pytest.raises(HostileError, match="a tally of"):
        check_tally(tally)


def test_an_actor_whose_account_was_forgotten_is_not_booked_a_second_time(world: Simulation) -> None:
    running(world, "honest")
    judge, account = Plausibility(world.settings, Ledger()), Account("back")
    hello = msgspec.structs.replace(MESSAGES[0], term=world.settings.term, tally=Tally(5, 20, 5, 20))
    assert account.reconcile(judge.joining(account, hello, 2)) == 0
    assert (account.sealed, account.watermark) == (0, 5)
    account.observe(judge.told(account, Tally(6, 24, 5, 20), 2))
    assert (account.sealed, account.in_flight) == (4, 4)
    account.accept(6, 4, batch=1)
    account.observe(judge.told(account, Tally(6, 24, 6, 24), 2))
    assert (account.sealed, account.in_flight) == (4, 0)


def test_what_dead_learners_can_have_forgotten_is_bounded_for_all_together(world: Simulation) -> None:
    judge, lost = Plausibility(world.settings, Ledger()), 0
    for number in range(5):
        account = Account(f"a{number}")
        tally = Tally(2**50 + CREDIT, 2**53, 2**50, 2**53)
        hello = msgspec.structs.replace(MESSAGES[0], term=99, tally=tally)
        lost += account.reconcile(judge.joining(account, hello, 2))
    assert lost == FORGOTTEN_STEPS
