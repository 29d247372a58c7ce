"""Earlier batches in a checkpoint: a learner that starts again looks back as far as the one before did."""

import math
from dataclasses import replace
from typing import Any

import pytest
from deep_state import deep_state
from msgspec import structs
from trainer_batches import CONTINUOUS, PPO, assert_bit_equal, batch_for, make_trainer

from dppo.learner.ppo import packed_rollouts
from dppo.learner.ppo.past import Past
from dppo.learner.ppo.stitching import assemble
from dppo.protocol.errors import ProtocolError


def test_a_restart_goes_on_with_earlier_batches_as_many_as_are_wanted_then(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(ppo=replace(PPO, reuse=3))
    for seed in range(3):
        trainer.update(batch_for(trainer, seed))
    saved = trainer.tensors(), trainer.counters(), trainer.past()
    batch = batch_for(trainer, 9)
    reused_steps = {}
    for reuse in (1, 2, 3, 4):
        resumed = make_trainer(ppo=replace(PPO, reuse=reuse))
        resumed.load(*saved)
        assert resumed.past() == (saved[2] if reuse >= 3 else resumed.past())
        reused_steps[reuse] = resumed.update(batch).reused_steps
        if reuse == 3:
            assert trainer.update(batch).reused_steps == reused_steps[reuse] == 192
            assert_bit_equal(trainer.tensors(), resumed.tensors())
    assert reused_steps == {1: pytest.approx(math.nan, nan_ok=True), 2: 96, 3: 192, 4: 192}
    monkeypatch.setattr(packed_rollouts, "MOST_BYTES", 100)
    assert trainer.past() == b"", "training does not wait for more than that"
    resumed.load(*saved[:2])
    assert math.isnan(resumed.update(batch).reused_steps)


def test_of_earlier_batches_the_newest_are_kept_and_those_with_other_metrics_too() -> None:
    before, after = (structs.replace(CONTINUOUS, metrics=metrics) for metrics in ((), ("a", "b")))
    trainer = make_trainer(before, ppo=replace(PPO, reuse=3))
    batches = [batch_for(trainer, seed) for seed in range(2)]
    for batch in batches:
        trainer.update(batch)
    resumed, expected = (make_trainer(after, ppo=replace(PPO, reuse=2)) for _ in range(2))
    resumed.load(trainer.tensors(), trainer.counters(), trainer.past())
    expected.load(trainer.tensors(), trainer.counters())
    expected._past.earlier.keep(assemble(batches[1]))
    for one in (resumed, expected):
        one.update(batch_for(trainer, 2))
    assert_bit_equal(resumed.tensors(), expected.tensors())


WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "earlier batches": {"reuse": 3},
    "an adaptive penalty": {"surrogate": "kl_penalty"},
    "a rate by the KL": {"learning_rate_schedule": "kl"},
    "scaled rewards": {"normalise_rewards": True},
    "a critic of its own pace": {"critic_learning_rate": 1e-3, "critic_epochs": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_one_update_after_a_restart_a_trainer_holds_all_that_one_without_a_restart_holds(way: str) -> None:
    """Not only the weights: what only a later update would read, too."""
    trainer, resumed = (make_trainer(ppo=replace(PPO, **WAYS[way])) for _ in range(2))
    for seed in range(4):
        trainer.update(batch_for(trainer, seed))
    resumed.load(trainer.tensors(), trainer.counters(), trainer.past())
    batch = batch_for(trainer, 9)
    for one in (trainer, resumed):
        one.update(batch)
    states = [dict(deep_state(one)) for one in (trainer, resumed)]
    assert len(states[0]) > 100
    assert states[0].keys() == states[1].keys()
    assert [name for name, value in states[0].items() if states[1][name] != value] == []


@pytest.mark.parametrize("content", [b"\xff", b"\x93\x01", b"\x81\xa1a\x01"])
def test_bytes_that_are_no_batches_are_named(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="rollouts of a checkpoint cannot be read"):
        Past(CONTINUOUS, 3).load(content)
