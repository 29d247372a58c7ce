"""The line that lets an actor join: what goes in comes out, and no typing error gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.protocol.errors import UsageError
from dppo.protocol.security.join_line import ID_BYTES, KEY_BYTES, PREFIX, JoinLine

ADDRESSES = ["host:5555", "10.0.0.7:1", "[::1]:65535", "[fe80::1%eth0]:5555", "learner.cluster.local:5555", "a_b-c:80"]
LINE = str(JoinLine(bytes(range(32)), b"\1\2\3\4", bytes(range(32, 64)), "host:5555"))

keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
lines = st.builds(JoinLine, keys, st.binary(min_size=ID_BYTES, max_size=ID_BYTES), keys, st.sampled_from(ADDRESSES))


@given(lines)
def test_a_line_is_read_as_it_was_written(line: JoinLine) -> None:
    assert JoinLine.parse(str(line)) == line
    assert "\n" not in str(line)


@given(lines)
def test_the_whole_printed_command_will_do(line: JoinLine) -> None:
    assert JoinLine.parse(f"  dppo actor --join {line}\r\n") == line


@given(lines, st.data())
def test_one_wrong_character_never_gets_through(line: JoinLine, data: st.DataObject) -> None:
    token, at, address = str(line).partition("@")
    place = data.draw(st.integers(len(PREFIX), len(token) - 1))
    wrong = data.draw(st.sampled_from(sorted(set("ABCXYZabcxyz0189-_+/=.") - {token[place]})))
    with pytest.raises(UsageError) as caught:
        JoinLine.parse(token[:place] + wrong + token[place + 1 :] + at + address)
    assert "\n" not in str(caught.value)


@given(lines, st.integers(1, 90))
def test_a_line_that_is_cut_off_never_gets_through(line: JoinLine, length: int) -> None:
    token, at, address = str(line).partition("@")
    for cut in (str(line)[:length], token[:-length] + at + address):
        with pytest.raises(UsageError):
            JoinLine.parse(cut)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "nothing like it"),
        ("tcp://host:5555", "nothing like it"),
        (f"{LINE} {LINE}", "2 of them"),
        (LINE.replace("dppo1.", "dppo2."), "install the learner's release"),
        (LINE.partition("@")[0], "does not end in @host:port"),
        (LINE.replace("host:5555", "host"), "does not end in @host:port"),
        (LINE.replace("host:5555", "host:0"), "does not end in @host:port"),
        (LINE.replace("host:5555", "host:65536"), "does not end in @host:port"),
        (LINE.replace("host:5555", ":5555"), "does not end in @host:port"),
        (LINE.replace("host:5555", "host:5555/x"), "does not end in @host:port"),
        (LINE.replace("host:5555", "host:5\N{ARABIC-INDIC DIGIT FIVE}"), "does not end in @host:port"),
        ("dppo1.AAAA@host:5555", "typing error"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_the_secret_is_not(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        JoinLine.parse(text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert LINE[20:60] not in str(caught.value)


def test_the_secret_is_not_in_what_a_traceback_shows() -> None:
    assert repr(bytes(range(32, 64))) not in repr(JoinLine.parse(LINE))
