"""Format of a checkpoint: its JSON document, and where checkpoints lie. Imports no torch, so it is quick.

A lasting checkpoint is a directory named after its update, with `state.json` (the document) and `state.safetensors`.
Between two of them the file `recent` is replaced after every update: the document, a newline, the tensors.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dppo.protocol.errors import CheckpointError, DppoError, UsageError

Read = TypeVar("Read")

FORMAT = 1
TENSORS_FILE = "state.safetensors"
STATE_FILE = "state.json"
RECENT_FILE = "recent"

# `.old`: what a checkpoint of the same update replaced; only there for the moment between two renames
_NAME = re.compile(r"(\d{8,})(\.old)?")


def document_of(update: int, blob: bytes, state: Mapping[str, Any]) -> bytes:
    """The document of a checkpoint whose tensors are `blob`. Raises TypeError or ValueError for what is not JSON."""
    tensors = {"bytes": len(blob), "blake2b": _digest(blob)}
    return _encode({"format": FORMAT, "update": update, "tensors": tensors, "state": dict(state)})


def read_document(path: Path) -> tuple[dict[str, Any], bytes | None]:
    """The document of the checkpoint at `path`, and its tensors where they are in the same file.

    Raises OSError or ValueError where it is missing or damaged, UsageError where it is of another release's format.
    """
    tensors = None
    if path.name == RECENT_FILE:
        raw, _, tensors = path.read_bytes().partition(b"\n")
    else:
        raw = (path / STATE_FILE).read_bytes()
    document = _parse(raw)
    if document["format"] != FORMAT:
        raise UsageError(
            f"checkpoint {path} has format {document['format']}, this release reads {FORMAT}: "
            "use the release that wrote it, or choose another run.directory"
        )
    return document, tensors


def check_tensors(blob: bytes, expected: Mapping[str, Any]) -> None:
    """Raises ValueError unless `blob` is byte for byte what the document's `tensors` says."""
    if len(blob) != expected["bytes"]:
        raise ValueError(f"{TENSORS_FILE} has {len(blob)} of {expected['bytes']} bytes")
    if _digest(blob) != expected["blake2b"]:
        raise ValueError(f"{TENSORS_FILE} is damaged: its digest differs")


def listed(directory: Path) -> list[Path]:
    """Lasting checkpoints, newest first; of one update, the plain one before the `.old` one. Raises OSError."""
    names = sorted((path for path in directory.iterdir() if _NAME.fullmatch(path.name)), key=lambda path: path.name)
    return sorted(names, key=update_of, reverse=True)


def readable_first(directory: Path) -> list[Path]:
    """All checkpoints in the order in which to try them: newest first, of one update the lasting one. Raises OSError.

    A `recent` without a readable document comes first, to be warned of: its update is not known.
    """
    paths: list[Path] = listed(directory)
    recent = directory / RECENT_FILE
    if not recent.exists():
        return paths
    try:
        update = int(read_document(recent)[0]["update"])
    except (OSError, ValueError, CheckpointError, UsageError):
        return [recent, *paths]
    newer = sum(update_of(path) >= update for path in paths)
    return [*paths[:newer], recent, *paths[newer:]]


def newest_state(directory: Path, of: Callable[[Any], Read]) -> Read | None:
    """Return what `of` makes of the state in the newest checkpoint where it can; None where there is none.

    of: given the state of a document; raises KeyError or ValueError where that is not as it should be.
    """
    try:
        paths = readable_first(directory)
    except OSError:
        return None
    for path in paths:
        with contextlib.suppress(OSError, ValueError, KeyError, DppoError):
            return of(read_document(path)[0]["state"])  # else the learner says so when it falls back to the one before
    return None


def refuse_unreadable(directory: Path) -> None:
    """Raise CheckpointError where there are checkpoints and none is whole: a start would have nothing to go on from.

    Training from scratch over them would be worse than stopping. Raises UsageError where one is of another release.
    """
    try:
        paths = readable_first(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(
            f"checkpoints in {directory} cannot be listed: {error.strerror}. Make it a readable directory."
        ) from error
    if paths and not any(map(_is_whole, paths)):
        raise CheckpointError(none_readable(directory, paths))


def none_readable(directory: Path, paths: Sequence[Path]) -> str:
    """Return the error for checkpoints of which none can be read."""
    return (
        f"none of the {len(paths)} checkpoints in {directory} can be read (newest: {paths[0].name}). "
        "Restore one from a copy, or choose another run.directory to start from scratch."
    )


def _is_whole(path: Path) -> bool:
    try:
        document, blob = read_document(path)
        check_tensors((path / TENSORS_FILE).read_bytes() if blob is None else blob, document["tensors"])
    except (OSError, ValueError):
        return False
    return True


def update_of(path: Path) -> int:
    """The update that a lasting checkpoint's directory is named after."""
    return int(path.stem)


def _encode(content: Mapping[str, Any]) -> bytes:
    try:
        body = json.dumps(content, allow_nan=False)
    except ValueError:  # an infinity, which few states hold: going through all of one takes longer than writing it
        body = json.dumps(_written(content), allow_nan=False)
    return f'{body[:-1]}, "blake2b": "{_digest(body.encode())}"}}'.encode()


def _parse(raw: bytes) -> dict[str, Any]:
    """The content of a document. Raises ValueError unless it is byte for byte what `_encode` writes."""
    try:
        content = _read(json.loads(raw))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.pop("blake2b", None) is None or _encode(content) != raw:
        raise ValueError(f"{STATE_FILE} is damaged ({len(raw)} bytes)")
    return content


def _written(value: Any) -> Any:
    """The value with infinities (the bounds of a space) as {"float": "inf"}, which JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _written(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_written(inner) for inner in value]
    if isinstance(value, float) and math.isinf(value):
        return {"float": str(value)}
    return value


def _read(value: Any) -> Any:
    """Return the value that `_written` was given, tuples as lists."""
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in ("inf", "-inf"):
            return float(value["float"])
        return {key: _read(inner) for key, inner in value.items()}
    return [_read(inner) for inner in value] if isinstance(value, list) else value


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=32).hexdigest()
