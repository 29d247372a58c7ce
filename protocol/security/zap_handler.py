"""ZAP handler of the learner's port: answers libzmq whether to accept a key (rfc.zeromq.org/spec:27).

pyzmq's own authenticator ends for good at the first exception, and every client that joins later hangs. This one
refuses and goes on; and while it is not there no client is accepted, because the socket sets ZAP_ENFORCE_DOMAIN beside
ZAP_DOMAIN (either alone accepts every client).
"""

import contextlib
import logging
import threading

import zmq

from dppo.protocol.security.curve import Admitted, Denied, ServerSecurity
from dppo.protocol.security.join_line import KEY_BYTES

log = logging.getLogger("dppo.security")

ENDPOINT = "inproc://zeromq.zap.01"  # where libzmq looks for it, by the specification
DOMAIN = b"dppo"
_OK, _REFUSED, _BROKEN = b"200", b"400", b"500"  # 400: the peer gives up; 500: ours is the fault, it may try again


class ZapHandler:
    """Serves one context from a thread of its own, until the context is terminated."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", security: ServerSecurity) -> None:
        self.self_test_key = b""  # the key of our own test, which is not logged when it is refused
        self.restarts = 0
        self._context = context
        self._security = security
        self._closing = False
        self._start()

    def tend(self) -> None:
        """Start the thread again if it has died. No client was accepted meanwhile."""
        if not self._thread.is_alive() and not self._closing:
            self.restarts += 1
            log.error("the guard of the port had died, and no actor could join; it is started again")
            self._start()

    def closing(self) -> None:
        """The context is about to be terminated, which ends the thread."""
        self._closing = True

    def join(self) -> None:
        """Wait for the thread, after the context has been terminated."""
        self._thread.join()

    def _start(self) -> None:
        socket = self._context.socket(zmq.ROUTER)  # not REP: it cannot get out of step
        socket.setsockopt(zmq.LINGER, 0)
        try:
            socket.bind(ENDPOINT)  # here, so that it is there before a client can connect
        except BaseException:
            socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, args=(socket,), name="guard", daemon=True)
        self._thread.start()

    def _serve(self, socket: "zmq.Socket[bytes]") -> None:
        try:
            while True:
                frames = socket.recv_multipart()
                envelope, request_id, status, text, user = self._answer(frames)
                socket.send_multipart([*envelope, b"1.0", request_id, status, text, user, b""])
        except zmq.ContextTerminated:
            pass  # the end of the Router
        finally:
            socket.close()

    def _answer(self, frames: list[bytes]) -> tuple[list[bytes], bytes, bytes, bytes, bytes]:
        envelope, request_id = frames[:2], frames[3]
        try:
            status, text, user = self._decide(frames[2:])
        except Exception as error:  # noqa: BLE001 -- whatever it is, no client is accepted by it and the thread stays
            status, text, user = _BROKEN, "the learner could not check the key", ""
            with contextlib.suppress(Exception):
                self._security.failed(error)
        return envelope, request_id, status, text.encode(), user.encode()

    def _decide(self, request: list[bytes]) -> tuple[bytes, str, str]:
        version, _, domain, address, _, mechanism, *credentials = request
        if (version, domain, mechanism) != (b"1.0", DOMAIN, b"CURVE") or [len(c) for c in credentials] != [KEY_BYTES]:
            self._security.denied(address.decode(errors="replace"), b"", f"not CURVE but {mechanism!r}")
            return _REFUSED, "CURVE only", ""
        (key,) = credentials
        match self._security.admit(key):
            case Admitted(user):
                return _OK, "", user
            case Denied(reason):
                if key != self.self_test_key:
                    self._security.denied(address.decode(errors="replace"), key, reason)
                return _REFUSED, reason, ""
