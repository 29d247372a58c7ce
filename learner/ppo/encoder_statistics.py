"""Statistics of encoders, from the moments of what was observed. Knows encoders and moments; knows no training."""

import numpy as np
import torch
from torch import nn

from dppo.learner.models.encoders import LARGEST_FEATURE, UNNORMALISED_CLIP, LeafEncoder, leaf_encoders
from dppo.learner.ppo.normalisation import EPSILON, Moments
from dppo.learner.ppo.outliers import scale_of
from dppo.learner.ppo.reduce import Reduce
from dppo.learner.ppo.running_moments import RunningMoments

LIMITS = ("low", "high")  # buffers that follow from the moments also where nothing is normalised


def moments_for(encoder: nn.Module, features: int, reduce: Reduce | None) -> Moments:
    """Moments of the leaves that the encoder measures, side by side; where there are none, moments that stay empty.

    features: of all of the encoder.
    """
    measured = [part for part in leaf_encoders(encoder) if part.measured]
    width = sum(part.features for part in measured) if measured else features
    return Moments(width, [part.leaf for part in measured], reduce)


def encode_by(moments: RunningMoments, encoder: nn.Module) -> None:
    """Show the next version's observations as the moments [f] are now."""
    first = 0
    for part in leaf_encoders(encoder):
        if not part.measured:
            continue
        those = slice(first, first + part.features)
        first += part.features
        if part.normalise:
            part.mean.copy_(torch.from_numpy(moments.mean[those]))
            part.scale.copy_(torch.from_numpy(moments.scale(EPSILON)[those]))
        elif moments.count:
            scale = scale_of(moments, moments.mean)._replace(believed=UNNORMALISED_CLIP)
            for name, limit in zip(LIMITS, scale.limits(), strict=True):
                getattr(part, name).copy_(torch.from_numpy(np.clip(limit[those], -LARGEST_FEATURE, LARGEST_FEATURE)))


def derived(encoder: nn.Module) -> set[str]:
    """Names of the buffers that follow from the moments, and are in no checkpoint."""
    parts = {name: part for name, part in encoder.named_modules() if isinstance(part, LeafEncoder) and part.limits}
    return {f"{name}.{limit}".lstrip(".") for name in parts for limit in LIMITS}
