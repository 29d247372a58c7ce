"""Addresses of sockets as users write them: tcp://host:port, ipc://path. Knows names and numbers; knows no zmq."""

import contextlib
import ipaddress
import os
import socket
import sys
from urllib.parse import urlsplit

from dppo.protocol.errors import UsageError

MAX_IPC_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # what the kernel takes


def check_endpoint(endpoint: str) -> str:
    """Return the endpoint if it can be used. Raises UsageError that names what is expected."""
    scheme, _, path = endpoint.partition("://")
    if scheme == "ipc" and path:
        if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
            raise UsageError(
                f"{endpoint}: a socket's path may have {MAX_IPC_PATH_BYTES} bytes: use a shorter directory"
            )
        return endpoint
    if scheme == "tcp":
        with contextlib.suppress(ValueError):  # no port in it, one out of range, or brackets that do not match
            parts = urlsplit(endpoint)
            if parts.hostname and parts.port and not (parts.path or parts.query or parts.fragment or parts.username):
                return endpoint
    raise UsageError(f"{endpoint!r} is not an endpoint: write tcp://host:port or ipc:///path/of/a/socket")


def leaves_this_machine(endpoint: str) -> bool:
    """Whether other hosts can reach a socket bound there."""
    parts = urlsplit(endpoint)
    if parts.scheme != "tcp" or parts.hostname == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


def wants_ipv6(endpoint: str) -> int:
    """Return 1 for IPv6, else 0. Names: 1 only without another address, since libzmq tries just one of them."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme != "tcp" or host == "*":
        return int(host == "*")  # both kinds
    with contextlib.suppress(ValueError):
        return int(ipaddress.ip_address(host).version == 6)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # an interface's name, or one that is not known yet
        return 0
    return int(all(family == socket.AF_INET6 for family, *_ in found))


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Split a tcp endpoint; port 0 where it names none. Raises UsageError."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(endpoint)
        if parts.scheme == "tcp" and parts.hostname and not (parts.path or parts.query or parts.username):
            return parts.hostname, parts.port or 0
    raise UsageError(f"{endpoint.removeprefix('tcp://')!r} is not host:port")
