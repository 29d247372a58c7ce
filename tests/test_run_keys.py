"""`dppo token new`: keys and a join line before the first run, and the learner that takes them over."""

import logging
import stat
from pathlib import Path

import pytest
from command_line import failed, forget_variables, run

from dppo.actor.join_options import JoinOptions
from dppo.learner.transport.credentials import Access
from dppo.learner.transport.listener import Listening, check_address, open_listener
from dppo.learner.transport.run_keys import RunKeys
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import Admitted, Denied, public_key
from dppo.protocol.security.join_line import JoinLine
from scripts.ports import free_port

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made by the command."""
    forget_variables(monkeypatch)
    folder = tmp_path / "secrets"
    assert run("token", "new", str(folder), "--address", "learner:5555") == 0
    return folder


def test_both_files_are_private_and_nothing_of_them_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_variables(monkeypatch)
    folder = tmp_path / "secrets"
    assert run("token", "new", str(folder), "--address", "learner:5555") == 0
    out, err = capsys.readouterr()
    files = {path.name: path.read_text().strip() for path in folder.iterdir()}
    assert files.keys() == {"learner.key", "join"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert err == ""
    assert not any(text.partition("@")[0] in out for text in files.values())
    assert [line.split()[0] for line in out.splitlines()] == [f"{folder}/learner.key", f"{folder}/join"]
    assert "secret" not in repr(RunKeys.read(folder / "learner.key"))


def test_files_that_are_there_are_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "join").read_text()
    (folder / "learner.key").unlink()
    capsys.readouterr()
    assert "join is there already" in failed(capsys, "token", "new", str(folder), "--address", "learner:5555")
    assert (folder / "join").read_text() == before
    assert not (folder / "learner.key").exists()


@pytest.mark.parametrize(
    ("address", "complaint"), [("", "give --address"), ("host", "has no port"), ("host:x", "'host:x' is not host:port")]
)
def test_a_wrong_address_makes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    complaint: str,
) -> None:
    forget_variables(monkeypatch)
    arguments = ("--address", address) if address else ()
    assert complaint in failed(capsys, "token", "new", str(tmp_path / "secrets"), *arguments)
    assert not (tmp_path / "secrets").exists()


def test_a_learner_that_starts_later_takes_the_keys_over(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = JoinLine.parse((folder / "join").read_text())
    found = JoinOptions(join_file=str(folder / "join")).find()
    assert found is not None
    assert found[0] == "tcp://learner:5555"
    listening = Listening(f"tcp://127.0.0.1:{free_port()}", key_file=str(folder / "learner.key"))
    caplog.set_level(logging.INFO)
    for _ in range(2):  # the second start finds what the first has made
        router, authenticator = open_listener(listening, 1000, tmp_path / "run")
        router.close()
        assert authenticator is not None
        access = Access(tmp_path / "run")
        assert public_key(access.secret_key()) == line.server_key
        assert isinstance(access.book().verdict(public_key(line.secret), NOW), Admitted)
        assert JoinLine.parse((tmp_path / "run" / "access" / "join").read_text()) == line
    assert "dppo1." not in caplog.text
    assert "dppokeys1." not in caplog.text


def test_a_revoked_first_token_stays_revoked(folder: Path, tmp_path: Path) -> None:
    keys = RunKeys.read(folder / "learner.key")
    access = Access.open(tmp_path, NOW, keys)
    access.change(lambda book: book.revoke("default", NOW))
    assert isinstance(Access.open(tmp_path, NOW, keys).book().verdict(public_key(keys.token_secret), NOW + 1), Denied)


def test_keys_of_another_run_are_refused(folder: Path, tmp_path: Path) -> None:
    Access.open(tmp_path, NOW)
    with pytest.raises(UsageError, match=f"{tmp_path}/access has other keys than key_file: leave key_file out"):
        Access.open(tmp_path, NOW, RunKeys.read(folder / "learner.key"))


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (None, 0o600, "is not there: `dppo token new` makes one"),
        ("{line}", 0o600, "holds a join line, which is for actors"),
        ("hello", 0o600, "holds no keys of a learner"),
        ("{keys[:60]}", 0o600, "is damaged or cut off"),
        ("{keys}", 0o644, "is open to others"),
    ],
)
def test_a_wrong_key_file_is_one_line_before_anything_starts(
    folder: Path, tmp_path: Path, content: str | None, mode: int, complaint: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        keys, line = ((folder / name).read_text() for name in ("learner.key", "join"))
        file.write_text({"{line}": line, "{keys}": keys, "{keys[:60]}": keys[:60]}.get(content, content))
        file.chmod(mode)
    with pytest.raises(UsageError, match=complaint) as caught:
        check_address(Listening(f"tcp://127.0.0.1:{free_port()}", key_file=str(file)))
    assert "\n" not in str(caught.value)
    assert "dppokeys1." not in str(caught.value)


def test_the_group_may_read_it_through_a_link_as_engines_mount_secrets(folder: Path, tmp_path: Path) -> None:
    (folder / "learner.key").chmod(0o440)
    link = tmp_path / "key"
    link.symlink_to(folder / "learner.key")
    assert RunKeys.read(link) == RunKeys.read(folder / "learner.key")


def test_keys_have_no_use_without_encryption() -> None:
    with pytest.raises(UsageError, match="key_file is for a learner that listens on tcp with keys"):
        Listening("ipc:///tmp/x", key_file="key")
