"""Messages whose texts another process wrote, made fit for a terminal and a log. Knows records; knows no message."""

import functools
from typing import Any, TypeVar

import msgspec

from dppo.protocol.errors import ProtocolError
from dppo.protocol.texts import printable

FREE_TEXT = ("reason", "text")  # fields for people to read; every other string means something to the program

Record = TypeVar("Record", bound=msgspec.Struct)


def cleaned(record: Record) -> Record:
    """Return the message with its free texts made printable.

    Raises ProtocolError where another string (an identifier, a setting) holds what is not printable: no honest peer's
    does, and to change it would change its meaning.
    """
    changes = {}
    for name in _fields_with_text(type(record)):
        value = getattr(record, name)
        if name in FREE_TEXT:
            changes[name] = printable(value)
        else:
            _refuse_unprintable(name, value)
    return msgspec.structs.replace(record, **changes) if changes else record


def _refuse_unprintable(name: str, value: Any) -> None:
    if isinstance(value, str):
        if not value.isprintable():
            raise ProtocolError(f"{name} holds characters that cannot be printed: {value[:32]!r}")
    elif isinstance(value, msgspec.Struct):
        for inner in _fields_with_text(type(value)):
            _refuse_unprintable(inner, getattr(value, inner))
    elif isinstance(value, tuple):
        for item in value:
            _refuse_unprintable(name, item)


@functools.cache
def _fields_with_text(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Fields of that record, or of a record within it, that can hold a string; most messages have none."""
    fields = msgspec.structs.fields(kind)
    return tuple(field.name for field in fields if _holds_text(msgspec.inspect.type_info(field.type)))


def _holds_text(info: Any) -> bool:
    match info:
        case msgspec.inspect.StrType() | msgspec.inspect.LiteralType():
            return True
        case msgspec.inspect.UnionType():
            return any(map(_holds_text, info.types))
        case msgspec.inspect.VarTupleType():
            return _holds_text(info.item_type)
        case msgspec.inspect.StructType():
            return any(_holds_text(field.type) for field in info.fields)
        case msgspec.inspect.Metadata():
            return _holds_text(info.type)
    return False
