"""The list of tokens: who may join when, and what adding, rotating and revoking do to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Admitted, Denied

NOW = 1_800_000_000
DAY = 86_400


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def admitted(book: TokenBook, number: int, now: float = NOW) -> bool:
    verdict = book.verdict(key(number), now)
    if isinstance(verdict, Admitted):
        assert book.is_valid(verdict.user, now)
        return True
    return False


def reason(book: TokenBook, number: int, now: float = NOW) -> str:
    verdict = book.verdict(key(number), now)
    assert isinstance(verdict, Denied)
    return verdict.reason


def test_an_empty_book_lets_nobody_in() -> None:
    assert reason(TokenBook(), 1) == "unknown key"
    assert not TokenBook().is_valid("", NOW)


def test_a_token_lets_its_key_in_and_no_other() -> None:
    book = TokenBook().add("laptop", key(1), NOW)
    assert admitted(book, 1)
    assert admitted(book, 1, NOW + 1000 * DAY)
    assert not admitted(book, 2)
    verdict = book.verdict(key(1), NOW)
    assert isinstance(verdict, Admitted)
    assert verdict.user.startswith("laptop.")


def test_a_token_expires_at_the_second_that_was_said() -> None:
    book = TokenBook().add("laptop", key(1), NOW, lifetime_seconds=7 * DAY)
    label = book.tokens[0].label
    assert admitted(book, 1, NOW + 7 * DAY - 1)
    assert not admitted(book, 1, NOW + 7 * DAY)
    assert not book.is_valid(label, NOW + 7 * DAY)
    assert reason(book, 1, NOW + 8 * DAY) == f"token {label} is expired"


def test_a_revoked_token_is_over_at_once_and_its_refusal_says_so() -> None:
    book = TokenBook().add("laptop", key(1), NOW).add("desk", key(2), NOW)
    book = book.revoke("laptop", NOW)
    assert reason(book, 1) == f"token {book.tokens[0].label} is revoked"
    assert admitted(book, 2)
    assert not book.is_valid(book.tokens[0].label, NOW)


@pytest.mark.parametrize("what", ["id", "label"])
def test_one_of_several_secrets_of_a_name_can_be_revoked(what: str) -> None:
    book = TokenBook().add("laptop", key(1), NOW).rotate("laptop", key(2), NOW, keep_seconds=DAY)
    book = book.revoke(getattr(book.tokens[0], what), NOW)
    assert (admitted(book, 1), admitted(book, 2)) == (False, True)


def test_revoking_by_name_ends_all_its_secrets() -> None:
    book = TokenBook().add("laptop", key(1), NOW).rotate("laptop", key(2), NOW, keep_seconds=DAY)
    book = book.revoke("laptop", NOW)
    assert (admitted(book, 1), admitted(book, 2)) == (False, False)


def test_after_rotation_the_old_secret_is_good_for_a_while_and_the_new_one_for_good() -> None:
    book = TokenBook().add("laptop", key(1), NOW).rotate("laptop", key(2), NOW + 5, keep_seconds=DAY)
    assert (admitted(book, 1, NOW + DAY), admitted(book, 2, NOW + DAY)) == (True, True)
    assert (admitted(book, 1, NOW + 5 + DAY), admitted(book, 2, NOW + 5 + DAY)) == (False, True)
    assert book.rotate("laptop", key(3), NOW, keep_seconds=0).valid(NOW)[0].key == key(3).hex()


def test_rotation_never_prolongs_the_old_secret() -> None:
    book = TokenBook().add("laptop", key(1), NOW, lifetime_seconds=60)
    book = book.rotate("laptop", key(2), NOW, keep_seconds=DAY)
    assert not admitted(book, 1, NOW + 60)


def test_the_new_secret_of_a_token_that_expires_expires_too() -> None:
    book = TokenBook().add("laptop", key(1), NOW, lifetime_seconds=7 * DAY)
    book = book.rotate("laptop", key(2), NOW + DAY, keep_seconds=0)
    assert book.tokens[-1].expires == NOW + 8 * DAY
    assert book.rotate("laptop", key(3), NOW, keep_seconds=0, lifetime_seconds=60).tokens[-1].expires == NOW + 60


def test_two_valid_tokens_of_one_name_only_come_by_rotation() -> None:
    book = TokenBook().add("laptop", key(1), NOW, lifetime_seconds=60)
    with pytest.raises(UsageError, match="there is a token laptop"):
        book.add("laptop", key(2), NOW)
    assert admitted(book.add("laptop", key(2), NOW + 60), 2, NOW + 60)


@pytest.mark.parametrize("name", ["", "two words", "a.b", "ä", "a\n", "x" * 65, "../x"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a token"):
        TokenBook().add(name, key(1), NOW)


@pytest.mark.parametrize("change", ["revoke", "rotate"])
def test_what_is_not_there_cannot_be_changed_and_what_is_there_is_said(change: str) -> None:
    book = TokenBook().add("laptop", key(1), NOW).revoke("laptop", NOW).add("desk", key(2), NOW)
    with pytest.raises(UsageError, match=rf"no valid token is called laptop; valid: desk\.{book.tokens[-1].id}"):
        book.revoke("laptop", NOW) if change == "revoke" else book.rotate("laptop", key(3), NOW, keep_seconds=0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "rotate", "revoke"]), st.sampled_from("abc"), st.integers(0, 50), st.integers(1, 50)
        ),
        max_size=30,
    )
)
def test_what_is_written_is_read_again_and_nothing_that_was_revoked_comes_back(
    changes: list[tuple[str, str, int, int]],
) -> None:
    book, now, revoked = TokenBook(), NOW, set[str]()
    for number, (change, name, seconds, pause) in enumerate(changes):
        now += pause
        try:
            if change == "add":
                book = book.add(name, key(number), now, seconds or None)
            elif change == "rotate":
                book = book.rotate(name, key(number), now, keep_seconds=seconds)
            else:
                before = book
                book = book.revoke(name, now)
                revoked |= {token.key for token in before.valid(now) if token.name == name}
        except UsageError:
            continue
        assert TokenBook.from_json(book.to_json()) == book
        valid = {token.key for token in book.valid(now)}
        assert not valid & revoked
        assert valid == {token.key for token in book.tokens if admitted(book, int(token.key, 16), now)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}x",
        b"[]",
        b'{"tokens": [{"name": "a", "key": "00", "created": 1}]}',
        b'{"tokens": [{"name": "a", "created": 1}]}',
        b'{"tokens": [], "more": 1}',
        b'{"tokens": [{"name": "a", "key": "%s", "created": -1}]}' % (b"0" * 64),
        b'{"tokens": [{"name": "a", "key": "%s", "created": 1}, {"name": "b", "key": "%s", "created": 1}]}'
        % (b"0" * 64, b"0" * 64),
    ],
)
def test_a_damaged_list_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  msgspec's errors are ValueErrors
        TokenBook.from_json(content)


def test_the_list_holds_no_secret() -> None:
    book = TokenBook().add("laptop", key(7), NOW)
    assert set(type(book.tokens[0]).__struct_fields__) == {"name", "key", "created", "expires", "revoked"}
