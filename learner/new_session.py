"""The session of one start of a run, with what its checkpoint kept."""

from dppo.learner.session.asynchronous import take_over
from dppo.learner.session.records import Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.learner.session.traced_session import TracedLearnerSession
from dppo.learner.storage.kept_batches import KeptBatches
from dppo.protocol.ledger import Ledger
from dppo.protocol.specs import Spec
from dppo.protocol.trace import Trace


def new_session(
    settings: Settings, ledger: Ledger, slots: SlotTable, spec: Spec | None, kept: KeptBatches, trace: Trace | None
) -> LearnerSession:
    """Return the learner's side of the protocol. kept: in the ledger already. trace: of its events; None: none."""
    if trace is None:
        session = LearnerSession(settings, ledger, slots, spec)
    else:
        session = TracedLearnerSession(settings, ledger, slots, spec, trace=trace)
    take_over(session.cycle, kept)
    return session
