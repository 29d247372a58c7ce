"""Files between a supervisor and the commands: its lock, its notes, the learner's settings. Knows no processes."""

from pathlib import Path

import msgspec

from dppo.deploy.engine import Process
from dppo.deploy.records import write_private

LOCK = "lock"  # held by the supervisor while it lives
STATUS = "status.json"
SETTINGS = "run.yaml"
HOSTS = "hosts.json"  # of the engine ssh
STARTS = "ray-starts.json"  # of the engine ray: how often each has been started


class Status(msgspec.Struct, frozen=True):
    """Notes of a supervisor."""

    pid: int = 0
    listens: bool = False  # the learner has, so actors can join
    processes: list[Process] = []
    over: str = ""  # why it ends; "" while it goes on
    code: int = 0  # exit code that it ends with


def read_status(folder: Path) -> Status:
    """Return the notes; empty ones before there are any."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError):
        return Status()


def write_status(folder: Path, status: Status) -> None:
    """Replace the notes."""
    write_private(folder / STATUS, msgspec.json.encode(status))
