"""Record in checkpoints of what networks of a user's code compute; a start whose code computes otherwise is refused.

Weights of one code mean nothing in another one, and a run keeps what it is: so the outputs are compared on fixed
observations, not the text of the code. Knows checkpoints; imports no torch before weights are there.
"""

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dppo.learner.network_config import NetworkConfig
from dppo.protocol.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from dppo.learner.ppo.trainer import Trainer
    from dppo.learner.storage.checkpoint import Checkpoint

log = logging.getLogger("dppo.learner")

KEY = "network"  # in a checkpoint's state


def record(trainer: "Trainer", network: NetworkConfig) -> dict[str, Any]:
    """Return the entries of a checkpoint's state about networks of the user's; none where there is no such code."""
    if not network.own_code:
        return {}
    from dppo.learner.models.fixed_outputs import fixed_outputs

    return {KEY: fixed_outputs(trainer.policy, trainer.critic)}


def load_same(trainer: "Trainer", checkpoint: "Checkpoint", network: NetworkConfig, directory: Path) -> None:
    """Continue the trainer from a checkpoint of the run in `directory`.

    Raises UsageError where the user's code makes another network now than when it was written, CheckpointError where
    it does not fit for another reason.
    """
    own = " and ".join(f"{setting}={name}" for setting, name in network.own_code.items())
    written = datetime.fromtimestamp(checkpoint.path.stat().st_mtime)
    then = f"at update {checkpoint.update} ({written:%Y-%m-%d %H:%M})"
    try:
        trainer.load(checkpoint.tensors, checkpoint.state["trainer"], checkpoint.past)
    except CheckpointError as error:
        if not own:
            raise
        raise UsageError(
            f"{own} does not make the network that the run in {directory} had {then}: {error} A run keeps its "
            "network: put the code back, or begin another run: --run.new"
        ) from None
    problem = _difference(trainer, checkpoint)
    if own and problem:
        raise UsageError(
            f"{own} computes something else than {then} for the run in {directory}: {problem}, with the same weights "
            "and observations. A run keeps its network: put the code back, or begin another run: --run.new, or from "
            f"its weights with --init-from {directory} --run.new"
        )


def remark_other(trainer: "Trainer", checkpoint: "Checkpoint", run: Path) -> None:
    """Log where weights of another run were computed with by other code than they are now."""
    problem = _difference(trainer, checkpoint)
    if problem:
        log.warning("run.init_from=%s: the network computes something else than there (%s)", run, problem)


def _difference(trainer: "Trainer", checkpoint: "Checkpoint") -> str:
    then = checkpoint.state.get(KEY)
    if then is None:  # nothing of the user's, or of a release that did not record it
        return ""
    from dppo.learner.models.fixed_outputs import difference, fixed_outputs

    return difference(then, fixed_outputs(trainer.policy, trainer.critic))
