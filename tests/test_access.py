"""The files that say who may join: who can read them, what happens when they are damaged, and `dppo token` on them."""

import logging
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from processes import free_port

from dppo.cli import main
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.credentials import Access, _write_new
from dppo.learner.transport.listener import Listening, open_listener
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Admitted, Denied, new_secret_key, public_key
from dppo.protocol.security.join_line import JoinLine

NOW = 1_800_000_000.0
NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access.open(tmp_path, NOW)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_keys_are_for_their_owner_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        access = Access.open(tmp_path, NOW)
        access.announce("host:5555", NOW)
        access.change(lambda book: book.add("laptop", public_key(new_secret_key()), NOW))
    finally:
        os.umask(before)
    assert mode(access.path) == 0o700
    files = {path.name: mode(path) for path in access.path.iterdir()}
    assert files == dict.fromkeys(("server.key", "first.key", "tokens.json", "join", "address", "lock"), 0o600)


def test_the_key_is_made_once(tmp_path: Path, access: Access) -> None:
    content = {path.name: path.read_bytes() for path in access.path.iterdir()}
    again = Access.open(tmp_path, NOW + 1000)
    assert again.secret_key() == access.secret_key()
    assert {path.name: path.read_bytes() for path in access.path.iterdir()} == content


def test_a_file_that_is_there_is_never_taken_for_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        _write_new(tmp_path / "server.key", b"new")
    assert (tmp_path / "server.key").read_bytes() == b"old"


def test_two_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    found: list[tuple[bytes, bytes]] = []

    def start() -> None:
        access = Access.open(tmp_path, NOW)
        found.append((access.secret_key(), access.book().to_json()))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_line_lets_its_holder_in_and_stays_the_same(access: Access) -> None:
    line = access.announce("host:5555", NOW)
    assert line is not None
    assert line.address == "host:5555"
    assert line.server_key == public_key(access.secret_key())
    verdict = access.book().verdict(public_key(line.secret), NOW)
    assert verdict == Admitted(f"default.{line.token_id.hex()}")
    assert JoinLine.parse((access.path / "join").read_text()) == line
    moved = access.announce("elsewhere:1", NOW)
    assert moved is not None
    assert (moved.secret, moved.address) == (line.secret, "elsewhere:1")


def test_a_first_token_that_was_revoked_is_not_announced_and_not_replaced(access: Access) -> None:
    access.announce("host:5555", NOW)
    access.change(lambda book: book.revoke("default", NOW))
    assert access.announce("host:5556", NOW) is None
    assert access.address() == "host:5556"
    assert access.book().valid(NOW) == []


def test_without_the_first_secret_nothing_is_announced(access: Access) -> None:
    (access.path / "first.key").unlink()
    assert access.announce("host:5555", NOW) is None
    assert len(access.book().valid(NOW)) == 1


@pytest.mark.parametrize("name", ["server.key", "tokens.json", "first.key"])
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_or_write_is_refused(access: Access, tmp_path: Path, name: str, bits: int) -> None:
    access.announce("host:5555", NOW)
    (access.path / name).chmod(bits)
    with pytest.raises(UsageError, match=f"{name} is open to others .mode {bits:03o}.*chmod 600") as caught:
        Access.open(tmp_path, NOW).announce("host:5555", NOW)
    assert "\n" not in str(caught.value)


def test_a_directory_that_others_can_enter_is_refused(access: Access, tmp_path: Path) -> None:
    access.path.chmod(0o755)
    with pytest.raises(UsageError, match=r"open to others .mode 755.*chmod 700"):
        Access.open(tmp_path, NOW)


@pytest.mark.parametrize("name", ["server.key", "tokens.json"])
@pytest.mark.parametrize("content", [b"", b"00", b"\xff\xfe", b"x" * 64, b"{}}"])
def test_a_damaged_file_is_refused_at_the_start_and_left_as_it_is(
    access: Access, tmp_path: Path, name: str, content: bytes
) -> None:
    (access.path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} is damaged") as caught:
        Access.open(tmp_path, NOW)
    assert "\n" not in str(caught.value)
    assert (access.path / name).read_bytes() == content


