"""Settings of `dppo tune`: those of a run, and how to search. Knows names, ranges and defaults.

The text below a field is its help.
"""

from dataclasses import dataclass, field
from typing import Literal

from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import FLATTENED


@dataclass(frozen=True)
class TuneConfig:
    """Search for settings that learn faster (Optuna): trials of run.total_steps each, the best one against the start.

    The same command goes on where it was ended. Needs dppo[tune].
    """

    train: TrainConfig = field(default=TrainConfig(), metadata=FLATTENED)
    trials: int = 30
    """Trials in all, those of earlier commands included."""
    trial_seeds: int = 1
    """Seeds of each trial, whose mean counts."""
    objective: Literal["final", "best", "area"] = "area"
    """Number of a run that is maximised: its mean return over the last tenth of the steps, the best one, or the mean
    over all steps (which counts how soon it learns)."""
    space: str = ""
    """YAML file with the settings to search: `ppo.gamma: {choices: [0.9, 0.99]}`, `ppo.learning_rate: {low: 1e-5,
    high: 1e-3, log: true}`; empty: nine settings of PPO."""
    check_seeds: int = 5
    """Seeds, other than the trials', with which the best settings and the first ones are trained at the end; 0: none.
    """
    prune: bool = True
    """End trials early whose returns are below the median of the others' at the same number of steps."""

    jobs: int = 1
    """Trials at the same time, each with actors of its own."""
    bind: str = ""
    """Address on which actors of any host join, tcp://address:port (0.0.0.0: all networks): a standing fleet, started
    once by a line that is printed, serves all trials. With jobs, the ports after it as well. Empty: each trial starts
    `actors` on this machine."""
    advertise: str = ""
    """Host in the printed join line, where other hosts know this one by another name; empty: found out."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"jobs={self.jobs} must be at least 1")
        if self.bind and not (self.bind.startswith("tcp://") and self.bind.rpartition(":")[2].isdigit()):
            raise UsageError(f"bind={self.bind!r} is no address with a port: choose for example tcp://0.0.0.0:5555")
        if self.advertise and not self.bind:
            raise UsageError("advertise is for a search that other hosts join: add --bind tcp://0.0.0.0:5555")
        if self.trials < 1 or self.trial_seeds < 1 or self.check_seeds < 0:
            raise UsageError(
                f"trials={self.trials} and trial_seeds={self.trial_seeds} must be at least 1, "
                f"check_seeds={self.check_seeds} at least 0"
            )
