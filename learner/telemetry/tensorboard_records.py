"""Scalars and pictures as TensorBoard reads them: protocol buffers as bytes. Knows the format; knows no file.

Written by hand around TensorBoard's own message classes because its writer costs 130 ms to import (10 ms without) and
has a thread whose errors are lost. Format: tensorflow/core/lib/io/record_writer.h.
"""

import struct
from collections.abc import Mapping
from typing import Any

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


def first_records(wall_time: float, from_step: int) -> bytes:
    """Return the beginning of an event file. Readers forget what older files hold from `from_step` on."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    version = Event(wall_time=wall_time, file_version="brain.Event:2")
    start = Event(wall_time=wall_time, step=from_step, session_log=SessionLog(status=SessionLog.START))
    return _record(version.SerializeToString()) + _record(start.SerializeToString())


def scalars_record(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    """One event with all values of one step; tags are the keys, "group/name"."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    return _record(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())


def settings_record(wall_time: float, settings: Mapping[str, Any]) -> bytes:
    """One event with a run's settings by path: a table for the Text tab, values for the HParams tab."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    lines = ["| setting | value |", "|---|---|", *(f"| {path} | {_cell(value)} |" for path, value in settings.items())]
    text = Summary.Value(
        tag="settings/text_summary",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(
            dtype=DT_STRING,
            string_val=["\n".join(lines).encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        ),
    )
    start = SessionStartInfo(start_time_secs=wall_time)
    for path, value in settings.items():
        _set_hparam(start.hparams[path], value)
    content = HParamsPluginData(version=0, session_start_info=start).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    hparams = Summary.Value(tag="_hparams_/session_start_info", metadata=SummaryMetadata(plugin_data=plugin))
    return _record(Event(wall_time=wall_time, summary=Summary(value=[text, hparams])).SerializeToString())


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _set_hparam(field: Any, value: Any) -> None:
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    else:
        field.string_value = str(value)


def graph_record(wall_time: float, graph: bytes) -> bytes:
    """One event with a serialised tensorflow.GraphDef."""
    from tensorboard.compat.proto.event_pb2 import Event

    return _record(Event(wall_time=wall_time, graph_def=graph).SerializeToString())


def gif_record(wall_time: float, step: int, tag: str, gif: bytes) -> bytes:
    """One event with a picture, which moves if the GIF does: what torch's add_video needs moviepy for."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack_from("<HH", gif, 6)  # behind the six letters GIF89a
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)  # 3: RGB
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    return _record(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())


def crc32c(data: bytes) -> int:
    """RFC 3720, appendix B.4: 32-bit CRC with the Castagnoli polynomial. About 0.1 us a byte."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    # rotated and offset, because a CRC over data that contains CRCs is weak (record_writer.h)
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _table()
