"""Settings by which the curves of two runs are told apart. Knows run directories; knows no pictures."""

from pathlib import Path
from typing import Any

from dppo.local.run_comparison import may_change, recorded_settings
from dppo.settings.commands import TrainConfig

# linear: the end of the run is part of them
SCHEDULES = ("ppo.learning_rate_schedule", "ppo.clip_schedule", "ppo.entropy_schedule")


def settings_that_matter(run: Path) -> dict[str, Any]:
    """Return, by path, the settings by which runs are told apart. Raises UsageError where they cannot be read."""
    settings = recorded_settings(run, TrainConfig)
    ignored = may_change(TrainConfig) | {"run.seed"}
    if any(settings[schedule] == "linear" for schedule in SCHEDULES):
        ignored -= {"run.total_steps"}
    return {path: value for path, value in settings.items() if path not in ignored}
