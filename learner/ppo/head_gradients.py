"""The gradient of the policy's loss by the outputs of its last layer, written out. Knows distributions and losses;
knows no layers.

With w = d loss / d log pi of a row, from the surrogate, and v = d loss / d KL of a row, from the KL penalty, both as by
`AutogradGradients`, which the tests compare all of this to.
"""

from typing import Protocol

import torch
from torch import Tensor

from dppo.learner.models.distributions import HALF_LOG_TWO_PI
from dppo.learner.models.heads import GaussianHead
from dppo.learner.models.masking import masked_log_probs
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.losses import kl_loss_gradient
from dppo.learner.ppo.rows import Rows


class HeadGradient(Protocol):
    """One kind of distribution."""

    entropy_coefficient: float

    def __call__(self, outputs: Tensor, rows: Rows, results: Outputs, penalty: KlPenalty | None) -> Tensor:
        """The gradient d loss / d outputs [n, o]; writes log_probs, entropies and kls. May use the outputs' memory."""


class FreeGaussianGradient:
    """A std that is the same in every state, and no output: its gradient goes straight to its place.

    With z = (a - mean) / std: d / d mean = w z / std, d / d log_std = sum of w (z^2 - 1) - entropy_coefficient. The KL
    adds v (mean - old mean) / std^2 and sum of v (1 - (old std^2 + (mean - old mean)^2) / std^2).
    """

    def __init__(self, head: GaussianHead, log_std: Tensor, gradient: Tensor, entropy_coefficient: float) -> None:
        self._head, self._log_std, self._log_std_gradient = head, log_std, gradient
        self.entropy_coefficient = entropy_coefficient

    def __call__(self, outputs: Tensor, rows: Rows, results: Outputs, penalty: KlPenalty | None) -> Tensor:
        """See HeadGradient."""
        mean = self._head.distribution(outputs, self._log_std).mean
        precision = (-self._log_std).exp_()
        z = (rows.actions - mean).mul_(precision)
        squares = z.square()
        log_stds = self._log_std.sum()
        actions = self._log_std.size(0)
        constant = actions * HALF_LOG_TWO_PI
        torch.add(-(log_stds + constant), squares.sum(-1), alpha=-0.5, out=results.log_probs)
        results.entropies.copy_(log_stds + (constant + 0.5 * actions))
        weights = _log_prob_gradient(rows, results)
        torch.mv(squares.t(), weights, out=self._log_std_gradient)
        self._log_std_gradient.sub_(weights.sum()).sub_(self.entropy_coefficient)
        gradient = z.mul_(weights.unsqueeze(-1)).mul_(precision)
        if penalty is not None:
            old_mean, old_log_std = rows.old.chunk(2, -1)
            moved = (mean - old_mean).mul_(precision)  # in stds
            spread = (old_log_std - self._log_std).mul_(2.0).exp_().addcmul_(moved, moved)
            weight = _kl_gradient(self._log_std - old_log_std, spread, results, penalty)
            self._log_std_gradient.add_((1.0 - spread).sum(0).mul_(weight))
            gradient.add_(moved.mul_(precision).mul_(weight))
        return self._head.mean_gradient(gradient, mean)


