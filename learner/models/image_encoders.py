"""Encoders of images: the Nature CNN and IMPALA's residual CNN. Knows PyTorch and pictures; knows no training."""

import math

import torch
from torch import Tensor, nn

from dppo.learner.image_leaves import FEATURES, SMALLEST, Cnn, Picture
from dppo.learner.models.layers import Initialisation, initialised

WHITE = 255.0
SECTIONS = (16, 32, 32)  # channels of IMPALA's
BLOCKS = 2  # residual ones of each section
ROOT_TWO = math.sqrt(2)


class ImageEncoder(nn.Module):
    """Bytes [N, *shape] to features [N, f] float32, by way of [N, channels, height, width] from 0 to 1."""

    def __init__(
        self, picture: Picture, cnn: Cnn, *, initialisation: Initialisation, generator: torch.Generator, frames: int = 1
    ) -> None:
        """picture: of one frame. frames: how many of them there are, side by side as channels."""
        super().__init__()
        self.features = FEATURES[cnn]
        self.channels_last, self.is_stacked = picture.channels_last, frames > 1
        self.channels = picture.channels * frames
        make = _nature if cnn == "nature_cnn" else _impala
        self.layers = make(picture._replace(channels=self.channels), initialisation, generator)

    def forward(self, observation: Tensor) -> Tensor:
        """Features [N, f] of images [N, height, width], or with channels in the leaf's order, uint8.

        Stacked: [N, frames, ...].
        """
        if self.is_stacked:
            if self.channels_last:
                observation = observation.permute(0, 1, 4, 2, 3)
            if observation.dim() == 5:
                observation = observation.flatten(1, 2)
        elif observation.dim() == 3:
            observation = observation.unsqueeze(1)
        elif self.channels_last:
            observation = observation.permute(0, 3, 1, 2)
        features: Tensor = self.layers(observation.to(torch.float32) / WHITE)
        return features


def _nature(picture: Picture, initialisation: Initialisation, generator: torch.Generator) -> nn.Sequential:
    """Mnih et al. 2015 (Nature 518): 32 of 8 x 8 by 4, 64 of 4 x 4 by 2, 64 of 3 x 3, then 512.

    Their strides leave out pixels at the border, unless a side is 36, 44, 52, ... 84, ...: others get black borders.
    """
    channels, height, width = picture[:3]
    top, left = (-(side - SMALLEST["nature_cnn"]) % 8 for side in (height, width))
    borders = (left // 2, left - left // 2, top // 2, top - top // 2)
    layers: list[nn.Module] = [nn.ZeroPad2d(borders)] if any(borders) else []
    height, width = height + top, width + left
    for outputs, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        convolution = nn.Conv2d(channels, outputs, size, stride)
        layers += [initialised(convolution, initialisation, ROOT_TWO, generator), nn.ReLU()]
        channels, height, width = outputs, (height - size) // stride + 1, (width - size) // stride + 1
    linear = nn.Linear(channels * height * width, FEATURES["nature_cnn"])
    return nn.Sequential(*layers, nn.Flatten(), initialised(linear, initialisation, ROOT_TWO, generator), nn.ReLU())


def _impala(picture: Picture, initialisation: Initialisation, generator: torch.Generator) -> nn.Sequential:
    """Espeholt et al. 2018 (arXiv 1802.01561, figure 3 right): sections of a convolution, a pooling that halves height
    and width, and residual blocks; then 256.
    """
    layers: list[nn.Module] = []
    channels, height, width = picture[:3]
    for outputs in SECTIONS:
        convolution = nn.Conv2d(channels, outputs, 3, padding=1)
        layers += [initialised(convolution, initialisation, ROOT_TWO, generator), nn.MaxPool2d(3, 2, padding=1)]
        layers += [Residual(outputs, initialisation, generator) for _ in range(BLOCKS)]
        channels, height, width = outputs, (height + 1) // 2, (width + 1) // 2
    linear = nn.Linear(channels * height * width, FEATURES["impala_cnn"])
    end = (nn.ReLU(), nn.Flatten(), initialised(linear, initialisation, ROOT_TWO, generator), nn.ReLU())
    return nn.Sequential(*layers, *end)


class Residual(nn.Module):
    """x + convolution(relu(convolution(relu(x)))), 3 x 3 each.

    The second one begins smaller by the root of the number of blocks, so that the variance does not double in each.
    """

    def __init__(self, channels: int, initialisation: Initialisation, generator: torch.Generator) -> None:
        super().__init__()
        last_gain = ROOT_TWO / math.sqrt(BLOCKS * len(SECTIONS))
        self.first = initialised(nn.Conv2d(channels, channels, 3, padding=1), initialisation, ROOT_TWO, generator)
        self.second = initialised(nn.Conv2d(channels, channels, 3, padding=1), initialisation, last_gain, generator)

    def forward(self, images: Tensor) -> Tensor:
        """[N, channels, height, width] of the same."""
        added: Tensor = self.second(self.first(images.relu()).relu())
        return images + added
