"""The files that say which keys may join: who can read them, and what happens when they are damaged."""

import os
import stat
import threading
from pathlib import Path

import pytest

from dppo.learner.transport.credentials import Access
from dppo.learner.transport.private_files import write_new
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Admitted, new_secret_key, public_key
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
        write_new(tmp_path / "server.key", b"new")
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
