"""Whether a learner can be reached from here, and would let us in: the steps of a connection, one by one."""

import socket
from collections.abc import Callable

from dppo.actor.join_options import JoinOptions
from dppo.ops.doctor.finding import Finding, from_error
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.zmtp_probe import mechanism_at
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.dealer import Dealer
from dppo.protocol.transport.endpoints import host_and_port

TIMEOUT_SECONDS = 5.0

_DO = {
    ConnectionEvent.AUTHENTICATION_FAILED: (
        "The token is revoked, expired or of another run: ask for a new line (dppo token add)"
    ),
    ConnectionEvent.AUTHENTICATION_UNAVAILABLE: (
        "The learner cannot read its tokens: see its log, and dppo doctor RUN there"
    ),
    ConnectionEvent.MECHANISM_MISMATCH: "Use the join line of this learner (--join); --insecure only where it said so",
    ConnectionEvent.DISCONNECTED_IN_HANDSHAKE: (
        "It is another learner than that of the token, or not a learner: ask for a new line"
    ),
    ConnectionEvent.HANDSHAKE_TIMED_OUT: "The learner is stopped or very busy: look at its host",
    ConnectionEvent.NOT_ZEROMQ: "Another program has that port: check the address",
}


def reach(join_options: JoinOptions, clock: Callable[[], float]) -> list[Finding]:
    """Name, port, protocol, key."""
    try:
        found = join_options.find()
    except UsageError as error:
        return [from_error("join line", error)]
    if found is None:
        return [
            Finding("error", "join line", f"{join_options.join_file} does not exist", "Start the learner, or copy it")
        ]
    endpoint, security = found
    if endpoint.startswith("ipc://"):
        return [_handshake(endpoint, None, clock)]
    findings = [_connect(endpoint)]
    if findings[0].level == "ok":
        findings.append(_mechanism(endpoint, has_token=security is not None))
    if findings[-1].level == "ok":
        findings.append(_handshake(endpoint, security, clock))
    return findings


def _connect(endpoint: str) -> Finding:
    host, port = host_and_port(endpoint)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        means = f"{host} has no address here ({error.strerror})"
        return Finding("error", "name", means, "Check the name, or use the learner's IP address (--advertise)")
    address = addresses[0][4][0]
    try:
        socket.create_connection((host, port), TIMEOUT_SECONDS).close()
    except ConnectionRefusedError:
        means = f"no process listens at {address} port {port}"
        return Finding("error", "connection", means, "Start the learner there, with --bind tcp://0.0.0.0:PORT")
    except OSError as error:
        means = f"nothing comes back from {address} port {port} ({error.strerror or error})"
        return Finding("error", "connection", means, "Open the port in the firewall between here and there")
    return Finding("ok", "connection", f"{address} port {port} accepts connections")


def _mechanism(endpoint: str, *, has_token: bool) -> Finding:
    mechanism = mechanism_at(endpoint, TIMEOUT_SECONDS)
    if not mechanism:
        return Finding("error", "protocol", "what answers there is not ZeroMQ", _DO[ConnectionEvent.NOT_ZEROMQ])
    if (mechanism == "CURVE") != has_token:
        means = "the learner there is encrypted" if mechanism == "CURVE" else "what answers there is not encrypted"
        return Finding("error", "protocol", means, _DO[ConnectionEvent.MECHANISM_MISMATCH])
    return Finding("ok", "protocol", f"ZeroMQ, {'encrypted (CURVE)' if mechanism == 'CURVE' else 'not encrypted'}")


def _handshake(endpoint: str, security: ClientSecurity | None, clock: Callable[[], float]) -> Finding:
    """Connect as an actor would, and leave before saying a word."""
    dealer = Dealer(endpoint, security)
    seen = ConnectionEvent.NO_LISTENER
    until = clock() + TIMEOUT_SECONDS
    try:
        while clock() < until:
            for seen in dealer.events():
                if seen is ConnectionEvent.HANDSHAKE_SUCCEEDED:
                    return Finding("ok", "handshake", f"the learner at {endpoint} lets us in")
                if seen in (
                    ConnectionEvent.AUTHENTICATION_FAILED,
                    ConnectionEvent.MECHANISM_MISMATCH,
                    ConnectionEvent.AUTHENTICATION_UNAVAILABLE,
                    ConnectionEvent.DISCONNECTED_IN_HANDSHAKE,
                ):
                    return Finding("error", "handshake", f"the learner does not let us in: {seen.value}", _DO[seen])
            dealer.wait(0.02)
    finally:
        dealer.close()
    return Finding("error", "handshake", f"no success within {TIMEOUT_SECONDS:g} s: {seen.value}", _DO.get(seen, ""))
