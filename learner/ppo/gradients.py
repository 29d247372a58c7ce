"""The protocol of gradients of PPO's loss on one minibatch. Knows rows; knows no networks and no optimizer.

    policy's loss = -surrogate + KL loss - entropy_coefficient * entropy
    critic's loss = value_coefficient * value loss

`gradients_autograd` works for every network; `gradients_analytic` is the same for perceptrons, several times faster.
Each network has its gradient by itself, but for an encoder with parameters that both share: it gets those of both.
"""

from typing import NamedTuple, Protocol

from torch import Tensor

from dppo.learner.ppo.rows import Rows


class Outputs(NamedTuple):
    """Outputs of the networks for the rows, written in place so that metrics can wait for the epoch."""

    log_probs: Tensor  # [n]
    values: Tensor  # [n], normalised
    entropies: Tensor  # [n]
    kls: Tensor  # [n] KL(old || new); left alone where there is no KL penalty


class KlPenalty(NamedTuple):
    """Arguments of losses.kl_loss; move from update to update."""

    coefficient: float
    hinge: float
    hinge_from: float


class Gradients(Protocol):
    """Fills the gradients of one network's parameters (overwriting) and its part of `outputs` from `rows`."""

    entropy_coefficient: float  # moves from update to update

    def both(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """Rows and outputs of one minibatch, n each: of both networks, and of an encoder that they share."""

    def policy(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """Rows and outputs of one minibatch, n each."""

    def critic(self, rows: Rows, outputs: Outputs) -> None:
        """Rows and outputs of one minibatch, n each."""
