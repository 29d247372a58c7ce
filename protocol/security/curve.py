"""CURVE keys and who may use them: key pairs as plain bytes, and the records that sockets are secured with.

Knows libzmq's version and its key functions; knows no sockets, no files, no names of tokens.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

from dppo.protocol.errors import UsageError

OLDEST_LIBZMQ = (4, 3, 5)  # before 4.3.3 clients without a key could crash a CURVE server


@dataclass(frozen=True)
class Admitted:
    """A key that is accepted."""

    user: str  # what its messages carry from now on; see Router.user


@dataclass(frozen=True)
class Denied:
    """A key that may not."""

    reason: str


Verdict = Admitted | Denied


@dataclass(frozen=True)
class ServerSecurity:
    """Key and callbacks by which a Router admits valid keys only. The functions are called in its own thread.

    An exception in any of them refuses the connection.
    """

    secret_key: bytes = field(repr=False)  # 32 bytes
    admit: Callable[[bytes], Verdict]  # by public key, 32 bytes
    denied: Callable[[str, bytes, str], None]  # log: address, public key, reason
    failed: Callable[[BaseException], None]  # log: one of these functions raised that


@dataclass(frozen=True)
class ClientSecurity:
    """Keys by which a Dealer trusts one learner and is admitted by it."""

    server_key: bytes  # the learner's public key, 32 bytes
    secret_key: bytes = field(repr=False)  # 32 bytes


def check_library() -> None:
    """Raise UsageError where libzmq is too old or lacks CURVE."""
    version = zmq.zmq_version_info()
    if version < OLDEST_LIBZMQ:
        needed = ".".join(map(str, OLDEST_LIBZMQ))
        raise UsageError(
            f"libzmq {zmq.zmq_version()} has known holes and {needed} is needed: pip install --upgrade pyzmq"
        )
    if not zmq.has("curve"):
        raise UsageError(
            "this libzmq was built without CURVE, so nothing would be encrypted: pip install --force-reinstall pyzmq"
        )


def libzmq_version() -> str:
    """Return the version of the library below pyzmq."""
    return str(zmq.zmq_version())


def new_secret_key() -> bytes:
    """A random secret key, 32 bytes."""
    return _plain(zmq.curve_keypair()[1])


def public_key(secret_key: bytes) -> bytes:
    """The public half of a secret key, both 32 bytes."""
    return _plain(zmq.curve_public(z85.encode(secret_key)))


def fingerprint(key: bytes) -> str:
    """A public key in eight letters, for lists and logs."""
    return hashlib.blake2b(key, digest_size=4).hexdigest()


def _plain(key: bytes) -> bytes:
    return bytes(z85.decode(key))
