"""Options of an actor that lead to its learner: a join line, a file with one, or an address without keys."""

import os
import threading
from pathlib import Path

import pytest

from dppo.actor.join_options import JoinOptions
from dppo.protocol.errors import UsageError
from dppo.protocol.security.join_line import JoinLine

LINE = JoinLine(bytes(32), bytes(4), bytes(range(32)), "host:5555")


# The way in


def test_the_line_says_where_the_learner_is_and_by_what_key() -> None:
    found = JoinOptions(join=str(LINE)).find()
    assert found is not None
    endpoint, security = found
    assert endpoint == "tcp://host:5555"
    assert security is not None
    assert (security.server_key, security.secret_key) == (LINE.server_key, LINE.secret)


def test_another_address_keeps_the_key() -> None:
    found = JoinOptions("tcp://127.0.0.1:7777", join=str(LINE)).find()
    assert found is not None
    assert found[0] == "tcp://127.0.0.1:7777"
    assert found[1] is not None


def test_a_file_is_waited_for_and_then_read(tmp_path: Path) -> None:
    file = tmp_path / "line"
    join_options = JoinOptions(join_file=str(file))
    assert join_options.find() is None
    file.touch(0o600)
    file.write_text(f"dppo actor --join {LINE}\n")
    found = join_options.find()
    assert found is not None
    assert found[0] == "tcp://host:5555"


@pytest.mark.parametrize("bits", [0o600, 0o400, 0o440, 0o640])
def test_a_file_for_owner_and_group_is_taken(tmp_path: Path, bits: int) -> None:
    (tmp_path / "line").write_text(str(LINE))
    (tmp_path / "line").chmod(bits)
    assert JoinOptions(join_file=str(tmp_path / "line")).find() is not None


@pytest.mark.parametrize("bits", [0o644, 0o604, 0o660, 0o602, 0o666])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, bits: int) -> None:
    (tmp_path / "line").write_text(str(LINE))
    (tmp_path / "line").chmod(bits)
    with pytest.raises(UsageError, match=f"open to others .mode {bits:03o}.*chmod 600") as caught:
        JoinOptions(join_file=str(tmp_path / "line")).find()
    assert "\n" not in str(caught.value)


def test_a_pipe_is_read_whatever_its_mode(tmp_path: Path) -> None:
    """As the shell's <(pass show dppo) gives."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    thread = threading.Thread(target=lambda: pipe.write_text(f"{LINE}\n"))
    thread.start()
    assert JoinOptions(join_file=str(pipe)).find() is not None
    thread.join()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"tcp://host:5555\n"])
def test_a_file_with_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "line").touch(0o600)
    (tmp_path / "line").write_bytes(content)
    with pytest.raises(UsageError):
        JoinOptions(join_file=str(tmp_path / "line")).find()


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="join_file"):
        JoinOptions(join_file=str(tmp_path)).find()


@pytest.mark.parametrize("learner", ["tcp://10.0.0.1:5555", "tcp://learner:5555", ""])
def test_going_without_keys_is_for_this_machine_only(learner: str) -> None:
    with pytest.raises(UsageError, match="insecure is for a learner on this machine"):
        JoinOptions(learner, insecure=True)
    assert JoinOptions("tcp://127.0.0.1:5555", insecure=True).find() == ("tcp://127.0.0.1:5555", None)


def test_the_secret_is_not_in_what_a_traceback_shows() -> None:
    assert str(LINE)[10:40] not in repr(JoinOptions(join=str(LINE)))
