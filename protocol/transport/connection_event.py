"""What may happen to a connecting socket, in our words. Knows no zmq."""

from enum import Enum


class Seen(Enum):
    """One thing that happened to a connecting socket."""

    NO_SUCH_HOST = "the name has no address"
    NOBODY_THERE = "nobody listens there, or nothing comes back"
    CONNECTED = "the network's part is done"
    WELCOME = "and so is ZeroMQ's: messages flow"
    NOT_AUTHORISED = "the learner does not accept the key"
    CANNOT_TELL = "the learner could not check the key"
    OTHER_MECHANISM = "one side wants CURVE and the other does not"
    HUNG_UP = "the other side closed the connection during the handshake"
    NO_ANSWER = "the other side did not answer the handshake in time"
    NOT_OURS = "what came back is not ZeroMQ"
    LOST = "the connection is gone"
