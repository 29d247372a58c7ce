"""Reports of a learner to the local run that started it: Status records and log lines as datagrams.

Datagrams, because a full pipe would block the learner's network thread or tear a line; here a report that is not read
is dropped whole.
"""

import logging
import os
import socket
from contextlib import suppress

import msgspec

from dppo.learner.telemetry.status import Status

STATUS_VARIABLE = "DPPO_STATUS_FD"
MAX_REPORT_BYTES = 65536


class NoteRecord(msgspec.Struct, frozen=True, tag="note"):
    """A line for the user."""

    text: str


class StatusRecord(msgspec.Struct, frozen=True, tag="status"):
    """The state of the run."""

    status: Status


Report = NoteRecord | StatusRecord

_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


class Reports(logging.Handler):
    """The learner's end: a place to show Status records, and a log handler."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)

    def show(self, status: Status) -> None:
        """Report the state of the run."""
        self._send(StatusRecord(status))

    def emit(self, record: logging.LogRecord) -> None:
        """Report a log line."""
        self._send(NoteRecord(record.getMessage()))

    def _send(self, report: Report) -> None:
        # OSError: it is not read, or the parent is gone; the lifeline ends us in that case
        with suppress(OSError):
            self._socket.send(msgspec.json.encode(report))


def reports_from_environment() -> Reports | None:
    """The way to report, if a local run started this process."""
    fd = os.environ.pop(STATUS_VARIABLE, "")
    return Reports(int(fd)) if fd else None


def decode(report: bytes) -> Report:
    """Read a report at the local run's end."""
    return _decoder.decode(report)
