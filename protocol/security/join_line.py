"""The one line that lets an actor join: whom to trust, how to prove that it may come, and where. Knows no sockets.

    dppo1.<base64url(learner's public key, token id, secret, checksum)>@host:port

CURVE needs the server's public key beforehand, so an actor with the line cannot be led to another learner. The checksum
is against typing errors; it protects nothing.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

from dppo.protocol.errors import UsageError

PREFIX = "dppo1."
KEY_BYTES = 32
ID_BYTES = 4
_CHECKSUM_BYTES = 4
_BODY_BYTES = 2 * KEY_BYTES + ID_BYTES
_WHERE_FROM = "paste the line that `dppo learner` or `dppo token` printed"


@dataclass(frozen=True)
class JoinLine:
    """Contents of the line."""

    server_key: bytes  # the learner's public key, 32 bytes
    token_id: bytes  # 4 bytes; names the token in lists and logs
    secret: bytes = field(repr=False)  # the token's secret key, 32 bytes
    address: str  # host:port, IPv6 in brackets

    def __str__(self) -> str:
        body = self.server_key + self.token_id + self.secret
        return f"{PREFIX}{base64.urlsafe_b64encode(body + _checksum(body)).decode()}@{self.address}"

    @property
    def endpoint(self) -> str:
        """The address as ZeroMQ wants it."""
        return f"tcp://{self.address}"

    @classmethod
    def parse(cls, text: str) -> "JoinLine":
        """Take the line apart; the whole printed command will do too.

        Raises UsageError saying in one line what is wrong, without repeating the secret.
        """
        words = [word for word in text.split() if word.startswith("dppo") and "." in word]
        if len(words) != 1:
            found = "nothing like it" if not words else f"{len(words)} of them"
            raise UsageError(f"a join line begins with {PREFIX} and there is {found}: {_WHERE_FROM}")
        token, at, address = words[0].partition("@")
        if not token.startswith(PREFIX):
            version = token.partition(".")[0]
            raise UsageError(
                f"the join line is of the kind {version}, not {PREFIX[:-1]}: install the learner's release"
            )
        if not at or not is_address(address):
            raise UsageError(f"the join line does not end in @host:port: {_WHERE_FROM}, whole")
        raw = decoded(token.removeprefix(PREFIX))
        body, checksum = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
        if len(body) != _BODY_BYTES or checksum != _checksum(body):
            raise UsageError(f"the join line has a typing error or is cut off (its checksum is wrong): {_WHERE_FROM}")
        return cls(body[:KEY_BYTES], body[KEY_BYTES : KEY_BYTES + ID_BYTES], body[KEY_BYTES + ID_BYTES :], address)


def decoded(text: str) -> bytes:
    """Return the bytes, b"" where it is no base64url, or not as it was written (the decoder takes + for - as well)."""
    try:
        raw = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.urlsafe_b64encode(raw).decode() == text else b""


def _checksum(body: bytes) -> bytes:
    import hashlib  # 3 ms, which `dppo --help` does without

    return hashlib.blake2b(PREFIX.encode() + body, digest_size=_CHECKSUM_BYTES).digest()


def is_address(text: str) -> bool:
    """Whether it is host:port as a line may end in it."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+):(\d{1,5})", text, re.ASCII)
    return match is not None and 0 < int(match[2]) < 65536
