"""Options that do not fit a run's spaces are refused, in one line. Knows settings and specs; knows no networks."""

import math

from dppo.learner.frame_stacks import stacked
from dppo.learner.image_leaves import check_images
from dppo.learner.network_config import NetworkConfig, is_own
from dppo.learner.ppo_config import PpoConfig
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec

MOST_COMBINATIONS = 256  # of choices, whose probabilities are summed one by one


MOST_NOISE = 2**16  # numbers, of one environment in one step
MOST_COLOURED = 2**12  # as many as actors make coloured


def check_fit(spec: Spec, network: NetworkConfig, ppo: PpoConfig) -> None:
    """Raise UsageError, with what to do, for settings of networks and algorithm that do not fit a run's spaces."""
    check_options(spec, network, ppo)
    if not network.policy and not is_own(network.encoder):
        check_images(spec, network)
        _check_embedding(spec, network)
    stacked(spec, network)  # raises


def check_options(spec: Spec, network: NetworkConfig, ppo: PpoConfig) -> None:
    """Raise UsageError, with what to do, for an option that these actions or this policy cannot have."""
    if network.action_bounds == "squash" and not any(math.isfinite(width) for width in _widths(spec)):
        raise UsageError(
            "network.action_bounds=squash has nothing to squash: no number of these actions has both bounds. Leave it "
            "out, or give the Box of the action a lowest and a highest value"
        )
    if network.exploration == "state" and not any(leaf.kind == "box" for leaf in spec.action):
        raise UsageError(
            "network.exploration=state is of numbers, and these actions are choices, which have noise of their own: "
            "leave it out"
        )
    if network.noise_colour:
        _check_colour(spec, network.noise_colour)
    if network.exploration == "state" and network.policy_hidden:
        numbers = sum(leaf.elements for leaf in spec.action if leaf.kind == "box")
        check_noise("network.exploration=state", (network.policy_hidden[-1] + 1) * numbers)
    if network.distribution == "beta":
        _check_bounds(spec)
    if ppo.surrogate == "divergence_mask" and ppo.divergence == "total_variation":
        if network.head or network.policy:
            raise UsageError(
                "ppo.divergence=total_variation is known for the built-in distributions only: take ppo.divergence=kl, "
                "or leave out network.head and network.policy"
            )
        if network.distribution == "beta":
            raise UsageError(
                "ppo.divergence=total_variation has no closed form for network.distribution=beta: take "
                "ppo.divergence=kl, which has one"
            )
        _check_closed_form(spec)


def _check_colour(spec: Spec, colour: float) -> None:
    """Raise UsageError where an action has no numbers, or more than an actor keeps the past of."""
    numbers = sum(leaf.elements for leaf in spec.action if leaf.kind == "box")
    if not numbers:
        raise UsageError(
            f"network.noise_colour={colour:g} is of numbers, and these actions are choices, whose noise is white: "
            "leave it out"
        )
    if numbers > MOST_COLOURED:
        raise UsageError(
            f"network.noise_colour={colour:g} keeps the past of each number of an action, at most {MOST_COLOURED:,}, "
            f"and there are {numbers:,}: leave it out"
        )


def check_noise(setting: str, numbers: int) -> None:
    """Raise UsageError where a step of one environment takes too much noise. setting: for the message."""
    if numbers > MOST_NOISE:
        instead = "a narrower last layer of network.policy_hidden" if "exploration" in setting else "fewer numbers"
        raise UsageError(
            f"{setting} takes {numbers:,} numbers of noise in every step, at most {MOST_NOISE:,} are possible: take "
            f"{instead}"
        )


def _check_bounds(spec: Spec) -> None:
    """Raise UsageError where a Beta distribution has no numbers, or no bounds to be between."""
    boxes = [leaf for leaf in spec.action if leaf.kind == "box"]
    if not boxes:
        raise UsageError(
            "network.distribution=beta is of numbers, and these actions are choices: leave it out, choices have logits"
        )
    for leaf in boxes:
        if not leaf.low or not all(map(math.isfinite, (*leaf.low, *leaf.high))):
            raise UsageError(
                f"network.distribution=beta needs both bounds of all numbers, and {leaf.name} lacks some: give its Box "
                "a lowest and a highest value, or leave it out"
            )


def _check_embedding(spec: Spec, network: NetworkConfig) -> None:
    """Raise UsageError where choices are to be embedded, and nothing that is observed is a choice."""
    if not network.embedding or any(leaf.kind == "discrete" for leaf in spec.observation):
        return
    kinds = ", ".join(f"{leaf.name} {leaf.kind} {leaf.shape}" for leaf in spec.observation[:4])
    raise UsageError(
        f"network.embedding={network.embedding} embeds Discrete leaves of observations, and there is none ({kinds}): "
        "leave it out"
    )


def _check_closed_form(spec: Spec) -> None:
    """Raise UsageError where the total variation of two policies has no closed form, or too long a one."""
    numbers = [leaf.elements for leaf in spec.action if leaf.kind == "box"]
    if numbers and sum(numbers) != 1:
        raise UsageError(
            f"ppo.divergence=total_variation has no closed form for actions of {sum(numbers)} numbers, whose Gaussians "
            "differ in mean and std: take ppo.divergence=kl, which has one for all"
        )
    choices = [count for leaf in spec.action for count in leaf.choices]
    most = max(choices, default=1)  # every choice has as many outputs as the largest one
    if len(choices) > 1 and len(choices) * math.log2(most) > math.log2(MOST_COMBINATIONS):
        raise UsageError(
            f"ppo.divergence=total_variation is a sum over all combinations of the {len(choices)} choices of an "
            f"action, of up to {most} values each, and at most {MOST_COMBINATIONS} combinations are summed: take "
            "ppo.divergence=kl, which is a sum over choices"
        )


def _widths(spec: Spec) -> list[float]:
    """Highest minus lowest of the numbers of an action; infinite or left out where a bound is missing."""
    boxes = [leaf for leaf in spec.action if leaf.kind == "box"]
    return [high - low for leaf in boxes for low, high in zip(leaf.low, leaf.high, strict=True)]
