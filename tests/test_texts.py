"""What peers write reaches terminals and logs: every string of every message, found by reflection."""

import json
from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec
import pytest
from generated_messages import FROM_ACTOR, FROM_LEARNER
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.learner.config import EnvConfig
from dppo.protocol.codec import decode_from_actor, decode_from_learner
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import WITH_BLOB, Bye, EnvFault, Tally
from dppo.protocol.texts import MAX_TEXT, printable

EVIL = "\x1b[31m\x1b]0;title\x07\r\n2026-01-01 learner: forged\x9b\u202e\u2066\u200b\x00\x7f\u2028\ud7ff\ue000"
DIRECTIONS = [(kind, decode_from_actor) for kind in FROM_ACTOR] + [(kind, decode_from_learner) for kind in FROM_LEARNER]


def strings_in(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Paths of all strings in a message's plain form, its tag included."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings_in(item, (*path, index))


def put(value: Any, path: tuple[int, ...], text: str) -> None:
    for index in path[:-1]:
        value = value[index]
    value[path[-1]] = text


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_of(item)


@pytest.mark.fast(2)
@pytest.mark.parametrize(("kind", "decode"), DIRECTIONS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(data=st.data())
def test_no_string_of_any_message_comes_through_that_a_terminal_would_obey(kind: type, decode: Any, data: Any) -> None:
    message = data.draw({**FROM_ACTOR, **FROM_LEARNER}[kind])
    plain = msgpack.unpackb(msgspec.msgpack.encode(message), raw=False, strict_map_key=False)
    for path in strings_in(plain):
        for evil in (EVIL, "x" + EVIL[:8], "a\x1b"):
            changed = msgpack.unpackb(msgpack.packb(plain), raw=False)
            put(changed, path, evil)
            seen = what_is_seen(decode, msgpack.packb(changed), kind in WITH_BLOB)
            assert all(text.isprintable() and len(text) <= 2048 for text in seen), seen


def what_is_seen(decode: Any, header: bytes, has_blob: bool) -> list[str]:
    """The texts of the message, or that of the refusal."""
    try:
        return list(texts_of(msgspec.to_builtins(decode(header, has_blob))))
    except ProtocolError as error:
        return [str(error)]


@pytest.mark.parametrize("message", [Bye(EVIL, Tally()), EnvFault(b"12345678", "stuck", EVIL)])
def test_free_text_is_made_one_printable_line_and_the_message_is_kept(message: Any) -> None:
    got = decode_from_actor(msgspec.msgpack.encode(message), has_blob=False)
    text = got.reason if isinstance(got, Bye) else got.text
    assert text.isprintable()
    assert "title" in text
    assert "forged" in text


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=2000))
def test_whatever_is_made_printable_is_one_bounded_line(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert len(line) <= MAX_TEXT
    assert printable(line) == line


def test_ordinary_texts_in_any_language_stay_as_they_are() -> None:
    for text in ("", "left: drained", "größer 東京 Ж", "x" * MAX_TEXT):
        assert printable(text) == text
    assert printable("x" * (MAX_TEXT + 1)).endswith("...")


def test_keyword_arguments_with_any_characters_reach_the_actor_unchanged() -> None:
    kwargs = {"text": EVIL, "two": "a  b\tc"}
    sent = EnvConfig("X-v0", kwargs).kwargs_json
    assert sent.isprintable()
    assert json.loads(sent) == kwargs
