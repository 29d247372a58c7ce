"""What must be true of a batch before anything is trained on it. Knows arrays; knows no optimizer."""

import numpy as np
import torch

from learner.batch import Batch, Grid
from learner.distributions import Distribution
from learner.gradients import Rows
from protocol.errors import DppoError


def refuse_what_is_not_finite(grid: Grid, batch: Batch) -> None:
    """Raise DppoError for a nan or an infinity, naming where it came from."""
    if batch.steps == 0:
        raise DppoError("the batch holds no environment step, only resets: collect more steps per update")
    of_actors = {"rewards": grid.flatten(grid.rewards), "behaviour log-probs": batch.behaviour_log_probs}
    of_actors["actions"] = batch.actions.reshape(batch.steps, -1).sum(axis=1)
    for name, array in of_actors.items():
        bad = ~np.isfinite(array)
        if bad.any():
            actors = sorted({batch.actors[index] for index in batch.actor_index[bad]})
            raise DppoError(
                f"{int(bad.sum())} {name} of {', '.join(actors)} are nan or infinite: look at what the environment "
                "returns there (a simulator that blew up?), since training on them would destroy the policy"
            )
    if grid.observations.dtype.kind == "f" and not np.isfinite(grid.observations).all():
        raise DppoError(
            "observations are nan or infinite: look at what the environment returns (a simulator that blew up?), since "
            "training on them would destroy the policy"
        )
    if not (np.isfinite(batch.old_values).all() and np.isfinite(batch.returns).all()):
        raise DppoError("the critic's values are not finite although the batch is: the network's weights have diverged")


def ratio_errors(distribution: Distribution, rows: Rows, batch: Batch) -> dict[str, float]:
    """The largest |pi(a|s) / behaviour - 1| of each actor's rows, before the first optimizer step.

    On policy it is rounding error. More means that an actor used other weights or another normaliser than the learner
    thinks, that a mask is wrong, or that data were corrupted.
    """
    log_probs = distribution.log_prob(rows.actions)
    errors = (log_probs - rows.old_log_probs).expm1().abs().cpu().numpy()
    worst = np.zeros(len(batch.actors), np.float32)
    np.maximum.at(worst, batch.actor_index, errors)
    return {actor: float(error) for actor, error in zip(batch.actors, worst, strict=True)}


def mean_kl(old: Distribution, new: Distribution) -> float:
    """KL(old || new), mean over rows."""
    kl: torch.Tensor = new.kl_from(old)  # type: ignore[arg-type]  # both come from one network, so their types agree
    return kl.mean().item()
