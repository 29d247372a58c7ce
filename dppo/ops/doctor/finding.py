"""Findings of the doctor: one line each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    means: str
    do: str = ""  # what to do about it; "" where nothing is wrong

    @property
    def line(self) -> str:
        """Return the line for people."""
        return f"{self.level:8}{self.what}: {self.means}{f'. {self.do}' if self.do else ''}"


def from_error(what: str, error: Exception) -> Finding:
    """An error of ours says what, why and what to do in one line already: the last part comes after the last colon."""
    means, colon, do = str(error).rpartition(": ")
    return Finding("error", what, means, do) if colon else Finding("error", what, str(error))


def verdict(findings: Sequence[Finding]) -> int:
    """The exit code: 1 where something is wrong."""
    return int(any(finding.level == "error" for finding in findings))
