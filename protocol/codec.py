"""Messages to bytes and back. Knows msgpack and its limits; knows no sockets and no roles.

Parsing is in two steps on purpose: msgpack under hard limits (so that a hostile header cannot grow into a large
object), then validation into a typed record. Anything wrong is a ProtocolError, raised here and nowhere else.
"""

from typing import Any

import msgpack
import msgspec

from dppo.protocol.clean_records import cleaned
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import WITH_BLOB, FromActor, FromLearner, Message
from dppo.protocol.specs import check_spec
from dppo.protocol.texts import printable

MAX_HEADER_BYTES = 4096  # an envelope included
ENVELOPE = b"\xc4\x08"  # MessagePack's eight bytes, an incarnation; a message begins with an array
ENVELOPE_BYTES = 10

_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Frame 0 of a message."""
    header = _encoder.encode(message)
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"{type(message).__name__} takes {len(header)} bytes; a header may take {MAX_HEADER_BYTES}")
    return header


def enveloped(header: bytes, incarnation: bytes) -> bytes:
    """Frame 0 of a message of or to one of several incarnations on one connection; b"": the only one, no envelope."""
    return ENVELOPE + incarnation + header if incarnation else header


def opened(frame: bytes) -> tuple[bytes, bytes]:
    """Return the incarnation on the envelope, b"" where there is none, and the message."""
    if frame.startswith(ENVELOPE) and len(frame) >= ENVELOPE_BYTES:
        return frame[len(ENVELOPE) : ENVELOPE_BYTES], frame[ENVELOPE_BYTES:]
    return b"", frame


def decode_from_actor(header: bytes, has_blob: bool) -> FromActor:
    """A message as the learner receives it."""
    message: FromActor = _decode(header, has_blob, FromActor)
    if spec := getattr(message, "spec", None):
        check_spec(spec)
    return message


def decode_from_learner(header: bytes, has_blob: bool) -> FromLearner:
    """A message as an actor receives it."""
    message: FromLearner = _decode(header, has_blob, FromLearner)
    return message


def _decode(header: bytes, has_blob: bool, kinds: Any) -> Any:
    if len(header) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header of {len(header)} bytes; at most {MAX_HEADER_BYTES} are allowed")
    try:
        fields = msgpack.unpackb(
            header,
            raw=False,
            strict_map_key=True,
            ext_hook=_refuse_extension,
            max_str_len=2048,
            max_bin_len=64,
            max_array_len=2048,  # action bounds
            max_map_len=0,
            max_ext_len=0,
        )
        message = msgspec.convert(fields, kinds)
    # the parsers raise half a dozen unrelated types on hostile bytes; all mean the same
    except Exception as error:  # noqa: BLE001
        raise ProtocolError(
            f"a header that cannot be read: {type(error).__name__}: {printable(str(error), 240)}"
        ) from None
    if has_blob != isinstance(message, WITH_BLOB):
        raise ProtocolError(f"{type(message).__name__} {'without' if not has_blob else 'with'} a blob")
    return cleaned(message)


def _refuse_extension(code: int, data: bytes) -> None:
    raise ValueError(f"extension type {code}")
