"""Code of your own between updates: figures into a CSV file, and an end by a rule. `python examples/own_hooks.py`."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dppo

COLUMNS = ("updates", "steps", "mean_return", "kl", "entropy")


class Watch:
    """Write a line for each update; end the run when the mean return has not risen for 15 updates."""

    def __init__(self) -> None:
        self.best = float("-inf")
        self.since = 0  # updates

    def on_update(self, status: Any) -> str | None:
        """Called after each update; "stop" ends the run in order."""
        figures = {"updates": status.updates, "steps": status.steps, "mean_return": status.mean_return}
        with Path(status.run_directory, "watch.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            if not file.tell():
                writer.writeheader()
            writer.writerow({**status.metrics, **figures})
        self.since += 1
        if status.mean_return is not None and status.mean_return > self.best:
            self.best, self.since = status.mean_return, 0
        return "stop" if self.since >= 15 else None

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """Called once at the end, when everything is saved."""
        print("over:", summary["reason"])  # into logs/learner.log


if __name__ == "__main__":
    result = dppo.train(
        env="CartPole-v1", actors=2, total_steps=30_000, hooks="own_hooks:Watch", directory="runs/own-hooks"
    )
    print(result.reason)
    print((result.directory / "watch.csv").read_text().splitlines()[-1])
