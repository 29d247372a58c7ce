"""Masks of actions: from the flat one that is carried to one for each choice, and logits under it. Knows PyTorch.

A forbidden choice has probability 0 exactly, and a log-prob that is finite, so that its products are 0 and no gradient
flows. All other log-probs are those of the legal choices alone.
"""

import math

import torch
from torch import Tensor, nn

from dppo.learner.models.action_layout import ActionLayout
from dppo.learner.models.distributions import PADDING, Categorical, Distribution, Joint, MultiCategorical
from dppo.protocol.errors import UsageError


class MaskLayout(nn.Module):
    """Places of the flags of a flat mask among the choices of a policy; a choice that an element lacks is forbidden."""

    place: Tensor | None
    present: Tensor | None

    def __init__(self, layout: ActionLayout) -> None:
        super().__init__()
        self.shape = (layout.most,) if layout.kind == "categorical" else (len(layout.choices), layout.most)
        place = present = None
        if min(layout.choices) < layout.most:
            counts = torch.tensor(layout.choices).unsqueeze(-1)
            choices = torch.arange(layout.most)
            present = choices < counts
            place = torch.where(present, counts.cumsum(0) - counts + choices, 0).reshape(-1)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("present", present, persistent=False)

    def forward(self, mask: Tensor) -> Tensor:
        """Flags of the choices that are legal, bool [N, k, m], of one Discrete [N, m]; mask: bool [N, size]."""
        if self.place is None or self.present is None:
            return mask.reshape(-1, *self.shape)
        return mask.index_select(1, self.place).reshape(-1, *self.shape) & self.present


def masked(distribution: Distribution, legal: Tensor) -> Distribution:
    """The distribution of the legal choices alone. Raises UsageError for a record that is none of `distributions`.

    Where forbidden choices are likelier by far than all legal ones, less exact than a mask on logits.
    """
    if isinstance(distribution, Categorical | MultiCategorical):
        return type(distribution)(masked_log_probs(distribution.log_probs, legal))
    if isinstance(distribution, Joint):
        return distribution._replace(choices=MultiCategorical(masked_log_probs(distribution.choices.log_probs, legal)))
    raise UsageError(
        f"this run masks actions, and network.head gave a {type(distribution).__name__}: return a Categorical, "
        "MultiCategorical or Joint of dppo.networks, or set env.action_mask: none"
    )


def masked_log_probs(logits: Tensor, legal: Tensor) -> Tensor:
    """Log-probs [..., m] of the legal choices among each other; of each row at least one is legal."""
    return torch.where(legal, logits, -math.inf).log_softmax(-1).clamp_min(PADDING)
