"""Names that are almost those of masks, so that nothing reads them: remarked on. Knows names; calls nothing."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

METHOD = "action_masks"
_KEY = re.compile(r"mask|(legal|valid|avail|available|allowed|possible)_?(action|move)s?", re.IGNORECASE)
_ATTRIBUTES = ("action_mask", "get_action_mask", "get_action_masks", "valid_action_mask", "valid_action_masks")
_INSTEAD = (
    f"masks are info['action_mask'] from every reset and step, or a method {METHOD}(); env.action_mask: none: no masks"
)


def lookalikes(info: Any, environment: Any) -> list[str]:
    """Return a line for each name in an info without a mask, and of its environment, that may be meant as a mask.

    environment: None, or one without a method action_masks().
    """
    keys = [key for key in info if isinstance(key, str)] if isinstance(info, Mapping) else []
    names = [f"info[{key!r}]" for key in keys if not key.startswith("_") and _KEY.search(key)]
    around = list(_layers(environment))
    names += [f"the environment's {name}" for name in _ATTRIBUTES if any(_has(layer, name) for layer in around)]
    lines = [f"{name} is not read, and masks no action: {_INSTEAD}" for name in names]
    if any(_has(layer, METHOD) for layer in around):
        lines.append(
            f"the environment's {METHOD} is no method, but a property or a value, and is not read: make it one"
        )
    return lines


def _layers(environment: Any) -> Iterator[Any]:
    """The environment, and those that it wraps."""
    while environment is not None:
        yield environment
        environment = vars(environment).get("env") if hasattr(environment, "__dict__") else None


def _has(layer: Any, name: str) -> bool:
    """Whether it has that name of its own: looked up without a call, which a property would be."""
    return name in getattr(layer, "__dict__", {}) or any(name in vars(kind) for kind in type(layer).__mro__)
