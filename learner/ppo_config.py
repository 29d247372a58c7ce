"""Settings of the algorithm, checked when made. Knows names, ranges and defaults; knows no networks.

The text below a field is its help, as in `config`.
"""

from dataclasses import dataclass
from typing import Literal

from dppo.learner.setting_checks import ascending, at_least, at_most, positive
from dppo.protocol.errors import UsageError

MOST_EPOCHS = 1_000_000
MOST_REUSE = 64  # batches in memory; those of policies further away than reuse_kl are left out long before


@dataclass(frozen=True)
class PpoConfig:
    """The algorithm: PPO with GAE, clipped or with a KL penalty (Schulman et al. 2017, arXiv 1707.06347)."""

    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """GAE's lambda; 1 gives n-step returns to the end of the segment."""
    reward_offset: float = 0.0
    """Added to every reward that is trained on; reported returns stay what the environment paid."""
    reward_scale: float = 1.0
    """Rewards that are trained on are multiplied by this after the offset: (r + 8) / 8 is offset 8, scale 0.125."""
    normalise_rewards: bool = False
    """Divide rewards, after offset and scale, by the running standard deviation of discounted returns of the slots.
    """
    reward_clip: float = 0.0
    """Cut rewards that are trained on to +- this, after all that changes them; 10 is usual under normalise_rewards;
    0: not."""
    terminal_reward: float | None = None
    """Trained on in place of the reward of a step that terminates its episode, before offset and scale."""
    epochs: int = 10
    """Passes over a batch."""
    minibatch_steps: int = 256
    """Steps per optimizer step; a batch is split into nearly equal parts of about this size; 0 takes it whole."""
    learning_rate: float = 3e-4
    """Adam's learning rate at the start."""
    learning_rate_schedule: Literal["constant", "linear", "kl"] = "constant"
    """constant, linear (to 0 at run.total_steps), or kl (x1.5 when the update moved the policy by less than half of
    target_kl, /1.5 when by more than twice of it)."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon: 1e-5 as in the original PPO code, 1e-8 as in Adam's paper and in most libraries."""
    critic_learning_rate: float = 0.0
    """The critic's learning rate, with an Adam and a gradient norm of its own; 0: the policy's. The linear schedule
    moves both, the kl schedule the policy's only."""
    critic_epochs: int = 0
    """Passes that train the critic alone, with its own Adam, after the policy's epochs; 0 trains both in the same ones.
    """
    target_kl: float = 0.01
    """KL(old || new) per update that is aimed at: the kl schedule moves the learning rate by it and kl_penalty its
    coefficient, and the hinge of kl_penalty begins at twice of it. Stops nothing; that is early_stop_kl."""
    early_stop_kl: float = 0.0
    """Stop the epochs (the policy's, where the critic has its own) after one whose mean KL exceeds this; 0 never stops
    early. Each row counts as it was before its own optimizer step, so that with whole batches the stop comes one step
    late. kl_penalty and divergence_mask take the analytic KL, clip an estimate from samples."""
    early_stop_per: Literal["epoch", "minibatch"] = "epoch"
    """minibatch: stop before the optimizer step of the first minibatch whose mean KL exceeds early_stop_kl, not only
    after an epoch."""
    surrogate: Literal["clip", "kl_penalty", "divergence_mask"] = "clip"
    """Means to keep the new policy near the old one: clip the probability ratio; or add a penalty of kl_coefficient
    times the mean KL(old || new) to the loss; or mask the rows in whose state the policy has moved by more than
    divergence_limit, where they would move it further."""
    divergence: Literal["kl", "total_variation"] = "kl"
    """divergence_mask: by which distance of old and new policy, in closed form; total_variation for choices and at most
    one number (docs/options.md)."""
    divergence_limit: float = 0.05
    """divergence_mask: rows beyond this distance are masked."""
    clip_range: float = 0.2
    """clip: clipping of the probability ratio, 1 - clip_range .. 1 + clip_range."""
    dual_clip: float = 0.0
    """clip: where an advantage is negative, count a ratio above this as this, so that one old action that has become
    likely does not outweigh its batch; above 1, 3 is usual; 0: off."""
    clip_schedule: Literal["constant", "linear"] = "constant"
    """linear shrinks clip_range to 0 at run.total_steps."""
    kl_coefficient: float = 0.5
    """kl_penalty: the coefficient at the start. After an update whose KL was above kl_band_high x target_kl it is
    multiplied by kl_factor, after one below kl_band_low x target_kl divided."""
    kl_factor: float = 2.0
    """kl_penalty: by how much the coefficient moves; 1 leaves it alone."""
    kl_band_low: float = 1 / 1.5
    """kl_penalty: below this many times target_kl the coefficient falls."""
    kl_band_high: float = 1.5
    """kl_penalty: above this many times target_kl the coefficient rises."""
    kl_coefficient_min: float = 1e-4
    """kl_penalty: the coefficient falls no further."""
    kl_coefficient_max: float = 10.0
    """kl_penalty: the coefficient rises no further."""
    kl_hinge: float = 0.0
    """kl_penalty: weight of max(0, KL - 2 x target_kl)^2, which is added to the loss; 0 leaves it out."""
    correction: Literal["none", "decoupled", "vtrace"] = "none"
    """Correction for steps of older policies, under collect.max_staleness (docs/algorithms.md). none: ratios are to the
    policy that acted; decoupled: ratios are to the policy before the update, and steps weigh as that policy would have
    made them; vtrace: values and advantages are those of V-trace, ratios as in decoupled."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus."""
    entropy_schedule: Literal["constant", "linear"] = "constant"
    """linear shrinks entropy_coefficient to 0 at run.total_steps."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    value_clip_range: float = 0.0
    """Clip the critic's values to within this of what they were before the update, in units of its targets (stds of
    returns under normalise_values), and take the larger of both losses; 0: not clipped."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm; 0 leaves them alone."""
    normalise_advantages: Literal["batch", "minibatch", "none"] = "batch"
    """Over which set advantages get mean 0 and std 1."""
    recompute_advantages: bool = False
    """Judge the batch by the newest critic again before each epoch but the first: values, advantages, returns."""
    reuse: int = 1
    """Batches that an update trains on: the new one and those before it, corrected as in generalized PPO
    (docs/options.md), for simulators so slow that the learner is idle; 1: only the new one, as PPO does. An update
    takes as many times the memory. Earlier batches are not in checkpoints: after a restart the first updates have
    fewer."""
    reuse_kl: float = 0.1
    """reuse: an earlier batch is left out once the policy is further than this KL from the one that made it."""
    normalise_values: bool = True
    """Train the critic on returns scaled by their running mean and std."""

    def __post_init__(self) -> None:
        positive("ppo", self, "epochs", "learning_rate", "adam_epsilon", "target_kl", "clip_range", "reward_scale")
        positive("ppo", self, "divergence_limit", "reuse", "reuse_kl")
        at_least("ppo", self, 0, "early_stop_kl", "entropy_coefficient", "value_coefficient", "max_grad_norm")
        at_least("ppo", self, 0, "minibatch_steps", "critic_learning_rate", "critic_epochs", "kl_hinge", "kl_band_low")
        at_least("ppo", self, 0, "kl_coefficient_min", "value_clip_range", "reward_clip")
        at_least("ppo", self, 1, "kl_factor")
        ascending("ppo", self, "kl_band_low", "kl_band_high")
        ascending("ppo", self, "kl_coefficient_min", "kl_coefficient", "kl_coefficient_max")
        at_most("ppo", self, MOST_EPOCHS, "epochs", "critic_epochs")
        at_most("ppo", self, MOST_REUSE, "reuse")
        if self.dual_clip and not self.dual_clip > 1:
            raise UsageError(f"ppo.dual_clip={self.dual_clip} must be above 1, or 0 for none: choose for example 3")
        if self.dual_clip and self.surrogate != "clip":
            raise UsageError(
                f"ppo.dual_clip={self.dual_clip} bounds the clip, and ppo.surrogate={self.surrogate} clips none: "
                "leave out one"
            )
        if self.early_stop_per == "minibatch" and not self.early_stop_kl:
            raise UsageError("ppo.early_stop_per=minibatch needs a bound: set ppo.early_stop_kl, for example to 0.015")
        if self.reuse > 1 and self.against_reuse:
            raise UsageError(
                f"ppo.reuse={self.reuse} is PPO's clip around earlier policies, without {self.against_reuse[0]}: "
                "leave out one"
            )
        if self.recompute_advantages and self.critic_epochs:
            raise UsageError(
                f"ppo.recompute_advantages needs a critic that changes between the policy's epochs, and "
                f"ppo.critic_epochs={self.critic_epochs} trains it after them: leave out one"
            )
        if self.correction != "none" and self.recompute_advantages:
            raise UsageError(
                f"ppo.correction={self.correction} judges a batch by the policy before the update, and "
                "ppo.recompute_advantages judges it again while that moves: leave out one"
            )
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"ppo.{name}={getattr(self, name)} is outside 0..1: choose for example 0.99")

    @property
    def against_reuse(self) -> tuple[str, ...]:
        """Settings that have no meaning for batches of earlier policies."""
        others = {
            f"ppo.surrogate={self.surrogate}": self.surrogate != "clip",
            f"ppo.dual_clip={self.dual_clip:g}": bool(self.dual_clip),
            "ppo.recompute_advantages=true": self.recompute_advantages,
            "ppo.normalise_advantages=minibatch": self.normalise_advantages == "minibatch",
        }
        return tuple(name for name, is_set in others.items() if is_set)
