"""Leaves of observations that are images: their axes, and the encoder that they get. Knows settings; knows no torch."""

import math
from typing import Literal, NamedTuple

from dppo.learner.network_config import NetworkConfig, is_own
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Leaf, Spec

Cnn = Literal["nature_cnn", "impala_cnn"]

SMALLEST: dict[Cnn, int] = {"nature_cnn": 36, "impala_cnn": 8}  # pixels of height and width that layers leave one of
FEATURES: dict[Cnn, int] = {"nature_cnn": 512, "impala_cnn": 256}
NAMES: dict[Cnn, str] = {"nature_cnn": "the Nature CNN", "impala_cnn": "IMPALA's residual CNN"}


class Picture(NamedTuple):
    """Axes of an image leaf."""

    channels: int
    height: int
    width: int
    channels_last: bool


def picture_of(leaf: Leaf, order: Literal["auto", "first", "last"]) -> Picture | None:
    """Return the axes of a leaf of bytes with two or three dimensions, None of all others.

    Height and width are neighbours; auto takes the pair that is nearest to a square, and of two alike the first one.
    """
    if leaf.kind != "box" or leaf.dtype != "|u1" or len(leaf.shape) not in (2, 3):
        return None
    if len(leaf.shape) == 2:
        return Picture(1, *leaf.shape, channels_last=False)
    first, middle, last = leaf.shape
    if order == "last" or (order == "auto" and _stretch(first, middle) <= _stretch(middle, last)):
        return Picture(last, first, middle, channels_last=True)
    return Picture(first, middle, last, channels_last=False)


def _stretch(height: int, width: int) -> float:
    return max(height, width) / min(height, width)


def cnn_of(leaf: Leaf, network: NetworkConfig) -> Cnn | None:
    """Return the built-in encoder of an image leaf, None of a leaf that is taken as numbers."""
    picture = picture_of(leaf, network.image_channels)
    if picture is None or network.encoder == "flat" or network.policy or is_own(network.encoder):
        return None
    wanted = _wanted(network)
    return wanted if min(picture.height, picture.width) >= SMALLEST[wanted] else None


def _wanted(network: NetworkConfig) -> Cnn:
    return "impala_cnn" if network.encoder == "impala_cnn" else "nature_cnn"


def images_of(spec: Spec, network: NetworkConfig) -> dict[str, Cnn]:
    """Return the encoders of a spec's image leaves, by the leaves' names.

    A user's own encoder counts as nature_cnn: its images stay bytes too, and it makes about as many features.
    """
    if network.policy or is_own(network.encoder):
        return {leaf.name: "nature_cnn" for leaf in spec.observation if picture_of(leaf, "auto") is not None}
    encoders = {leaf.name: cnn_of(leaf, network) for leaf in spec.observation}
    return {name: cnn for name, cnn in encoders.items() if cnn is not None}


def check_images(spec: Spec, network: NetworkConfig) -> None:
    """Raise UsageError where the settings name an encoder of images, and it suits no leaf of the observation."""
    if network.encoder not in SMALLEST or images_of(spec, network):
        return
    smallest = SMALLEST[_wanted(network)]
    for leaf in spec.observation:
        if picture := picture_of(leaf, network.image_channels):
            side = min(picture.height, picture.width)
            instead = "impala_cnn or flat" if side >= SMALLEST["impala_cnn"] else "flat"
            raise UsageError(
                f"network.encoder={network.encoder} takes images of {smallest} x {smallest} pixels and more, and "
                f"{leaf.name} has {picture.height} x {picture.width}: choose {instead}"
            )
    shapes = ", ".join(f"{leaf.name} {leaf.shape} of {leaf.dtype[1:]}" for leaf in spec.observation[:4])
    raise UsageError(
        f"network.encoder={network.encoder} is for images, leaves of uint8 with two or three dimensions, and there "
        f"is none ({shapes}): choose flat, or make images of bytes"
    )


def described(leaf: Leaf, network: NetworkConfig) -> str:
    """Return a line on the encoder of an image leaf, "" for a leaf that is taken as numbers without being asked."""
    cnn, picture = cnn_of(leaf, network), picture_of(leaf, network.image_channels)
    if picture is None or (cnn is None and network.encoder not in SMALLEST):
        return ""
    if cnn is None:
        smallest = SMALLEST[_wanted(network)]
        return (
            f"{leaf.name}: {picture.height} x {picture.width} pixels go into a perceptron as numbers: "
            f"{NAMES[_wanted(network)]} takes {smallest} x {smallest} and more"
        )
    order = f", channels {'last' if picture.channels_last else 'first'}" if len(leaf.shape) == 3 else ""
    chosen = "; others: --network.encoder" if network.encoder == "auto" else ""
    frames = f", the newest {network.frame_stack} of them" if network.frame_stack > 1 else ""
    return (
        f"{leaf.name}: images of {picture.height} x {picture.width} pixels with {picture.channels} "
        f"channel{'s' if picture.channels > 1 else ''}{order}{frames}, encoded by {NAMES[cnn]}{chosen}"
    )


def cnn_weights(leaf: Leaf, network: NetworkConfig) -> int:
    """Return about how many weights the encoder of an image leaf has, 0 for a leaf that gets none."""
    cnn, picture = cnn_of(leaf, network), picture_of(leaf, network.image_channels)
    if cnn is None or picture is None:
        return 0
    cut, channels = (28, 64) if cnn == "nature_cnn" else (0, 32)  # lost to borders; of the last convolution
    places = math.ceil((picture.height - cut) / 8) * math.ceil((picture.width - cut) / 8)
    return places * channels * FEATURES[cnn] + 2_000 * picture.channels * network.frame_stack + 90_000
