"""What a resumed run takes from its settings and what from its checkpoint."""

from dataclasses import replace
from typing import Literal

import pytest

from dppo.learner.config import PpoConfig
from dppo.learner.ppo.schedules import Schedules

KL = PpoConfig(learning_rate=1e-3, learning_rate_schedule="kl")
PENALTY = PpoConfig(surrogate="kl_penalty", kl_coefficient=0.5)


def resumed(written: PpoConfig, now: PpoConfig, kls: tuple[float, ...] = ()) -> Schedules:
    before = Schedules(written, 1000)
    for kl in kls:
        before.set_for(0)
        before.adapt_to(kl)
    after = Schedules(now, 1000)
    after.load(before.counters() | before.settings())
    after.set_for(500)
    return after


@pytest.mark.parametrize("schedule", ["constant", "linear", "kl"])
def test_a_changed_learning_rate_is_used(schedule: Literal["constant", "linear", "kl"]) -> None:
    written = PpoConfig(learning_rate=1e-3, learning_rate_schedule=schedule)
    after = resumed(written, replace(written, learning_rate=1e-5), kls=(1e-9, 1e-9))
    assert after.learning_rate == pytest.approx(0.5e-5 if schedule == "linear" else 1e-5)
    assert after.critic_learning_rate == after.learning_rate


def test_an_adapted_rate_goes_on_from_where_it_was() -> None:
    assert resumed(KL, KL, kls=(1e-9, 1e-9)).learning_rate == pytest.approx(1e-3 * 1.5**2)


def test_an_adapted_rate_does_not_outlive_its_schedule() -> None:
    constant = replace(KL, learning_rate_schedule="constant")
    assert resumed(KL, constant, kls=(1e-9,)).learning_rate == 1e-3


def test_the_penalty_goes_on_unless_its_setting_changed_and_obeys_new_limits() -> None:
    assert resumed(PENALTY, PENALTY, kls=(1.0,)).kl_coefficient == 1.0
    assert resumed(PENALTY, replace(PENALTY, kl_coefficient=0.1), kls=(1.0,)).kl_coefficient == 0.1
    assert resumed(PENALTY, replace(PENALTY, kl_coefficient_max=0.75), kls=(1.0,)).kl_coefficient == 0.75


def test_a_changed_clip_range_and_critic_rate_are_used() -> None:
    now = PpoConfig(clip_range=0.1, critic_learning_rate=7e-4)
    after = resumed(PpoConfig(), now)
    assert (after.clip_range, after.critic_learning_rate) == (0.1, 7e-4)


def test_a_checkpoint_without_the_settings_goes_on() -> None:
    after = Schedules(KL, 1000)
    after.load({"learning_rate": 5e-4})
    assert after.learning_rate == 5e-4


def test_the_entropy_bonus_falls_in_a_line_whatever_was_before() -> None:
    ppo = PpoConfig(entropy_coefficient=0.02, entropy_schedule="linear")
    assert resumed(ppo, ppo).entropy_coefficient == pytest.approx(0.01)
    assert resumed(ppo, replace(ppo, entropy_schedule="constant")).entropy_coefficient == 0.02
