"""A cue that is asked for at the end of an episode: learned with a memory, beside masks and nested observations."""

from pathlib import Path

import pytest

import dppo

STEPS = 30_000
CHANCE = 0.5  # of two legal actions one is right


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_cue_is_recalled_with_a_memory_and_not_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    means = {}
    for memory in ("gru", "none"):
        run = dppo.train(
            env={"id": "recall_env:Recall"},
            network={"memory": memory},
            ppo={"learning_rate": 0.002},
            actors=0,
            total_steps=STEPS,
            directory=f"runs/{memory}",
            seed=1,
            verbose=False,
        )
        means[memory] = dppo.evaluate(run.directory, episodes=60).mean
    assert means["gru"] > 0.95, means
    assert means["none"] < CHANCE + 0.2, means
