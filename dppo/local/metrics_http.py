"""The HTTP server of a run's metrics.

One thread answers one request at a time, and a client gets TIMEOUT_SECONDS: neither many nor slow ones hold up a run.
"""

import socket
import socketserver
from http.server import BaseHTTPRequestHandler

from dppo.learner.telemetry.status import Status
from dppo.protocol.errors import UsageError
from dppo.protocol.transport.endpoints import host_and_port

TIMEOUT_SECONDS = 2.0
PATHS = ("/", "/metrics")


class MetricsServer(socketserver.TCPServer):
    """The newest status of a run, and what clients get of it."""

    allow_reuse_address = True  # a run that is started again finds connections of the one before
    _status: Status | None = None

    def __init__(self, family: socket.AddressFamily, host: str, port: int) -> None:
        self.address_family = family
        self._rendered: dict[str, tuple[Status | None, bytes, str]] = {}  # by Accept
        super().__init__((host, port), _Handler)

    def take(self, status: Status) -> None:
        """Replace the status."""
        self._status = status

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type; rendered once a status, for the newest kind of client."""
        from dppo.learner.telemetry.prometheus import rendered

        status, known = self._status, self._rendered.get(accept)
        if known is None or known[0] is not status:
            known = (status, *rendered(status, accept))
            self._rendered = {accept: known}
        return known[1:]

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep silent on a client that has gone or is too slow: the next scrape is not far."""


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_SECONDS
    server: MetricsServer

    def do_GET(self) -> None:
        if self.path.partition("?")[0] not in PATHS:
            self.send_error(404)
            return
        content, content_type = self.server.text(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


def bound(address: str) -> MetricsServer:
    """Return a server that listens at host:port. Raises UsageError where it cannot."""
    host, port = host_and_port(f"tcp://{address}")
    try:
        return MetricsServer(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)
    except OSError as error:
        raise UsageError(
            f"run.metrics_address={address} cannot be listened on: {error.strerror or error}; choose another port, or "
            "leave it out"
        ) from None
