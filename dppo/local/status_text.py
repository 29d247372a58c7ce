"""Parts of a status as text, for table and lines alike. Pure."""

from collections.abc import Mapping

from dppo.learner.telemetry.status import OWN_METRICS, LedgerStatus, Status
from dppo.number_text import return_number


def left_out_text(status: Status) -> str:
    """Return a text on the outliers that the mean return leaves out, with the median of all; "" without outliers."""
    if not status.return_outliers or status.median_return is None:
        return ""
    return f" (without {status.return_outliers} absurd; median {return_number(status.median_return)})"


def own_metrics_text(metrics: Mapping[str, float | None]) -> str:
    """Return the metrics of the user's own among those of an update, by their names; "" where there are none."""
    own = {key.removeprefix(OWN_METRICS): value for key, value in metrics.items() if key.startswith(OWN_METRICS)}
    return metrics_text(own)


def metrics_text(metrics: Mapping[str, float | None]) -> str:
    """Return `distance 0.25, speed 3.1`; a metric that no episode has reported is left out."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)


def batch_text(status: Status) -> str:
    """Return how far the next batch has come, steps in open segments included; "" where no size is known."""
    if not status.batch_steps:
        return ""
    return f"batch: {status.collected_steps:,} of {status.batch_steps:,} steps"


def ledger_line(ledger: LedgerStatus) -> str:
    """Return the line that says where every environment step went."""
    dropped = sum(ledger.dropped.values())
    reasons = ", ".join(f"{reason} {steps:,}" for reason, steps in ledger.dropped.items() if steps)
    text = f"ledger: {ledger.sealed:,} sealed = {ledger.trained:,} trained + {ledger.pending:,} pending"
    text += f" + {ledger.in_flight:,} in flight + {dropped:,} dropped{f' ({reasons})' if reasons else ''}"
    return text + (f"; {ledger.duplicates} duplicates ignored" if ledger.duplicates else "")


def is_whole(ledger: LedgerStatus) -> bool:
    """Return whether every environment step is accounted for."""
    return ledger.sealed == ledger.trained + ledger.pending + ledger.in_flight + sum(ledger.dropped.values())


def ledger_word(ledger: LedgerStatus) -> str:
    """Return `ledger whole`, with what was dropped; the line with all numbers where it is not."""
    dropped = sum(ledger.dropped.values())
    if not is_whole(ledger):
        return ledger_line(ledger)
    if not dropped:
        return "ledger whole: nothing dropped"
    reasons = ", ".join(f"{reason} {steps:,}" for reason, steps in ledger.dropped.items() if steps)
    return f"ledger whole: {dropped:,} of {ledger.sealed:,} steps dropped ({reasons})"
