"""Open the learner's port: keys, ZAP handler, self-test, and the join line."""

import errno
import ipaddress
import logging
import os
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.credentials import DIRECTORY as ACCESS_DIRECTORY
from dppo.learner.transport.credentials import JOIN_FILE, Access
from dppo.learner.transport.run_keys import RunKeys
from dppo.learner.transport.token_list import TokenBook
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import public_key
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.security.self_test import check_that_unknown_keys_are_refused
from dppo.protocol.transport.endpoints import check_endpoint, host_and_port, leaves_this_machine
from dppo.protocol.transport.router import Router

log = logging.getLogger("dppo.learner")

MOST_ADDRESSES = 8  # in one line


@dataclass(frozen=True)
class Listening:
    """Address of the learner, and who may use it."""

    bind: str  # tcp://address:port or ipc://path
    advertise: str = ""  # host or host:port that join lines name; "": found out
    join_file: str = ""  # where else to write the join line
    insecure: bool = False  # no keys; loopback only
    key_file: str = ""  # keys of the run, made beforehand; "": made at its first start
    shows_secrets: bool = False  # what is logged goes to a terminal, not into a file or to another program

    def __post_init__(self) -> None:
        check_endpoint(self.bind)
        if self.insecure and leaves_this_machine(self.bind):
            raise UsageError(
                f"{self.bind} can be reached from other hosts, and --insecure would let every client join and listen: "
                "leave it out, or bind to 127.0.0.1"
            )
        if self.key_file and (self.insecure or self.bind.startswith("ipc://")):
            raise UsageError("key_file is for a learner that listens on tcp with keys: leave it out")

    def keys(self) -> RunKeys | None:
        """Read the key file; None without one. Raises UsageError."""
        return RunKeys.read(Path(self.key_file)) if self.key_file else None


def check_address(listening: Listening) -> None:
    """Raise what `open_listener` would raise for an address that is taken or not of this machine, without listening."""
    if listening.bind.startswith("ipc://"):
        return
    listening.keys()
    host, port = host_and_port(listening.bind)
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:  # a name or an interface, which libzmq looks up in its own way
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port or 0))
    except OSError as error:
        raise UsageError(
            f"cannot listen on {listening.bind}: {error.strerror or error}. Is another learner running there?"
        ) from None
    folder = Path(listening.join_file).parent
    if listening.join_file and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        why = os.strerror(errno.EACCES if folder.is_dir() else errno.ENOENT)
        raise UsageError(f"write_join_file={listening.join_file} cannot be written: {why}")


def tokens_of(listening: Listening, run_directory: Path) -> bytes:
    """Return the list of tokens of a learner that is about to listen, b"" where it needs none. Raises UsageError."""
    if listening.bind.startswith("ipc://") or listening.insecure:
        return b""
    return Access.open(run_directory, time.time(), listening.keys()).book().to_json()


def reached_at(listening: Listening, router: Router, run_directory: Path) -> tuple[str, bytes]:
    """Return the endpoint by which actors reach a learner that listens, and its public key; b"": they need none."""
    if listening.bind.startswith("ipc://") or listening.insecure:
        return router.endpoint, b""
    access = Access(run_directory)
    return f"tcp://{access.address()}", public_key(access.secret_key())


def open_listener(
    listening: Listening, max_blob_bytes: int, run_directory: Path, shared: bytes = b""
) -> tuple[Router, TokenAuthenticator | None]:
    """Listen. Over tcp only to those with a token, after a test that unknown keys are refused.

    shared: tokens of another learner of the run, as `tokens_of` returns them.
    Raises UsageError where the address or the files of the keys cannot be used, DppoError where the test fails.
    """
    if listening.bind.startswith("ipc://") or listening.insecure:
        router = Router(listening.bind, max_blob_bytes)
        log.info("listening on %s", router.endpoint)
        if listening.insecure:
            log.warning("--insecure: every process of this machine may join, and nothing is encrypted")
        return router, None
    keys = listening.keys()
    access = Access.open(run_directory, time.time(), keys)
    advertise = listening.advertise or (keys.address if keys is not None else "")
    book = TokenBook.from_json(shared) if shared else TokenBook()
    authenticator = TokenAuthenticator(access, wall=time.time, monotonic=time.monotonic, shared=book)
    router = Router(listening.bind, max_blob_bytes, authenticator.security())
    try:
        check_that_unknown_keys_are_refused(router, public_key(access.secret_key()))
        line = access.announce(advertised(advertise, router.address), time.time())
        log.info("listening on %s", router.endpoint)
        _tell(line, listening, run_directory)
        if line is not None and not advertise:
            _tell_other_addresses(line, router.address)
    except BaseException:
        router.close()
        raise
    return router, authenticator


