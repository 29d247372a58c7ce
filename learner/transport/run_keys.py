"""Keys of a run that were made before its first start: the learner's, its first token, the address that lines name.

    dppokeys1.<base64url(learner's secret key, token's secret key, checksum)>@host:port

One line in a file, for the learner alone; the join line of the token follows from it. The checksum is against files
that are cut off; it protects nothing.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import fingerprint, new_secret_key, public_key
from dppo.protocol.security.join_line import KEY_BYTES, JoinLine, decoded, is_address
from dppo.protocol.security.join_line import PREFIX as JOIN_PREFIX
from dppo.protocol.security.secret_file import read_secret

PREFIX = "dppokeys1."
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class RunKeys:
    """Contents of the file."""

    server_secret: bytes = field(repr=False)  # the learner's secret key, 32 bytes
    token_secret: bytes = field(repr=False)  # the first token's secret key, 32 bytes
    address: str  # host:port that the join line names

    def __str__(self) -> str:
        body = self.server_secret + self.token_secret
        return f"{PREFIX}{base64.urlsafe_b64encode(body + _checksum(body)).decode()}@{self.address}"

    @classmethod
    def new(cls, address: str) -> "RunKeys":
        """Make keys."""
        return cls(new_secret_key(), new_secret_key(), address)

    @classmethod
    def read(cls, path: Path) -> "RunKeys":
        """Read the file. Raises UsageError, in one line that repeats no secret."""
        text = read_secret("key_file", path)
        if text is None:
            raise UsageError(f"key_file={path} is not there: `dppo token new` makes one")
        token, _, address = text.strip().partition("@")
        if not token.startswith(PREFIX):
            what = "a join line, which is for actors" if JOIN_PREFIX in text else "no keys of a learner"
            raise UsageError(f"key_file={path} holds {what}: name the file learner.key that `dppo token new` has made")
        raw = decoded(token.removeprefix(PREFIX))
        body, checksum = raw[: 2 * KEY_BYTES], raw[2 * KEY_BYTES :]
        if len(body) < 2 * KEY_BYTES or checksum != _checksum(body) or not is_address(address):
            raise UsageError(f"key_file={path} is damaged or cut off: make another one with `dppo token new`")
        return cls(body[:KEY_BYTES], body[KEY_BYTES:], address)

    def join_line(self) -> JoinLine:
        """Return the line of the first token."""
        name = bytes.fromhex(fingerprint(public_key(self.token_secret)))
        return JoinLine(public_key(self.server_secret), name, self.token_secret, self.address)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(PREFIX.encode() + body, digest_size=_CHECKSUM_BYTES).digest()
