"""A fault of the bench: name, what happens, and the function that does it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.chaos.figures import Figure

Form = Literal["short", "full"]
PATIENCE = 4.0  # with a machine that is busy with other things


class Skip(Exception):
    """The fault cannot be tried here; says why."""


@dataclass(frozen=True)
class Scene:
    """Place and length of one fault."""

    directory: Path
    form: Form
    seed: int = 1  # chooses victims and moments

    @property
    def is_full(self) -> bool:
        """Whether figures that need a long time are judged."""
        return self.form == "full"

    def within(self, seconds: float) -> float:
        """The limit of a time: as promised in the full form, on a quiet machine; some times that in the short one."""
        return seconds if self.is_full else PATIENCE * seconds

    def pick(self, short: float, full: float) -> float:
        """The number for this form: seconds, or how often."""
        return full if self.is_full else short


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    title: str
    play: Callable[[Scene], list[Figure]]
