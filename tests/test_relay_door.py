"""Addresses that a relay listens on: not where another program does, and not where others could."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from dppo.learner.transport.listener import Listening
from dppo.protocol.errors import UsageError
from dppo.relay.config import RelayConfig
from dppo.relay.door import LEAST_BLOB_BYTES, Door, own_endpoint


def test_a_socket_that_another_program_listens_on_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(UsageError, match="another program, a learner perhaps, listens on ipc://"):
            Door(Listening(f"ipc://{path}"), tmp_path)
        assert path.is_socket()
    door = Door(Listening(f"ipc://{path}"), tmp_path)  # what a killed one has left is no obstacle
    with pytest.raises(UsageError, match="another relay listens on"):
        Door(Listening(f"ipc://{path}"), tmp_path)
    door.close()


def test_larger_rollouts_than_usual_need_another_socket_at_the_same_address(tmp_path: Path) -> None:
    door = Door(Listening(f"ipc://{tmp_path}/s"), tmp_path)
    try:
        first = door.router
        assert not door.make_room(LEAST_BLOB_BYTES)
        assert door.router is first
        assert door.make_room(LEAST_BLOB_BYTES + 1)
        assert door.router.endpoint == first.endpoint
        assert not door.make_room(LEAST_BLOB_BYTES + 1)
    finally:
        door.close()


def test_the_usual_socket_is_in_a_directory_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory = tmp_path / f"dppo-{os.getuid()}"
    assert own_endpoint() == f"ipc://{directory}/relay"
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o755)
    with pytest.raises(UsageError, match="is open to others"):
        own_endpoint()
    directory.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is open to others"):
        own_endpoint()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"bind": "foo"}, "no endpoint"),
        ({"bind": "ipc:///a", "learner": "ipc:///a"}, "an address|one of its own"),
        ({"advertise": "host"}, "is for a relay on tcp"),
        ({"bind": "ipc:///a", "write_join_file": "x"}, "is for a relay on tcp"),
        ({"name": "a b"}, "cannot be used"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        RelayConfig(**settings)