class StateGaussianGradient:
    """A std that is an output too: as FreeGaussianGradient, row by row."""

    def __init__(self, head: GaussianHead, entropy_coefficient: float) -> None:
        self._head, self.entropy_coefficient = head, entropy_coefficient

    def __call__(self, outputs: Tensor, rows: Rows, results: Outputs, penalty: KlPenalty | None) -> Tensor:
        """See HeadGradient."""
        mean, log_std = self._head.distribution(outputs, None)
        std = log_std.exp()
        z = (rows.actions - mean).div_(std)
        squares, log_stds, constant = z.square(), log_std.sum(-1), log_std.shape[-1] * HALF_LOG_TWO_PI
        torch.add(log_stds, constant + 0.5 * log_std.shape[-1], out=results.entropies)
        torch.add(log_stds, squares.sum(-1), alpha=0.5, out=results.log_probs).add_(constant).neg_()
        weights = _log_prob_gradient(rows, results).unsqueeze(-1)
        mean_gradient = z.mul_(weights).div_(std)
        std_gradient = squares.sub_(1.0).mul_(weights)
        if self.entropy_coefficient:
            std_gradient.sub_(self.entropy_coefficient / len(std))
        if penalty is not None:
            old_mean, old_log_std = rows.old.chunk(2, -1)
            moved = (mean - old_mean).div_(std)
            spread = (old_log_std - log_std).mul_(2.0).exp_().addcmul_(moved, moved)
            weight = _kl_gradient(log_std - old_log_std, spread, results, penalty)
            std_gradient.add_((1.0 - spread).mul_(weight))
            mean_gradient.add_(moved.div_(std).mul_(weight))
        return torch.cat(
            [self._head.mean_gradient(mean_gradient, mean), self._head.std_gradient(std_gradient, std)], -1
        )


class CategoricalGradient:
    """Gradient by logits: w (onehot(a) - p) + c p (log p + H) / n, entropy coefficient c; the KL adds v (p - old p).

    Of a forbidden choice all of these are 0.
    """

    def __init__(self, entropy_coefficient: float) -> None:
        self.entropy_coefficient = entropy_coefficient

    def __call__(self, outputs: Tensor, rows: Rows, results: Outputs, penalty: KlPenalty | None) -> Tensor:
        """See HeadGradient."""
        log_probs = outputs.log_softmax(-1) if rows.legal is None else masked_log_probs(outputs, rows.legal)
        choices = rows.actions.unsqueeze(-1)
        results.log_probs.copy_(log_probs.gather(-1, choices).squeeze(-1))
        probs = log_probs.exp()
        torch.sum(probs * log_probs, -1, out=results.entropies).neg_()
        weights = _log_prob_gradient(rows, results).unsqueeze(-1)
        towards_old = None
        if penalty is not None:
            old_probs = rows.old.exp()
            torch.sum((rows.old - log_probs).mul_(old_probs), -1, out=results.kls)
            towards_old = (probs - old_probs).mul_(_row_weight(results, penalty))
        if self.entropy_coefficient:
            log_probs.add_(results.entropies.unsqueeze(-1)).mul_(self.entropy_coefficient / rows.actions.size(0))
            gradient = probs.mul_(log_probs.sub_(weights))
        else:
            gradient = probs.mul_(-weights)
        gradient.scatter_add_(-1, choices, weights)
        return gradient if towards_old is None else gradient.add_(towards_old)


def _log_prob_gradient(rows: Rows, results: Outputs) -> Tensor:
    """d(-surrogate) / d(log pi), [n]: -r A / n, and 0 where a clip bites."""
    products = (results.log_probs - rows.old_log_probs).exp_().mul_(rows.advantages)
    beyond = products > rows.limits
    if rows.floors is not None:
        beyond.logical_or_(products < rows.floors)
    return products.masked_fill_(beyond, 0.0).mul_(-1.0 / products.size(0))


def _kl_gradient(growth: Tensor, spread: Tensor, results: Outputs, penalty: KlPenalty) -> Tensor:
    """The KL of Gaussians: sum of growth + (spread - 1) / 2, where growth is log(std / old std) [n, a] (overwritten)
    and spread (old std^2 + (mean - old mean)^2) / std^2. Returns the weight v of a row's gradient, [].
    """
    torch.sum(growth.add_(spread, alpha=0.5).sub_(0.5), -1, out=results.kls)
    return _row_weight(results, penalty)


def _row_weight(results: Outputs, penalty: KlPenalty) -> Tensor:
    """The gradient v = d loss / d KL of a row, []."""
    return kl_loss_gradient(results.kls.mean(), *penalty).div_(len(results.kls))
