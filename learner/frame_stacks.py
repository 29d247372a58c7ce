"""Images of which the policy sees the newest frames: which leaves, and what rollouts carry. Knows no torch."""

import msgspec

from dppo.learner.image_leaves import SMALLEST, images_of, picture_of
from dppo.learner.network_config import NetworkConfig, is_own
from dppo.protocol.errors import UsageError
from dppo.protocol.recurrent_state import frames_leaf, with_state
from dppo.protocol.specs import Leaf, Spec


def rollout_spec(spec: Spec, network: NetworkConfig) -> Spec:
    """Return what rollouts of these spaces hold: with the state of a memory, and with the frames before the first."""
    return with_state(spec, network.state_size, frames_before(spec, network))


def frames_before(spec: Spec, network: NetworkConfig) -> tuple[Leaf, ...]:
    """Return a leaf of frames before an observation for each leaf that is stacked. Raises UsageError as `stacked`."""
    return tuple(frames_leaf(leaf, network.frame_stack - 1) for leaf in stacked(spec, network))


def stacked(spec: Spec, network: NetworkConfig) -> list[Leaf]:
    """Return the leaves of which the policy sees the newest network.frame_stack frames: all images.

    Raises UsageError where frames are to be stacked and there are no images.
    """
    if network.frame_stack == 1:
        return []
    images = images_of(spec, network)
    if not images:
        raise UsageError(
            f"network.frame_stack={network.frame_stack} stacks images that a convolutional network encodes, and there "
            f"are none: {_advice(spec, network)}"
        )
    return [leaf for leaf in spec.observation if leaf.name in images]


def stacked_leaf(leaf: Leaf, frames: int) -> Leaf:
    """Return the leaf as the encoder gets it: [frames, *shape], the newest one last."""
    return msgspec.structs.replace(leaf, shape=(frames, *leaf.shape))


def _advice(spec: Spec, network: NetworkConfig) -> str:
    for leaf in spec.observation:
        picture = picture_of(leaf, network.image_channels)
        if picture is not None and not is_own(network.encoder):
            side = min(picture.height, picture.width)
            fitting = [cnn for cnn, smallest in SMALLEST.items() if side >= smallest]
            if fitting:
                size = f"{picture.height} x {picture.width} pixels"
                return f"{leaf.name} of {size} is taken as numbers: choose --network.encoder {fitting[-1]}"
    return (
        "leaves of uint8 with two or three dimensions are images; gymnasium.wrappers.FrameStackObservation "
        "(env.wrappers) stacks whatever an environment observes"
    )
