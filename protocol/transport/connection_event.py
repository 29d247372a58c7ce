"""Events of a connecting socket, in our words. Knows no zmq."""

from enum import Enum


class ConnectionEvent(Enum):
    """One thing that happened to a connecting socket."""

    NAME_NOT_RESOLVED = "the name has no address"
    NO_LISTENER = "no process listens there, or nothing comes back"
    TCP_CONNECTED = "TCP has connected"
    HANDSHAKE_SUCCEEDED = "the ZMTP handshake has succeeded: messages flow"
    AUTHENTICATION_FAILED = "the learner does not accept the key"
    AUTHENTICATION_UNAVAILABLE = "the learner could not check the key"
    MECHANISM_MISMATCH = "one side wants CURVE and the other does not"
    DISCONNECTED_IN_HANDSHAKE = "the other side closed the connection during the handshake"
    HANDSHAKE_TIMED_OUT = "the other side did not answer the handshake in time"
    NOT_ZEROMQ = "what came back is not ZeroMQ"
    DISCONNECTED = "the connection is gone"
