"""Settings of `dppo check`: those of a run, and how long to play. Knows names, ranges and defaults.

The text below a field is its help.
"""

from dataclasses import dataclass, field

from dppo.learner.config import LearnerConfig
from dppo.protocol.errors import UsageError
from dppo.protocol.process.own_names import refuse_hidden
from dppo.settings.fields import FLATTENED


@dataclass(frozen=True)
class CheckConfig:
    """Play an environment at random and name what would keep PPO from learning it (exit code 1 where it is broken)."""

    learner: LearnerConfig = field(default=LearnerConfig(), metadata=FLATTENED)
    check_steps: int = 5_000
    """Random steps that are judged."""
    check_seconds: float = 20.0
    """Seconds that all of it may take, whatever the number of steps."""
    json: bool = False
    """Print one JSON object instead of lines."""

    def __post_init__(self) -> None:
        if self.check_steps < 1 or not self.check_seconds > 0:
            raise UsageError(f"check_steps={self.check_steps} and check_seconds={self.check_seconds:g} must be above 0")
        refuse_hidden(self.learner.env.id)
