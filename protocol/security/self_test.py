"""Self-test at the start: a client with a random CURVE key must fail authentication."""

import zmq

from dppo.protocol.errors import DppoError
from dppo.protocol.security.curve import new_secret_key, public_key
from dppo.protocol.transport.connection_event import ConnectionEvent
from dppo.protocol.transport.monitor import Monitor
from dppo.protocol.transport.router import Router

TIMEOUT_MILLISECONDS = 5000  # it takes 2; this is for a machine that is very busy


def check_that_unknown_keys_are_refused(router: Router, server_key: bytes) -> None:
    """Connect with a random key and be refused. Raises DppoError where it is not so. Costs a few milliseconds.

    server_key: the public half of the router's key, 32 bytes.
    """
    secret_key = new_secret_key()
    if router.guard is not None:
        router.guard.self_test_key = public_key(secret_key)
    seen = _connection_event(router.address, server_key, secret_key)
    if seen is not ConnectionEvent.AUTHENTICATION_FAILED:
        raise DppoError(
            f"the learner would not be safe: a client with a random key was not refused at {router.address} "
            f"({seen.value if seen else 'no answer'}), so it does not start; see docs/security.md"
        )


def _connection_event(address: str, server_key: bytes, secret_key: bytes) -> ConnectionEvent | None:
    """Return what the connection of a client with that key comes to."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int("[" in address))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public_key(secret_key))
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret_key)
        socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)
        monitor = Monitor(socket)
        try:
            socket.connect(address.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:"))
            while monitor.wait(TIMEOUT_MILLISECONDS):
                for seen in monitor.events():
                    if seen not in (ConnectionEvent.TCP_CONNECTED, ConnectionEvent.DISCONNECTED):
                        return seen
            return None
        finally:
            monitor.close()
