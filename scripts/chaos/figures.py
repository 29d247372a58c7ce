"""Results of a fault: figures with their limits, and whether all hold. Pure; knows no process."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing that was measured; judged where it has a limit."""

    name: str
    value: float | str | None  # None: it did not happen
    unit: str = ""
    limit: str = ""  # in words, "" where it is only reported
    passed: bool = True
    routine: bool = False  # looked at after every fault

    def text(self) -> str:
        """Value and unit as people read them."""
        if self.value is None:
            return "-"
        if isinstance(self.value, str):
            return self.value
        number = f"{self.value:,.0f}" if float(self.value).is_integer() else f"{self.value:,.2f}"
        return f"{number} {self.unit}".strip()


def at_most(name: str, value: float | None, limit: float, unit: str = "") -> Figure:
    """Fails above the limit, and where there is no value."""
    passed = value is not None and value <= limit
    return Figure(name, value, unit, f"<= {limit:g} {unit}".strip(), passed)


def at_least(name: str, value: float | None, limit: float, unit: str = "") -> Figure:
    """Fails below the limit, and where there is no value."""
    passed = value is not None and value >= limit
    return Figure(name, value, unit, f">= {limit:g} {unit}".strip(), passed)


def none_of(name: str, findings: list[str]) -> Figure:
    """Fails where anything was found; shows the first."""
    value = f"{len(findings)}: {findings[0][:160]}" if findings else "0"
    return Figure(name, value, "", "0", not findings)


def holds(name: str, truth: bool, otherwise: str = "no") -> Figure:
    """Fails where it is not true; says why."""
    return Figure(name, "yes" if truth else otherwise, "", "yes", truth)


def reported(name: str, value: float | str | None, unit: str = "") -> Figure:
    """Only told."""
    return Figure(name, value, unit)


@dataclass
class Outcome:
    """Result of one fault."""

    fault: str
    title: str
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    skipped: str = ""  # why it could not be tried here
    broken: str = ""  # why it could not be tried to its end
    kept: str = ""  # directory with everything that the processes wrote

    @property
    def passed(self) -> bool:
        """Whether every limit held."""
        return not self.broken and all(figure.passed for figure in self.figures)

    @property
    def verdict(self) -> str:
        """passed, failed or skipped."""
        return "skipped" if self.skipped else "passed" if self.passed else "failed"

    def to_state(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "fault": self.fault,
            "title": self.title,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 1),
            "skipped": self.skipped,
            "broken": self.broken,
            "kept": self.kept,
            "figures": [
                {
                    "name": figure.name,
                    "value": round(figure.value, 4) if isinstance(figure.value, float) else figure.value,
                    "unit": figure.unit,
                    "limit": figure.limit,
                    "passed": figure.passed,
                    "routine": figure.routine,
                }
                for figure in self.figures
            ],
        }
