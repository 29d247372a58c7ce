"""Group curves that are seeds of one series: of the same label and the same settings. Knows curves; no picture.

Seeds, and what may change when a run goes on, make no difference. Curves of unknown settings (files of the tutorial's
programs) are of one series only where the user gives them one label.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dppo.watch.curves import Curve

MAX_VALUE_CHARACTERS = 24
MAX_NAMED = 3  # differences in a name


@dataclass(frozen=True)
class Series:
    """Curves drawn as one: a line, or the median of several with a band."""

    name: str  # its label, and by what it differs from others of that label; "" where there is nothing to tell apart
    curves: tuple[Curve, ...]


def series_of(curves: Sequence[Curve]) -> list[Series]:
    """The curves of one panel, in groups that may be drawn as one."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.label, _key(curve)), []).append(curve)
    found: list[Series] = []
    for (label, _), group in groups.items():
        siblings = [curves[0] for (other, _), curves in groups.items() if other == label]
        name = _name(label, group[0], siblings)
        if name and any(series.name == name for series in found):  # they differ in what is not named
            name = f"{name}, {group[0].name}"
        found.append(Series(name, tuple(group)))
    return found


def told_apart(panels: Mapping[str, Sequence[Series]]) -> list[str]:
    """A line for each panel in which runs of one label have different settings, and so are no seeds of one another."""
    lines = []
    for env, series in panels.items():
        labels = [group.curves[0].label for group in series]
        apart = [group for group in series if labels.count(group.curves[0].label) > 1]
        if apart:
            named = "; ".join(f"{group.name or group.curves[0].name} ({_count(group)})" for group in apart)
            lines.append(f"{env}: different settings, drawn apart: {named}")
    return lines


def _count(series: Series) -> str:
    return f"{len(series.curves)} run{'s' if len(series.curves) != 1 else ''}"


def _key(curve: Curve) -> str:
    """The same text for the same settings."""
    if curve.settings is None:
        return "" if curve.label else f"unknown: {curve.name}"
    return json.dumps(_plain(curve.settings), sort_keys=True)


def _plain(value: Any) -> Any:
    """Return it as JSON, with 1 and 1.0 the same."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _name(label: str, curve: Curve, siblings: Sequence[Curve]) -> str:
    """The label, and what is not as in the other groups of that label."""
    if len(siblings) == 1:
        return label
    known = [sibling.settings for sibling in siblings if sibling.settings is not None]
    if curve.settings is None or len(known) < 2:
        told = curve.name
    else:
        differing = [
            path
            for path in curve.settings
            if len({json.dumps(_plain(settings.get(path)), sort_keys=True) for settings in known}) > 1
        ]
        named = [f"{path.rpartition('.')[2]} {_short(curve.settings[path])}" for path in differing[:MAX_NAMED]]
        told = ", ".join(named) + (", ..." if len(differing) > MAX_NAMED else "") if named else curve.name
    return f"{label}: {told}" if label else told


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value) or "none"
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"...{text[3 - MAX_VALUE_CHARACTERS :]}"
