"""Outputs of a policy's last layer to a distribution, and the Gaussian's gradient back. Knows PyTorch; knows no layers.

    mean    = u, or mean_scale * tanh(u)
    std     = exp(log_std), the same in every state, or softplus(x) + std_floor
    alpha, beta = 1 + softplus(v), 1 + softplus(w)

where u, or u and x side by side, are the outputs of a Gaussian, v and w those of a Beta distribution. The way back is
written out for `gradients_analytic`, of Gaussians only.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from dppo.learner.models.action_layout import ActionLayout
from dppo.learner.models.beta import NOISE, Beta
from dppo.learner.models.distributions import Categorical, Distribution, Gaussian, Joint, MultiCategorical
from dppo.learner.models.exploration import Exploring, directions_of, log_std_of
from dppo.learner.models.masking import masked_log_probs
from dppo.learner.models.squashed_gaussian import SquashedGaussian

Mean = Literal["linear", "tanh"]
Std = Literal["free", "state"]


@dataclass(frozen=True)
class GaussianHead:
    """Meaning of the outputs of a Gaussian."""

    mean: Mean = "linear"
    mean_scale: float = 1.0  # of tanh
    std: Std = "free"
    std_floor: float = 1e-3  # of state
    noise_colour: float = 0.0  # 0: white
    noise_of_a_number: ClassVar[tuple[int, int]] = (1, 0)  # normal and Gumbel
    held_steps: ClassVar[int] = 1  # for which it stays the same

    def outputs(self, actions: int) -> int:
        """Return how many outputs a Gaussian of so many dimensions takes."""
        return 2 * actions if self.std == "state" else actions

    def distribution(self, outputs: Tensor, log_std: Tensor | None) -> Gaussian:
        """The Gaussian of outputs [N, self.outputs(a)]; log_std [a] where std is free."""
        if log_std is not None:
            return Gaussian(self._mean(outputs), log_std)
        u, x = outputs.chunk(2, -1)
        return Gaussian(self._mean(u), (torch.nn.functional.softplus(x) + self.std_floor).log())

    def starting_bias(self, log_std: float) -> float:
        """The x that gives this std. Raises ValueError where the floor is above it."""
        above = math.exp(log_std) - self.std_floor
        if above <= 0:
            raise ValueError(f"a std of {math.exp(log_std)} is not above std_floor={self.std_floor}")
        return above + math.log(-math.expm1(-above))  # log(exp(above) - 1), without the overflow

    def mean_gradient(self, gradient: Tensor, mean: Tensor) -> Tensor:
        """Map d loss / d mean [n, a] to d loss / d u, in place: times scale (1 - tanh^2) = scale - mean^2 / scale."""
        if self.mean == "linear":
            return gradient
        return gradient.mul_(mean.square().mul_(-1.0 / self.mean_scale).add_(self.mean_scale))

    def std_gradient(self, gradient: Tensor, std: Tensor) -> Tensor:
        """Map d loss / d log std [n, a] to d loss / d x, in place: times sigmoid(x) / std, where sigmoid(x) is
        1 - exp(-softplus(x)).
        """
        return gradient.mul_((self.std_floor - std).expm1_().neg_()).div_(std)

    def _mean(self, u: Tensor) -> Tensor:
        return u if self.mean == "linear" else self.mean_scale * u.tanh()


@dataclass(frozen=True)
class BetaHead:
    """Meaning of the outputs of a Beta distribution: alpha and beta are 1 + softplus of them, both 1.69 at 0."""

    noise_of_a_number: ClassVar[tuple[int, int]] = NOISE
    held_steps: ClassVar[int] = 1
    noise_colour: ClassVar[float] = 0.0

    def outputs(self, actions: int) -> int:
        """Return how many outputs a Beta distribution of so many dimensions takes."""
        return 2 * actions

    def distribution(self, outputs: Tensor, actions: int) -> Beta:
        """The Beta distribution of outputs [N, 2 actions]."""
        alpha, beta = (1.0 + torch.nn.functional.softplus(outputs)).chunk(2, -1)
        return Beta(alpha, beta, actions)


@dataclass(frozen=True)
class ExplorationHead:
    """Meaning of the outputs of a Gaussian that explores by the state: means, then the last hidden layer's outputs."""

    gaussian: GaussianHead  # with a free std
    hidden: int  # outputs of the last hidden layer
    held_steps: int  # for which the noise stays the same; 0: for an episode
    noise_colour: ClassVar[float] = 0.0

    @property
    def noise_of_a_number(self) -> tuple[int, int]:
        """Normal and Gumbel numbers of noise for each number of an action."""
        return self.hidden + 1, 0

    def outputs(self, actions: int) -> int:
        """Return how many outputs it takes for so many dimensions."""
        return actions + self.hidden

    def distribution(self, outputs: Tensor, log_std: Tensor, actions: int, squashed: Tensor | None) -> Exploring:
        """The distribution of outputs [N, actions + hidden]; log_std [hidden + 1, actions]."""
        directions = directions_of(outputs[:, actions:])
        numbers = self.gaussian.distribution(outputs[:, :actions], log_std_of(directions, log_std))
        size = (self.hidden + 1, actions)
        squashing = numbers if squashed is None else SquashedGaussian(numbers, squashed)
        return Exploring(squashing, directions, log_std.exp(), size)


