"""Linear schedules by steps trained, through any number of resumes and changes of the run's length."""

from dataclasses import fields, replace

import pytest
from trainer_batches import CONTINUOUS, PPO, SMALL, batch_for

from dppo.learner.ppo.trainer import Trainer
from dppo.learner.ppo_config import PpoConfig
from dppo.watch.curve_settings import SCHEDULES

STEPS = 3 * 8 * 4  # of a batch
LINEAR = replace(
    PPO,
    learning_rate_schedule="linear",
    clip_schedule="linear",
    entropy_schedule="linear",
    entropy_coefficient=0.1,
    critic_learning_rate=2e-3,
)


def trainer_for(total_steps: int) -> Trainer:
    return Trainer(CONTINUOUS, ppo=LINEAR, network=SMALL, seed=1, total_steps=total_steps)


def seen_after(trainer: Trainer, update: int) -> tuple[float, float, float, float]:
    report, pace = trainer.update(batch_for(trainer, update)), trainer._pace
    return report.learning_rate, report.clip_range, pace.entropy_coefficient, pace.critic_learning_rate


@pytest.mark.slow
@pytest.mark.parametrize("updates_of_a_learner", [1, 2])
def test_updates_have_the_rates_of_their_steps_whichever_learners_train_them(updates_of_a_learner: int) -> None:
    trainer = trainer_for(STEPS)
    lengths = [4, 4, 8, 8, 3]  # in batches: the run was made longer, then shorter
    for update, length in enumerate(lengths):
        if update % updates_of_a_learner == 0:
            tensors, counters = trainer.tensors(), trainer.counters()
            trainer = trainer_for(length * STEPS)
            trainer.load(tensors, counters)
        left = max(0.0, 1 - update / length)
        expected = (LINEAR.learning_rate, LINEAR.clip_range, 0.1, 2e-3)
        assert seen_after(trainer, update) == pytest.approx(tuple(left * start for start in expected))


def test_curves_tell_runs_of_any_schedule_apart_by_their_length() -> None:
    assert set(SCHEDULES) == {f"ppo.{each.name}" for each in fields(PpoConfig) if each.name.endswith("_schedule")}
