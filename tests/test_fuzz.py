"""Hostile bytes: short forms of tests/fuzz_headers.py and tests/fuzz_wire.py, which run longer on demand."""

from contextlib import suppress

import pytest
from fuzz_headers import fuzz
from fuzz_wire import Outcome, storm
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.protocol.codec import decode_from_actor, decode_from_learner
from dppo.protocol.errors import ProtocolError

MEGABYTE = 2**20


def test_mutated_headers_are_refused_or_handled_and_nothing_else() -> None:
    result = fuzz(15_000, seed=7)
    assert result.headers == 15_000
    assert set(result.kinds) >= {"refused", "Hello", "Rollout", "Stopped", "Ping", "Have", "Bye"}
    assert result.grown_bytes < 50 * MEGABYTE


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_message_or_a_protocol_error(header: bytes, has_blob: bool) -> None:
    for decode in (decode_from_actor, decode_from_learner):
        with suppress(ProtocolError):  # any other exception fails the test
            decode(header, has_blob)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_thousand_mutated_headers(seed: int) -> None:
    result = fuzz(100_000, seed)
    assert result.slowest_seconds < 1
    assert result.grown_bytes < 50 * MEGABYTE


@pytest.mark.slow
def test_a_storm_over_the_wire_leaves_the_learner_as_it_was() -> None:
    outcome: Outcome = storm(messages=10_000, connections=1000)
    assert outcome.alive
    assert outcome.refused > 1000
    assert outcome.longest_silence_seconds < 1
    assert outcome.join_seconds < 3
    assert outcome.grown_bytes < 50 * MEGABYTE
