"""Settings under names of former releases, read where a file has them: a run that began with one goes on. Knows paths.

On the command line and in the environment they are unknown, and the answer names the setting of today.
"""

from collections.abc import Mapping
from typing import Any

from dppo.protocol.errors import UsageError
from dppo.settings.fields import Setting

# former path, and its type: path of today, and what each former value is now
_FORMER = {("collect.even_shares", bool): ("collect.rule", {False: "minimum", True: "even_shares"})}


def with_former(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Settings that a file may hold: these, and the former ones that are some of these today."""
    former = {path: Setting(path, kind, False) for (path, kind), (today, _) in _FORMER.items() if today in settings}
    return {**settings, **former}


def translated(found: dict[str, Any], where: str) -> dict[str, Any]:
    """Values by path, with former settings as those of today. Raises UsageError where both are there and differ."""
    for (path, _), (today, values) in _FORMER.items():
        if path in found:
            value = values[found.pop(path)]
            if found.setdefault(today, value) != value:
                raise UsageError(f"{where}: {path} is {today}={value} today, and {today} is {found[today]}: remove one")
    return found
