"""Bound an actor's own counts by what it was asked for, before they are booked. Pure.

Steps that were sealed and not delivered fit into credit. Steps that "a learner took" and that no account knows were
taken by a learner that died and whose files are lost; all of them together are at most what the run has trained on so
far, or FORGOTTEN_STEPS. What goes beyond is not booked.
"""

from dppo.learner.session.flow_control import CREDIT
from dppo.learner.session.records import Settings
from dppo.protocol.account import Account
from dppo.protocol.errors import HostileError
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import Hello, Rollout, Tally

FORGOTTEN_STEPS = 2**20
RESTARTS_PER_ENVIRONMENT = 1000  # beyond one a step
OUTSTANDING = 2 * CREDIT  # rollouts; credit and what STOP cuts are fewer
LEAST_BYTES_PER_STEP = 11  # log-prob, reward and three flags


class Plausibility:
    """Judges tallies of one run's actors."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._forgotten_left = max(FORGOTTEN_STEPS, ledger.total().trained)

    def joining(self, account: Account, hello: Hello, envs: int) -> Tally:
        """Return what is believed of the tally in a HELLO. Raises HostileError where it contradicts itself."""
        check_tally(hello.tally)
        is_of_another_start = hello.term not in (0, self._settings.term)
        claimed = max(0, hello.tally.acked_steps - account.forgotten - account.disposed)
        if hello.tally.acked_upto < account.watermark:
            claimed = 0
        booked = min(claimed, self._forgotten_left) if is_of_another_start else 0
        self._forgotten_left -= booked
        account.forgotten += claimed - booked
        return self._bounded(account, hello.tally, envs, beyond=booked)

    def told(self, account: Account, tally: Tally, envs: int) -> Tally:
        """Return what is believed of any other tally. Raises HostileError where it contradicts itself."""
        check_tally(tally)
        return self._bounded(account, tally, envs, beyond=0)

    def _bounded(self, account: Account, tally: Tally, envs: int, beyond: int) -> Tally:
        outstanding = OUTSTANDING * 2 * (self._settings.batch_steps + envs)
        known = account.dropped["stop_partial"]
        dropped = known
        if self._settings.on_stop == "drop":
            dropped = max(known, min(tally.dropped_steps, known + beyond + outstanding))
        sealed = min(max(0, tally.sealed_steps - account.forgotten), account.disposed + beyond + dropped + outstanding)
        restarts = min(tally.env_restarts, max(account.sealed, sealed) + RESTARTS_PER_ENVIRONMENT * envs)
        acked = max(0, tally.acked_steps - account.forgotten)
        return Tally(tally.sealed_upto, sealed, tally.acked_upto, acked, dropped, restarts)


def check_tally(tally: Tally) -> None:
    """Raise HostileError for a count that no session of ours arrives at."""
    if tally.acked_upto > tally.sealed_upto or tally.sealed_upto - tally.acked_upto > OUTSTANDING:
        raise HostileError(f"a tally of {tally.sealed_upto} rollouts sealed, {tally.acked_upto} acknowledged")
    if tally.acked_steps + tally.dropped_steps > tally.sealed_steps:
        raise HostileError(
            f"a tally of {tally.sealed_steps} steps sealed, {tally.acked_steps} acknowledged, {tally.dropped_steps} "
            "dropped"
        )


def contradiction(header: Rollout, blob_bytes: int, envs: int) -> str:
    """Say what a rollout's header promises that its blob cannot hold, whatever it is of; "" where it may hold it."""
    rows = header.T * header.E
    if envs == header.E and header.steps <= rows and rows * LEAST_BYTES_PER_STEP <= blob_bytes:
        return ""
    return f"a header of {header.steps} steps of {header.E} environments on {blob_bytes} bytes"


def believable_steps(header: Rollout, blob_bytes: int) -> int:
    """Steps to book for a rollout that is refused: what its bytes can hold."""
    return min(header.steps, blob_bytes // LEAST_BYTES_PER_STEP)