NumbersHead = GaussianHead | BetaHead | ExplorationHead


class BesideHidden(nn.Linear):
    """Last layer whose outputs [N, o] have its inputs [N, h] between them, behind the first n."""

    def __init__(self, layer: nn.Linear, numbers: int) -> None:
        """layer: whose weights it has from now on. numbers: n."""
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias, self.numbers = layer.weight, layer.bias, numbers

    def forward(self, hidden: Tensor) -> Tensor:
        """Outputs [N, h + o] of the last hidden layer's [N, h]."""
        outputs = super().forward(hidden)
        return torch.cat([outputs[:, : self.numbers], hidden, outputs[:, self.numbers :]], 1)


class ActionHead(nn.Module):
    """Head of the built-in policies: outputs [N, inputs] of the body's last layer to a distribution over the action.

    Numbers come first, then a logit for each value of each choice.
    """

    padding: Tensor | None
    squashed: Tensor | None

    def __init__(
        self, layout: ActionLayout, numbers: NumbersHead, initial_log_std: float, *, squashes: bool = False
    ) -> None:
        """numbers: of all Box leaves. squashes: whether a tanh follows for numbers that have both bounds."""
        super().__init__()
        self.layout, self.of_numbers = layout, numbers
        self.numbers = numbers.outputs(layout.numbers)
        self.inputs = self.numbers + len(layout.choices) * layout.most
        stds: tuple[int, ...] = ()
        if layout.boxes and isinstance(numbers, GaussianHead) and numbers.std == "free":
            stds = (layout.numbers,)
        elif isinstance(numbers, ExplorationHead):
            stds = (numbers.hidden + 1, layout.numbers)
        # in a tuple, so that not this module registers it but the policy: checkpoints have it as policy.log_std
        self._log_std = (nn.Parameter(torch.full(stds, initial_log_std)) if stds else None,)
        squashed = torch.stack(layout.bounds()).isfinite().all(0) if squashes and layout.boxes else None
        self.register_buffer(
            "squashed", squashed.float() if squashed is not None and squashed.any() else None, persistent=False
        )
        if layout.chosen:
            self.register_buffer("padding", layout.padding(), persistent=False)

    @property
    def log_std(self) -> nn.Parameter | None:
        """[n] where the std is the same in every state, [h, n] of noise that depends on it; None of other heads."""
        return self._log_std[0]

    def forward(self, outputs: Tensor, legal: Tensor | None = None) -> Distribution:
        """The distribution at N observations; rows of actions as in ActionLayout. legal: as of MaskLayout."""
        if self.layout.kind == "categorical":
            return Categorical(outputs.log_softmax(-1) if legal is None else masked_log_probs(outputs, legal))
        if not self.layout.chosen:
            return self._numbers(outputs)
        choices = self._choices(outputs[:, self.numbers :], legal)
        if not self.layout.boxes:
            return choices
        numbers = self._numbers(outputs[:, : self.numbers])
        return Joint(numbers, choices, self.layout.numbers, self.layout.noise_of_numbers)

    def _numbers(self, outputs: Tensor) -> Gaussian | SquashedGaussian | Beta | Exploring:
        if isinstance(self.of_numbers, BetaHead):
            return self.of_numbers.distribution(outputs, self.layout.numbers)
        if isinstance(self.of_numbers, ExplorationHead):
            assert self.log_std is not None, "made with the head"
            return self.of_numbers.distribution(outputs, self.log_std, self.layout.numbers, self.squashed)
        gaussian = self.of_numbers.distribution(outputs, self.log_std)
        return gaussian if self.squashed is None else SquashedGaussian(gaussian, self.squashed)

    def _choices(self, outputs: Tensor, legal: Tensor | None) -> MultiCategorical:
        logits = outputs.reshape(-1, len(self.layout.choices), self.layout.most)
        if legal is not None:
            return MultiCategorical(masked_log_probs(logits, legal))
        return MultiCategorical((logits if self.padding is None else logits + self.padding).log_softmax(-1))
