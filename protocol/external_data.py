"""Whether an ONNX graph names files of the host that it is loaded on. Reads the bytes by itself; knows no onnx.

A tensor may lie outside the graph ("external data"), in any file below the working directory: a hostile learner would
read a secret in an actor's host by it. Field numbers are those of onnx.proto3.
"""

from collections.abc import Iterator

from dppo.protocol.errors import ProtocolError

# message -> field number -> message below it
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_KEY = b"location"  # each external tensor has this key among its entries
MAX_DEPTH = 64  # messages within messages
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def refuse_external_data(graph: bytes) -> None:
    """Raise ProtocolError where a tensor of the graph, or of one within it, lies in a file."""
    if _KEY in graph and _names_files(memoryview(graph), "model", 0):  # nearly always the first alone: 0.1 us a KB
        raise ProtocolError("the policy graph names files of this host (external data): it is not loaded")


def _names_files(message: memoryview, kind: str, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise ProtocolError("the policy graph is nested too deep")
    below = _FIELDS.get(kind, {})
    for number, value in _fields(message):
        if kind == "tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif number in below and isinstance(value, memoryview) and _names_files(value, below[number], depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values, in order."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ProtocolError(f"the policy graph cannot be read: a field of kind {wire}")
        if place + size > len(message):
            raise ProtocolError("the policy graph cannot be read: it breaks off")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ProtocolError("the policy graph cannot be read: a number breaks off")
