import math
import struct
from typing import Any

import msgpack
import msgspec
import pytest
from generated_messages import FROM_ACTOR, FROM_LEARNER, HELLO, SAMPLES, SMALL
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.protocol.codec import MAX_HEADER_BYTES, decode_from_actor, decode_from_learner, encode
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import (
    MAX_COUNT,
    WITH_BLOB,
    Ack,
    EnvSettings,
    Hello,
    Message,
    Nack,
    Policy,
    Pong,
    Reject,
    Rollout,
    Stop,
    Stopped,
    Tally,
    Welcome,
    Who,
)
from dppo.protocol.specs import Leaf, Spec, spec_hash


def array(message: Message) -> list[Any]:
    """The header as plain data."""
    fields: list[Any] = msgpack.unpackb(encode(message))
    return fields


def refused(header: bytes, has_blob: bool = False) -> str:
    """Both decoders must refuse it with a ProtocolError of one short line, and with nothing else."""
    with pytest.raises(ProtocolError) as caught:
        decode_from_actor(header, has_blob)
    with pytest.raises(ProtocolError):
        decode_from_learner(header, has_blob)
    assert len(str(caught.value)) <= 300
    return str(caught.value)


@pytest.mark.parametrize("kind", FROM_ACTOR)
def test_what_an_actor_says_arrives_as_it_was_said(kind: type) -> None:
    @SMALL
    @given(FROM_ACTOR[kind])
    def check(message: Any) -> None:
        assert decode_from_actor(encode(message), isinstance(message, WITH_BLOB)) == message

    check()


@pytest.mark.parametrize("kind", FROM_LEARNER)
def test_what_a_learner_says_arrives_as_it_was_said(kind: type) -> None:
    @SMALL
    @given(FROM_LEARNER[kind])
    def check(message: Any) -> None:
        assert decode_from_learner(encode(message), isinstance(message, WITH_BLOB)) == message

    check()


@pytest.mark.parametrize("message", SAMPLES, ids=lambda m: type(m).__name__)
def test_a_header_cut_anywhere_is_refused(message: Message) -> None:
    header = encode(message)
    for length in range(len(header)):
        refused(header[:length], isinstance(message, WITH_BLOB))


@pytest.mark.parametrize("message", SAMPLES, ids=lambda m: type(m).__name__)
def test_bytes_after_the_header_are_refused(message: Message) -> None:
    refused(encode(message) + b"\0", isinstance(message, WITH_BLOB))


def test_a_header_above_4096_bytes_is_refused_without_parsing_it() -> None:
    assert "4096" in refused(b"\xc1" * (MAX_HEADER_BYTES + 1))
    assert "4096" in refused(encode(SAMPLES[1]).ljust(MAX_HEADER_BYTES + 1, b"\0"))


@pytest.mark.parametrize("message", SAMPLES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    "wrong", [None, "text", -1, 2**63, 1.5, True, [], b"\xff" * 65, math.nan], ids=lambda value: repr(value)[:10]
)
def test_a_value_that_fits_no_field_is_refused_or_was_allowed_by_the_type(message: Message, wrong: Any) -> None:
    fields = array(message)
    for index in range(1, len(fields)):
        changed = [*fields[:index], wrong, *fields[index + 1 :]]
        try:
            decoded = decode_from_actor(msgpack.packb(changed), isinstance(message, WITH_BLOB))
        except ProtocolError:
            continue
        value = getattr(decoded, message.__struct_fields__[index - 1])
        field = next(f for f in msgspec.structs.fields(type(message)) if f.name == message.__struct_fields__[index - 1])
        assert msgspec.convert(wrong, field.type) == value or math.isnan(value)


@pytest.mark.parametrize("field", ["seq", "term", "version", "T", "E", "finals", "episodes", "steps"])
@pytest.mark.parametrize("wrong", [-1, MAX_COUNT + 1, 1.0, "1", None, True, [1]])
def test_a_count_is_a_whole_number_in_its_range(field: str, wrong: Any) -> None:
    fields = array(Rollout(1, 1, 2, 3, 4, 0, 0, 12))
    fields[1 + Rollout.__struct_fields__.index(field)] = wrong
    refused(msgpack.packb(fields), has_blob=True)


def test_seconds_are_neither_negative_nor_endless_nor_nan() -> None:
    for wrong in (-1.0, 2e9, math.inf, math.nan):
        refused(msgpack.packb(["Have", 1, 2, wrong]))


def test_a_name_that_could_break_a_log_or_a_path_is_refused() -> None:
    for wrong in ("", "a b", "a\nb", "../a", "ä", "a" * 129, "a\n"):
        fields = array(HELLO)
        fields[1 + Hello.__struct_fields__.index("actor")] = wrong
        refused(msgpack.packb(fields))


def test_a_missing_field_is_refused() -> None:
    for message in SAMPLES:
        required = [f for f in msgspec.structs.fields(type(message)) if f.required]
        refused(msgpack.packb(array(message)[: len(required)]), isinstance(message, WITH_BLOB))


def test_an_extra_field_is_refused_also_inside() -> None:
    for message in SAMPLES:
        complete = msgspec.to_builtins(message)
        assert len(complete) == len(message.__struct_fields__) + 1
        refused(msgpack.packb([*complete, 0]), isinstance(message, WITH_BLOB))
    fields = msgspec.to_builtins(Stopped(1, 2, Tally(), 0.5))
    fields[3] = [*fields[3], 0]
    refused(msgpack.packb(fields))


