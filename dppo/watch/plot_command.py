"""`dppo plot`: learning curves, or the timeline of one run."""

from pathlib import Path

from dppo.settings.commands import PlotArguments


def run(chosen: PlotArguments) -> int:
    """Draw what was asked for, name the file; returns the exit code. Raises UsageError."""
    print(f"wrote {_drawn(chosen)}")
    return 0


def _drawn(chosen: PlotArguments) -> Path:
    if chosen.timeline:
        from dppo.watch.timeline.command import UPDATES, plot_timeline

        updates = UPDATES if chosen.updates is None else chosen.updates
        window = {"begin": chosen.from_seconds, "end": chosen.to_seconds}
        return plot_timeline(chosen.runs[0], chosen.output, **window, updates=updates)
    from dppo.watch.plot import plot

    return plot(chosen.runs, chosen.output, x=chosen.x, y=chosen.y)
