"""Files of a JSON object a line, as a disk leaves them: torn by a kill, with zeros after a power failure, edited.

Knows nothing of what is in the objects.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dppo.protocol.errors import UsageError


def json_objects(content: bytes, numbers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the objects in the lines, in their order; what is not one, or lacks one of these numbers, is left out."""
    found = []
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and all(_is_number(value.get(name)) for name in numbers):
            found.append(value)
    return found


def read_objects(file: Path, numbers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the same of a file; [] where there is none. Raises UsageError where it cannot be read."""
    try:
        return json_objects(file.read_bytes(), numbers)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}. Make it a file that can be read") from None


def read_object(file: Path) -> dict[str, Any]:
    """Return the one object that a file holds; {} where there is none that can be read."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