def test_a_key_behind_a_link_is_refused(access: Access, tmp_path: Path) -> None:
    (access.path / "server.key").rename(tmp_path / "elsewhere")
    (access.path / "server.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="cannot be read"):
        Access.open(tmp_path, NOW)


def test_a_place_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "access").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Access.open(tmp_path, NOW)


@NOT_ROOT
def test_a_directory_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            Access.open(tmp_path, NOW)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_changes_still_belongs_to_the_learners_user(access: Access) -> None:
    """`docker exec ... dppo token revoke` must not lock the learner out of its own list."""
    os.chown(access.path, 4321, 4321)
    access.change(lambda book: book.revoke("default", NOW))
    status = (access.path / "tokens.json").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (4321, 4321, 0o600)


def test_changes_of_two_processes_at_once_are_both_kept(access: Access) -> None:
    def add(name: str) -> None:
        access.change(lambda book: book.add(name, public_key(new_secret_key()), NOW))

    threads = [threading.Thread(target=add, args=(f"host-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(access.book().tokens) == 9


# A running learner


class Clock:
    """Both clocks of a gate."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(access: Access, clock: Clock) -> TokenAuthenticator:
    return TokenAuthenticator(access, wall=clock, monotonic=clock)


def first_key(access: Access) -> bytes:
    line = access.announce("host:5555", NOW)
    assert line is not None
    return public_key(line.secret)


def test_a_token_added_a_moment_ago_is_let_in_at_the_first_try(access: Access, gate: TokenAuthenticator) -> None:
    secret = new_secret_key()
    access.change(lambda book: book.add("laptop", public_key(secret), NOW))
    assert isinstance(gate.admit(public_key(secret)), Admitted)


def test_a_revoked_token_may_not_stay_once_the_gate_has_looked(access: Access, gate: TokenAuthenticator) -> None:
    key = first_key(access)
    verdict = gate.admit(key)
    assert isinstance(verdict, Admitted)
    assert gate.is_valid(verdict.user)
    access.change(lambda book: book.revoke("default", NOW))
    gate.refresh()
    assert not gate.is_valid(verdict.user)
    assert gate.admit(key) == Denied(f"token {verdict.user} is revoked")


def test_an_expired_token_needs_no_look_at_the_file(access: Access, gate: TokenAuthenticator, clock: Clock) -> None:
    secret = new_secret_key()
    access.change(lambda book: book.add("brief", public_key(secret), NOW, 60))
    verdict = gate.admit(public_key(secret))
    assert isinstance(verdict, Admitted)
    clock.now += 60
    assert not gate.is_valid(verdict.user)
    assert isinstance(gate.admit(public_key(secret)), Denied)


@pytest.mark.parametrize("damage", ["garbage", "gone", "open to others"])
def test_while_the_list_cannot_be_read_nobody_new_comes_in_and_those_inside_stay(
    access: Access, gate: TokenAuthenticator, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    key, file = first_key(access), access.path / "tokens.json"
    verdict = gate.admit(key)
    assert isinstance(verdict, Admitted)
    content = file.read_bytes()
    if damage == "garbage":
        file.write_bytes(b'{"tokens": [')
    elif damage == "gone":
        file.unlink()
    else:
        file.chmod(0o644)
    gate.refresh()
    with pytest.raises(UsageError, match=r"tokens\.json"):
        gate.admit(key)
    assert gate.is_valid(verdict.user)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    gate.refresh()
    assert len(caplog.records) == 1, "it is said once"
    file.write_bytes(content)
    file.chmod(0o600)
    gate.refresh()
    assert gate.admit(key) == verdict


def test_refusals_are_told_once_a_second_and_none_is_forgotten(
    gate: TokenAuthenticator, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        gate.denied("10.0.0.9", bytes(32), "unknown key")
        gate.denied("10.0.0.8", b"", f"reason {number}")
    gate.flush()
    assert len(caplog.records) == 1
    assert "10.0.0.9" in caplog.records[0].getMessage()
    clock.now += 1
    gate.flush()
    gate.flush()
    assert len(caplog.records) == 2
    assert "1999 times more, most often 10.0.0.9, key" in caplog.records[1].getMessage()
    assert "unknown key (999); " in caplog.records[1].getMessage()
    assert gate.turned_away == 2000


def test_a_failed_check_is_told_with_its_reason(gate: TokenAuthenticator, caplog: pytest.LogCaptureFixture) -> None:
    gate.failed(ZeroDivisionError("oh"))
    assert "ZeroDivisionError: oh" in caplog.records[0].getMessage()


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["token", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out, err


def printed_line(out: str) -> JoinLine:
    assert out.startswith("dppo actor --join dppo1.")
    return JoinLine.parse(out)


def test_a_token_is_added_listed_rotated_and_revoked(
    tmp_path: Path, access: Access, capsys: pytest.CaptureFixture[str]
) -> None:
    access.announce("host:5555", NOW)
    directory = str(tmp_path)
    code, out, _ = run(capsys, "add", directory, "laptop", "--expires", "7d")
    assert code == 0
    line = printed_line(out)
    assert line.address == "host:5555"
    assert isinstance(access.book().verdict(public_key(line.secret), time.time()), Admitted)
    new = printed_line(run(capsys, "rotate", directory, "laptop", "--keep", "0s", "--address", "other:1")[1])
    assert new.address == "other:1"
    assert isinstance(access.book().verdict(public_key(line.secret), time.time()), Denied)
    assert isinstance(access.book().verdict(public_key(new.secret), time.time()), Admitted)
    assert run(capsys, "revoke", directory, new.token_id.hex())[1] == "revoked 1; 1 valid\n"
    table = run(capsys, "list", directory)[1]
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["default", access.book().tokens[0].id, "valid"],
        ["laptop", line.token_id.hex(), "expired"],
        ["laptop", new.token_id.hex(), "revoked"],
    ]
    assert new.secret.hex() not in "".join(path.read_text() for path in access.path.iterdir())


def test_the_first_tokens_line_can_be_shown_again_also_after_rotation(
    tmp_path: Path, access: Access, capsys: pytest.CaptureFixture[str]
) -> None:
    first = access.announce("host:5555", NOW)
    assert printed_line(run(capsys, "show", str(tmp_path))[1]) == first
    rotated = printed_line(run(capsys, "rotate", str(tmp_path))[1])
    assert printed_line(run(capsys, "show", str(tmp_path))[1]) == rotated != first
    assert JoinLine.parse((access.path / "join").read_text()) == rotated
    run(capsys, "revoke", str(tmp_path), "default")
    code, out, err = run(capsys, "show", str(tmp_path))
    assert (code, out) == (2, "")
    assert "is revoked" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("list", "{run}/nowhere"), "there is no run"),
        (("show", "{run}"), "has no tokens"),
        (("add", "{run}", "laptop"), "give --address HOST:PORT"),
        (("add", "{run}", "laptop", "--address", "host"), "has no port"),
        (("add", "{run}", "laptop", "--address", "host:x"), "'host:x' is not host:port"),
        (("add", "{run}", "laptop", "--address", "h:1", "--expires", "week"), "expires='week' is no time"),
        (("add", "{run}", "default", "--address", "h:1"), "there is a token default"),
        (("revoke", "{run}", "laptop"), "no valid token is called laptop"),
    ],
)
def test_a_wrong_token_command_is_answered_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    code, out, err = run(capsys, *(argument.format(run=tmp_path) for argument in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_line_is_told_to_a_terminal_only_and_a_log_names_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_terminal: bool
) -> None:
    listening = Listening(f"tcp://127.0.0.1:{free_port()}", shows_secrets=is_terminal)
    with caplog.at_level(logging.INFO):
        router, _ = open_listener(listening, 1000, tmp_path)
    router.close()
    line = (tmp_path / "access" / "join").read_text().strip()
    assert (line in caplog.text) == is_terminal
    assert (f"dppo actor --join-file {tmp_path}/access/join" in caplog.text) != is_terminal
