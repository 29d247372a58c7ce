"""Oddities of an environment reach the user once: from every vectorisation, also in one process."""

from pathlib import Path

import numpy as np
import pytest

from dppo.actor.envs.make import make_environments
from dppo.actor.envs.subprocess_workers import NOTES, take_notes
from dppo.cli import main
from dppo.protocol.messages import EnvSettings

ODD = "odd_env:Odd-v0"
TEXT = "step() returns observations of dtype float64 where the space says float32: they are rounded to float32"


@pytest.mark.parametrize("vectorization", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_a_note_reaches_the_actor_once(vectorization: str) -> None:
    notes: list[str] = []
    environments = make_environments(EnvSettings(ODD, vectorization=vectorization), 2, note=notes.append)
    try:
        environments.reset([1, 2])
        for _ in range(12):  # episodes end in between, where infos lie elsewhere
            environments.step(np.zeros(2, np.int64))
    finally:
        environments.close()
    assert notes == [TEXT]


def test_notes_are_taken_out_of_the_infos_of_steps_and_of_episodes_that_ended() -> None:
    ended = {NOTES: np.array([None, "c"], object), f"_{NOTES}": np.array([False, True]), "speed": 1}
    infos = {NOTES: np.array(["a\nb", None], object), f"_{NOTES}": np.array([True, False]), "final_info": ended}
    assert take_notes(infos) == ["a", "b", "c"]
    assert infos == {"final_info": {"speed": 1}}
    assert take_notes(infos) == []


@pytest.mark.slow
@pytest.mark.parametrize(("kwargs", "text"), [("{}", TEXT), ("{raises: 40}", "failed in step: ValueError: the simul")])
def test_a_run_in_one_process_prints_each_line_about_its_environments_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kwargs: str, text: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the process that probes
    with pytest.raises(SystemExit) as end:
        main(
            [
                *("train", "--preset", "none", "--env", ODD, "--env.kwargs", kwargs, "--actors", "0"),
                *("--run.directory", str(tmp_path / "run"), "--run.total-steps", "128", "--collect.batch-steps", "64"),
                *("--collect.envs-per-actor", "1", "--ppo.minibatch-steps", "64", "--evaluation-episodes", "0"),
                *("--run.tensorboard", "false"),
            ]
        )
    said = "".join(capfd.readouterr())
    assert end.value.code == 0
    assert [line.startswith("actor-0: ") for line in said.splitlines() if text in line][:1] == [True]
    first = said.replace("; 10 times so far", "").count(text)
    assert first == 1 + (kwargs != "{}" and said.count("; 10 times so far"))
