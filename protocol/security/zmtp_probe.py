"""Asks a port what it is: the first 64 bytes that every ZeroMQ peer sends (rfc.zeromq.org/spec:23). Needs no key."""

import socket

from dppo.protocol.errors import UsageError
from dppo.protocol.transport.endpoints import host_and_port

# signature and version 3; with more of it the other side may hang up before it has sent its own mechanism
_OPENING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0"
_GREETING_BYTES = 64
_MECHANISM = slice(12, 32)


def mechanism_at(endpoint: str, timeout_seconds: float) -> str:
    """Return the security mechanism there, for example "CURVE"; "" where no ZeroMQ answers in time."""
    try:
        with socket.create_connection(host_and_port(endpoint), timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(_OPENING)
            greeting = b""
            while len(greeting) < _GREETING_BYTES:
                part = connection.recv(_GREETING_BYTES - len(greeting))
                if not part:
                    return ""
                greeting += part
    except (OSError, UsageError):
        return ""
    if greeting[0] != 0xFF or greeting[9] != 0x7F:
        return ""
    return greeting[_MECHANISM].rstrip(b"\0").decode("ascii", errors="replace")