def reopen_listener(
    listening: Listening, max_blob_bytes: int, run_directory: Path
) -> tuple[Router, TokenAuthenticator | None]:
    """Open the port of a run that has listened before. Makes and changes nothing in its directory; prints nothing.

    The join file is written where it is gone.
    """
    if listening.bind.startswith("ipc://") or listening.insecure:
        return Router(listening.bind, max_blob_bytes), None
    access = Access(run_directory)
    authenticator = TokenAuthenticator(access, wall=time.time, monotonic=time.monotonic)
    router = Router(listening.bind, max_blob_bytes, authenticator.security())
    try:
        check_that_unknown_keys_are_refused(router, public_key(access.secret_key()))
        line = access.first_line()
        if line is not None and listening.join_file and not Path(listening.join_file).exists():
            write_join_file(Path(listening.join_file), line)
    except BaseException:
        router.close()
        raise
    return router, authenticator


def _tell(line: JoinLine | None, listening: Listening, run_directory: Path) -> None:
    if line is None:
        log.info("the first token is no longer valid; for another line: dppo token add %s NAME", run_directory)
    elif listening.join_file:
        write_join_file(Path(listening.join_file), line)
        log.info("actors join with: dppo actor --join-file %s", listening.join_file)
    elif not listening.shows_secrets:
        log.info(
            "actors join with: dppo actor --join-file %s (a secret, so it is not in this log; elsewhere with the line "
            "that is in it)",
            run_directory / ACCESS_DIRECTORY / JOIN_FILE,
        )
    else:
        log.info(
            "actors join with this line, a secret (more of them: dppo token add %s NAME):",
            run_directory,
        )
        log.info("dppo actor --join %s", line)


def _tell_other_addresses(line: JoinLine, bound: str) -> None:
    """Log the addresses of other networks by which actors may reach this host, where it listens on all of them."""
    host, port = host_and_port(bound)
    if not ipaddress.ip_address(host).is_unspecified:
        return
    named = host_and_port(line.endpoint)[0].strip("[]")
    others = [
        (name, address) for name, address in _own_addresses(ipaddress.ip_address(host).version) if address != named
    ]
    if others:
        log.info(
            "it names %s; this host also has %s: where actors reach it by one of those, --advertise ADDRESS here, or "
            "--learner tcp://ADDRESS:%d beside their line",
            named,
            ", ".join(f"{address} ({name})" for name, address in others[:MOST_ADDRESSES]),
            port,
        )


def _own_addresses(version: int) -> list[tuple[str, str]]:
    """Return interfaces that are up and their addresses: no loopback, none that ends at the next router."""
    import psutil

    up = {name for name, status in psutil.net_if_stats().items() if status.isup}
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    found = [
        (name, one.address)
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if name in up and one.family == families[version]
    ]
    parsed = [(name, address, ipaddress.ip_address(address.partition("%")[0])) for name, address in found]
    return [(name, address) for name, address, ip in parsed if not (ip.is_loopback or ip.is_link_local)]


def write_join_file(path: Path, line: JoinLine) -> None:
    """Write the join line for the owner only; for the group too in a setgid directory. Raises UsageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shared = path.parent.stat().st_mode & stat.S_ISGID
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as file:
            os.fchmod(descriptor, 0o640 if shared else 0o600)
            file.write(f"{line}\n")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"write_join_file={path} cannot be written: {error.strerror or error}") from None


def advertised(advertise: str, bound: str) -> str:
    """host:port for the join line; `bound` is the endpoint in numbers."""
    host, port = host_and_port(bound)
    if advertise:
        parts = host_and_port(f"tcp://{advertise}")
        host, port = parts[0], parts[1] or port
    elif ipaddress.ip_address(host).is_unspecified:
        host = _this_host(ipaddress.ip_address(host).version)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _this_host(version: int) -> str:
    """An address of this machine that others may reach; nothing is sent to find it."""
    outside = [(socket.AF_INET, "192.0.2.1")]  # reserved for documentation
    if version == 6:
        outside.append((socket.AF_INET6, "2001:db8::1"))
    for family, address in outside:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))
            except OSError:  # no such network here
                continue
            host: str = probe.getsockname()[0]
            return host
    return socket.gethostname()
