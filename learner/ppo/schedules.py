"""Bounds on how far an update moves the networks: learning rates, clip range, entropy bonus, KL
coefficient, and their schedules.
Knows the settings; knows no networks and no batch.
"""

import math
from collections.abc import Mapping

from dppo.learner.ppo.adaptive_kl import adapted_coefficient
from dppo.learner.ppo.gradients import KlPenalty
from dppo.learner.ppo.schedule_curves import kl_adapted_rate, linear, progress
from dppo.learner.ppo_config import PpoConfig

HINGE_AT_TARGETS = 2.0  # Heess et al. 2017


class Schedules:
    """Schedules of the next update. Call `set_for` before each update, `adapt_to` after it."""

    def __init__(self, ppo: PpoConfig, total_steps: int) -> None:
        self._ppo, self._total_steps = ppo, total_steps
        self.learning_rate = ppo.learning_rate
        self.critic_learning_rate = ppo.critic_learning_rate or ppo.learning_rate
        self.clip_range = ppo.clip_range
        self.entropy_coefficient = ppo.entropy_coefficient
        self.clips = ppo.surrogate == "clip"
        self.penalises = ppo.surrogate == "kl_penalty"
        self.kl_coefficient = ppo.kl_coefficient if self.penalises else math.nan

    def set_for(self, steps_trained: int, mean_age: float = 1.0) -> None:
        """Follow the linear schedules to where the run is. mean_age: of the batches of the update, 1 for the new one:
        the clip range is divided by it.
        """
        ppo, done = self._ppo, progress(steps_trained, self._total_steps)
        if ppo.learning_rate_schedule == "linear":
            self.learning_rate = linear(ppo.learning_rate, done)
            self.critic_learning_rate = linear(ppo.critic_learning_rate, done)
        if not ppo.critic_learning_rate:
            self.critic_learning_rate = self.learning_rate
        self.clip_range = (linear(ppo.clip_range, done) if ppo.clip_schedule == "linear" else ppo.clip_range) / mean_age
        if ppo.entropy_schedule == "linear":
            self.entropy_coefficient = linear(ppo.entropy_coefficient, done)

    @property
    def penalty(self) -> KlPenalty | None:
        """Return the cost of KL(old || new); None with another surrogate."""
        if not self.penalises:
            return None
        return KlPenalty(self.kl_coefficient, self._ppo.kl_hinge, HINGE_AT_TARGETS * self._ppo.target_kl)

    def adapt_to(self, kl: float) -> None:
        """The update is done and has moved the policy so far, KL(old || new)."""
        ppo = self._ppo
        if ppo.learning_rate_schedule == "kl":
            self.learning_rate = kl_adapted_rate(self.learning_rate, kl, ppo.target_kl)
        if self.penalises:
            self.kl_coefficient = adapted_coefficient(
                self.kl_coefficient,
                kl,
                target=ppo.target_kl,
                factor=ppo.kl_factor,
                band_low=ppo.kl_band_low,
                band_high=ppo.kl_band_high,
                minimum=ppo.kl_coefficient_min,
                maximum=ppo.kl_coefficient_max,
            )

    def counters(self) -> dict[str, float]:
        """Return the numbers for a checkpoint that earlier updates have adapted."""
        penalty = {"kl_coefficient": self.kl_coefficient} if self.penalises else {}
        return {"learning_rate": self.learning_rate, **penalty}

    def settings(self) -> dict[str, float]:
        """Return the settings that the adapted numbers started from. A checkpoint of an older release lacks them."""
        penalty = {"kl_coefficient_setting": self._ppo.kl_coefficient} if self.penalises else {}
        return {"learning_rate_setting": self._ppo.learning_rate, **penalty}

    def load(self, counters: Mapping[str, int | float]) -> None:
        """Continue from there. A number that updates have adapted starts again where its setting has changed since;
        all others follow from the settings, whatever the checkpoint was written with.
        """
        ppo = self._ppo
        if ppo.learning_rate_schedule == "kl" and _unchanged(counters, "learning_rate_setting", ppo.learning_rate):
            self.learning_rate = float(counters["learning_rate"])
        if self.penalises and _unchanged(counters, "kl_coefficient_setting", ppo.kl_coefficient):
            kept = float(counters["kl_coefficient"])
            self.kl_coefficient = min(max(kept, ppo.kl_coefficient_min), ppo.kl_coefficient_max)


def _unchanged(counters: Mapping[str, int | float], name: str, setting: float) -> bool:
    return counters.get(name, setting) == setting
