"""Options that do not fit a run's spaces are refused, in one line. Knows settings and specs; knows no networks."""

import math

from dppo.learner.network_config import NetworkConfig
from dppo.learner.ppo_config import PpoConfig
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec


def check_options(spec: Spec, network: NetworkConfig, ppo: PpoConfig) -> None:
    """Raise UsageError, with what to do, for an option that these actions or this policy cannot have."""
    if network.action_bounds == "squash" and not any(math.isfinite(width) for width in _widths(spec)):
        raise UsageError(
            "network.action_bounds=squash has nothing to squash: no number of these actions has both bounds. Leave it "
            "out, or give the Box of the action a lowest and a highest value"
        )
    if ppo.surrogate == "divergence_mask" and ppo.divergence == "total_variation":
        if network.head or network.policy:
            raise UsageError(
                "ppo.divergence=total_variation is known for the built-in distributions only: take ppo.divergence=kl, "
                "or leave out network.head and network.policy"
            )
        if len(spec.action) > 1 or spec.action[0].kind != "discrete":
            raise UsageError(
                "ppo.divergence=total_variation has a closed form for one Discrete action only: take ppo.divergence=kl"
            )


def _widths(spec: Spec) -> list[float]:
    """Highest minus lowest of the numbers of an action; infinite or left out where a bound is missing."""
    boxes = [leaf for leaf in spec.action if leaf.kind == "box"]
    return [high - low for leaf in boxes for low, high in zip(leaf.low, leaf.high, strict=True)]
