"""Parts of a status as text, for table and lines alike. Pure."""

from dppo.learner.telemetry.status import LedgerStatus, Status
from dppo.number_text import return_number


def left_out_text(status: Status) -> str:
    """Return a text on the outliers that the mean return leaves out, with the median of all; "" without outliers."""
    if not status.return_outliers or status.median_return is None:
        return ""
    return f" (without {status.return_outliers} absurd; median {return_number(status.median_return)})"


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
    text += f" + {ledger.in_flight:,} in flight + {dropped:,} dropped{f' ({reasons})' * bool(reasons)}"
    return text + f"; {ledger.duplicates} duplicates ignored" * bool(ledger.duplicates)
