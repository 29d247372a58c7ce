"""Remarks on spaces and settings that a user needs before a run has trained for hours: a line each. Pure."""

import math
from collections.abc import Sequence

from dppo.learner.config import LearnerConfig
from dppo.learner.image_leaves import SMALLEST, described, picture_of
from dppo.learner.network_config import NetworkConfig, is_own
from dppo.protocol.env_wrappers import EnvWrapper, parse_wrappers
from dppo.protocol.specs import Leaf, Spec

WIDE = 10.0  # times the std at the start: a bound so far away is hardly ever reached
NARROW = 0.05  # times the std: nearly every action is clipped
IMAGE_NUMBERS = 256  # of an observation with two dimensions or more
MANY_OBSERVED = 5000
MANY_ACTIONS = 100
MOST_WITH_MEMORY = 1  # versions by which steps are older
INSTEAD = {  # wrappers of Gymnasium's, and others named alike, with the setting that does the same
    "NormalizeObservation": "network.normalise_observations (on by default)",
    "NormalizeReward": "ppo.normalise_rewards",
}


def remarks(spec: Spec, network: NetworkConfig) -> list[str]:
    """Return a line for each space that trains badly with these settings."""
    lines: list[str] = []
    for leaf in spec.observation:
        lines += _of_observation(leaf, network)
    for leaf in spec.action:
        lines += _of_action(leaf, network)
    return lines


def config_remarks(config: LearnerConfig) -> list[str]:
    """Return a line for each setting that trains badly, whatever the spaces."""
    lines = wrapper_remarks(parse_wrappers(config.env.wrappers))
    staleness, memory = config.collect.max_staleness, config.network.memory
    if memory != "none" and staleness > MOST_WITH_MEMORY:
        lines.append(
            f"collect.max_staleness={staleness} with network.memory={memory}: with 2 a memory learned at about half "
            "the pace of 0 by steps, and no faster by time (docs/algorithms.md#with-a-memory): take 1, or 0"
        )
    return lines


def wrapper_remarks(wrappers: Sequence[EnvWrapper]) -> list[str]:
    """Return a line for each wrapper that keeps statistics of its own, and so makes returns that mean little."""
    return [
        f"env.wrappers: {wrapper.kind} keeps statistics of its own in every environment, and begins anew in "
        f"evaluation: returns there are not those of training. {INSTEAD[wrapper.kind]} does it for all actors together"
        for wrapper in wrappers
        if wrapper.kind in INSTEAD
    ]


def _of_observation(leaf: Leaf, network: NetworkConfig) -> list[str]:
    if leaf.kind != "box" or network.policy or is_own(network.encoder):
        return []
    if line := described(leaf, network):
        return [line]
    what = "observations" if leaf.name == "observation" else leaf.name
    if len(leaf.shape) >= 2 and leaf.elements >= IMAGE_NUMBERS:
        return [
            f"{what} of shape {leaf.shape} go into a perceptron as {leaf.elements:,} numbers without their places: "
            f"images are learned badly so; {_instead(leaf, network)}"
        ]
    if leaf.elements >= MANY_OBSERVED:
        return [f"{what} of {leaf.elements:,} numbers go into a perceptron: a flattened image is learned badly so"]
    return []


def _instead(leaf: Leaf, network: NetworkConfig) -> str:
    picture = picture_of(leaf, network.image_channels)
    if picture is None:
        return (
            "observe them as uint8 with two or three dimensions, which --network.encoder nature_cnn or impala_cnn "
            "takes as an image, or what matters as numbers"
        )
    side = min(picture.height, picture.width)
    fitting = [cnn for cnn, smallest in SMALLEST.items() if side >= smallest]
    if not fitting:
        return "observe larger ones, or what matters as numbers"
    return f"--network.encoder {' or '.join(fitting)} takes images of {picture.height} x {picture.width} pixels"


def _of_action(leaf: Leaf, network: NetworkConfig) -> list[str]:
    if leaf.kind != "box":
        return []
    lines = []
    if leaf.elements >= MANY_ACTIONS:
        lines.append(
            f"{leaf.elements} action dimensions: the probability ratio is that of all together and leaves the clipping "
            "range soon; a smaller ppo.learning_rate, or fewer ppo.epochs, may be needed"
        )
    bounds = [(low, high) for low, high in zip(leaf.low, leaf.high, strict=True) if low < high]
    finite = [(low, high) for low, high in bounds if math.isfinite(low) and math.isfinite(high)]
    if network.action_bounds == "clip" and network.distribution == "gaussian" and finite:
        deviation = math.exp(network.initial_log_std)
        low, high = max(finite, key=lambda pair: max(abs(pair[0]), abs(pair[1])))
        narrow_low, narrow_high = min(finite, key=lambda pair: pair[1] - pair[0])
        advice = "network.action_bounds=rescale maps -1..1 onto the bounds"
        if max(abs(low), abs(high)) > WIDE * deviation:
            lines.append(
                f"actions reach from {low:g} to {high:g}, and the policy begins within "
                f"{3 * deviation:.2g} of 0: {advice}"
            )
        elif narrow_high - narrow_low < NARROW * deviation:
            lines.append(
                f"actions reach from {narrow_low:g} to {narrow_high:g} only, and the policy begins with a std of "
                f"{deviation:.2g}, so that nearly all are clipped: {advice}"
            )
    return lines
