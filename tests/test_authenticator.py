"""The authenticator of a running learner: tokens that are added, revoked, expired or cannot be read."""

from pathlib import Path

import pytest

from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.credentials import Access
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Admitted, Denied, new_secret_key, public_key

NOW = 1_800_000_000.0


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access.open(tmp_path, NOW)


# A running learner


class Clock:
    """Both clocks of an authenticator."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(access: Access, clock: Clock) -> TokenAuthenticator:
    return TokenAuthenticator(access, wall=clock, monotonic=clock)


def first_key(access: Access) -> bytes:
    line = access.announce("host:5555", NOW)
    assert line is not None
    return public_key(line.secret)


def test_a_token_added_a_moment_ago_is_let_in_at_the_first_try(
    access: Access, authenticator: TokenAuthenticator
) -> None:
    secret = new_secret_key()
    access.change(lambda book: book.add("laptop", public_key(secret), NOW))
    assert isinstance(authenticator.admit(public_key(secret)), Admitted)


def test_a_revoked_token_may_not_stay_once_the_file_was_looked_at(
    access: Access, authenticator: TokenAuthenticator
) -> None:
    key = first_key(access)
    verdict = authenticator.admit(key)
    assert isinstance(verdict, Admitted)
    assert authenticator.is_valid(verdict.user)
    access.change(lambda book: book.revoke("default", NOW))
    authenticator.refresh()
    assert not authenticator.is_valid(verdict.user)
    assert authenticator.admit(key) == Denied(f"token {verdict.user} is revoked")


def test_an_expired_token_needs_no_look_at_the_file(
    access: Access, authenticator: TokenAuthenticator, clock: Clock
) -> None:
    secret = new_secret_key()
    access.change(lambda book: book.add("brief", public_key(secret), NOW, 60))
    verdict = authenticator.admit(public_key(secret))
    assert isinstance(verdict, Admitted)
    clock.now += 60
    assert not authenticator.is_valid(verdict.user)
    assert isinstance(authenticator.admit(public_key(secret)), Denied)


@pytest.mark.parametrize("damage", ["garbage", "gone", "open to others"])
def test_while_the_list_cannot_be_read_nobody_new_comes_in_and_those_inside_stay(
    access: Access, authenticator: TokenAuthenticator, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    key, file = first_key(access), access.path / "tokens.json"
    verdict = authenticator.admit(key)
    assert isinstance(verdict, Admitted)
    content = file.read_bytes()
    if damage == "garbage":
        file.write_bytes(b'{"tokens": [')
    elif damage == "gone":
        file.unlink()
    else:
        file.chmod(0o644)
    authenticator.refresh()
    with pytest.raises(UsageError, match=r"tokens\.json"):
        authenticator.admit(key)
    assert authenticator.is_valid(verdict.user)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    authenticator.refresh()
    assert len(caplog.records) == 1, "it is said once"
    file.write_bytes(content)
    file.chmod(0o600)
    authenticator.refresh()
    assert authenticator.admit(key) == verdict


def test_refusals_are_told_once_a_second_and_none_is_forgotten(
    authenticator: TokenAuthenticator, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        authenticator.denied("10.0.0.9", bytes(32), "unknown key")
        authenticator.denied("10.0.0.8", b"", f"reason {number}")
    authenticator.flush()
    assert len(caplog.records) == 1
    assert "10.0.0.9" in caplog.records[0].getMessage()
    clock.now += 1
    authenticator.flush()
    authenticator.flush()
    assert len(caplog.records) == 2
    assert "1999 times more, most often 10.0.0.9, key" in caplog.records[1].getMessage()
    assert "unknown key (999); " in caplog.records[1].getMessage()
    assert authenticator.refused == 2000


def test_a_failed_check_is_told_with_its_reason(
    authenticator: TokenAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator.failed(ZeroDivisionError("oh"))
    assert "ZeroDivisionError: oh" in caplog.records[0].getMessage()


def test_tokens_of_another_learner_are_valid_here_as_long_as_they_are_there(
    authenticator: TokenAuthenticator, tmp_path: Path
) -> None:
    first = Access.open(tmp_path / "first", NOW)
    secret = new_secret_key()
    key = public_key(secret)
    assert authenticator.admit(key) == Denied("unknown key")
    authenticator.shared = first.change(lambda book: book.add("laptop", key, NOW))
    admitted = authenticator.admit(key)
    assert isinstance(admitted, Admitted)
    assert authenticator.is_valid(admitted.user)
    authenticator.shared = first.change(lambda book: book.revoke("laptop", NOW))
    denied = authenticator.admit(key)
    assert isinstance(denied, Denied)
    assert "is revoked" in denied.reason
    assert not authenticator.is_valid(admitted.user)


def test_own_tokens_stay_valid_beside_those_of_another_learner(
    access: Access, authenticator: TokenAuthenticator
) -> None:
    key = first_key(access)
    authenticator.shared = TokenBook.from_json(authenticator.tokens()).revoke("default", NOW)
    assert isinstance(authenticator.admit(key), Admitted)
