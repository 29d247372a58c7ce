"""Status of a run whose learners are several, from those of each. Pure."""

from collections.abc import Sequence

import msgspec

from dppo.learner.telemetry.status import LAST_PHASE, LedgerStatus, Status


def joint_status(statuses: Sequence[Status]) -> Status:
    """Return the status of the run from those of its learners, rank 0's first. It has stopped once all have."""
    first = statuses[0]
    if len(statuses) == 1:
        return first
    phases = [status.phase for status in statuses]
    waits = [f"learner {rank}: {status.waiting_for}" for rank, status in enumerate(statuses) if status.waiting_for]
    ledgers = [status.ledger for status in statuses]
    reasons = sorted({reason for ledger in ledgers for reason in ledger.dropped})
    return msgspec.structs.replace(
        first,
        phase=next((phase for phase in phases if phase != LAST_PHASE), LAST_PHASE),
        actors=tuple(actor for status in statuses for actor in status.actors),
        steps_per_second=sum(status.steps_per_second for status in statuses),
        collected_steps=sum(status.collected_steps for status in statuses),
        batch_steps=sum(status.batch_steps for status in statuses),
        queue_rollouts=sum(status.queue_rollouts for status in statuses),
        queue_bytes=sum(status.queue_bytes for status in statuses),
        waiting_for="; ".join(waits),
        ledger=LedgerStatus(
            sealed=sum(ledger.sealed for ledger in ledgers),
            trained=sum(ledger.trained for ledger in ledgers),
            pending=sum(ledger.pending for ledger in ledgers),
            in_flight=sum(ledger.in_flight for ledger in ledgers),
            dropped={reason: sum(ledger.dropped.get(reason, 0) for ledger in ledgers) for reason in reasons},
            duplicates=sum(ledger.duplicates for ledger in ledgers),
        ),
    )
