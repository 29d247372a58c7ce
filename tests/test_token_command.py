"""`dppo token`: add, list, rotate, revoke and show, and the line that a learner prints."""

import logging
import time
from pathlib import Path

import pytest

from dppo.cli import main
from dppo.learner.transport.credentials import Access
from dppo.learner.transport.listener import Listening, open_listener
from dppo.protocol.security.curve import Admitted, Denied, public_key
from dppo.protocol.security.join_line import JoinLine
from scripts.ports import free_port

NOW = 1_800_000_000.0


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access.open(tmp_path, NOW)


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


def test_addresses_of_other_networks_are_named_unless_one_was_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [("eth0", "192.0.2.7"), ("eth1", "10.0.0.7"), ("docker0", "172.17.0.1")]
    monkeypatch.setattr("dppo.learner.transport.listener._own_addresses", lambda version: own)
    monkeypatch.setattr("dppo.learner.transport.listener._this_host", lambda version: "10.0.0.7")
    caplog.set_level(logging.INFO)

    def told(bind: str, advertise: str = "") -> str:
        caplog.clear()
        open_listener(Listening(f"{bind}:{free_port()}", advertise), 1000, tmp_path)[0].close()
        return caplog.text

    assert "names 10.0.0.7; this host also has 192.0.2.7 (eth0), 172.17.0.1 (docker0): where" in told("tcp://0.0.0.0")
    assert "this host also has" not in told("tcp://0.0.0.0", "10.0.0.7")
    assert "this host also has" not in told("tcp://127.0.0.1")
    own[:] = own[1:2]
    assert "this host also has" not in told("tcp://0.0.0.0")