def test_an_unknown_kind_of_message_is_refused() -> None:
    for tag in ("Nobody", "", 1, None, b"Have", ["Have"]):
        refused(msgpack.packb([tag, 1, 2, 0.5]))


def test_a_map_instead_of_an_array_is_refused() -> None:
    refused(msgpack.packb({"type": "Have", "term": 1, "version": 2, "load_seconds": 0.5}))
    refused(msgpack.packb({}))
    refused(msgpack.packb(["Stopped", 1, 2, {}, 0.5]))


def test_a_header_that_is_no_array_is_refused() -> None:
    for value in (None, 1, "Who", b"Who", 1.5, True, []):
        refused(msgpack.packb(value))
    refused(b"")


def test_an_extension_type_is_refused() -> None:
    for data in (b"", b"1234", b"12345678"):
        refused(msgpack.packb(["Ping", msgpack.ExtType(5, data), [], []]))
    refused(msgpack.packb(msgpack.ExtType(5, b"x")))
    refused(msgpack.packb(["Ping", msgpack.Timestamp(1, 2), [], []]))


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    for depth in (10, 400, 600, 1100, MAX_HEADER_BYTES):
        header = (opening * depth)[: MAX_HEADER_BYTES - 1] + b"\xc0"
        refused(header)


def test_a_length_that_the_header_cannot_hold_is_refused() -> None:
    for code, size in ((0xDB, "I"), (0xC6, "I"), (0xDD, "I"), (0xDF, "I"), (0xC9, "I"), (0xDA, "H"), (0xDC, "H")):
        huge = struct.pack(f">B{size}", code, 2 ** (32 if size == "I" else 16) - 1)
        refused(huge)
        refused(b"\x94\xa4Have" + huge)
        refused(huge + b"\0" * 4000)


def test_text_that_is_not_utf8_is_refused() -> None:
    refused(b"\x92\xa3Bye\xa2\xff\xfe")


def test_a_message_goes_with_a_blob_exactly_where_it_should() -> None:
    for message in SAMPLES:
        with pytest.raises(ProtocolError, match="blob"):
            decode_from_actor(encode(message), not isinstance(message, WITH_BLOB))
    with pytest.raises(ProtocolError, match="Policy without a blob"):
        decode_from_learner(encode(Policy(1, 1, b"d" * 16, 1)), has_blob=False)
    with pytest.raises(ProtocolError, match="Who with a blob"):
        decode_from_learner(encode(Who()), has_blob=True)


def test_a_message_of_the_own_side_is_refused() -> None:
    for message in (Welcome, Reject, Policy, Ack, Nack, Stop, Pong, Who):
        example = {
            Welcome: Welcome(1, "r", 1, EnvSettings("E"), 1, 0, 0, 0, 0, 8, 1.0, 1.0, "keep"),
            Reject: Reject("run", "no", fatal=True),
            Policy: Policy(1, 1, b"d" * 16, 1),
            Ack: Ack(1, 8),
            Nack: Nack(1, "stale"),
            Stop: Stop(1, 1, 1.0),
            Pong: Pong(1.0),
            Who: Who(),
        }[message]
        with pytest.raises(ProtocolError):
            decode_from_actor(encode(example), isinstance(example, WITH_BLOB))
    for example in SAMPLES[:-1]:  # BYE goes both ways
        with pytest.raises(ProtocolError):
            decode_from_learner(encode(example), isinstance(example, WITH_BLOB))


def test_a_spec_that_no_honest_peer_sends_is_refused_with_its_hello() -> None:
    fields = array(HELLO)
    fields[-3][0][0][2] = [2**40, 2**40]
    refused(msgpack.packb(fields))


def test_a_header_too_long_to_be_accepted_is_not_sent_and_says_which_and_how_long() -> None:
    bounds = (0.5,) * 400
    spec = Spec(HELLO.spec.observation, (Leaf("action", "<f4", (400,), "box", bounds, bounds),))
    with pytest.raises(Exception, match=r"Hello takes \d+ bytes; a header may take 4096"):
        encode(Hello(1, 1, "0.1", "a", b"12345678", 2, Tally(), spec_hash=spec_hash(spec), spec=spec))


@settings(derandomize=True, deadline=None, max_examples=700)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_refused_or_read_and_nothing_else(header: bytes, has_blob: bool) -> None:
    for decode in (decode_from_actor, decode_from_learner):
        try:
            message = decode(header, has_blob)
        except ProtocolError:
            continue
        assert isinstance(message, WITH_BLOB) == has_blob


@settings(derandomize=True, deadline=None, max_examples=250)
@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_a_damaged_header_is_refused_or_is_another_valid_one(message: Message, changes: list[tuple[int, int]]) -> None:
    header = bytearray(encode(message))
    for place, byte in changes:
        header[place % len(header)] = byte
    try:
        read = decode_from_actor(bytes(header), isinstance(message, WITH_BLOB))
    except ProtocolError:
        return
    again = decode_from_actor(encode(read), isinstance(read, WITH_BLOB))
    assert again == read or "nan" in repr(read)
