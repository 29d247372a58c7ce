"""Learner and actor die both: the ledger says what it knows, and how much there may be that nobody knows of."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Dppo, Place, RunFiles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ENVS, SEGMENT_STEPS = 3, 17
STEPS = '''
import os
import gymnasium as gym

class Steps(gym.Env):
    """Writes a byte for every step into a file, where no kill undoes it."""
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, file):
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._step = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        os.write(self._file, b".")
        self._step += 1
        return self.observation_space.sample(), 1.0, self._step % 23 == 0, False, {}

    def close(self):
        os.close(self._file)

gym.register("Steps-v0", Steps)
'''


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        (made.path / "steps.py").write_text(STEPS)
        yield made


def learner(place: Place) -> Dppo:
    return place.start(
        "learner",
        *("--env", "steps:Steps-v0", "--env.kwargs", json.dumps({"file": str(place.path / "made")})),
        *("--bind", f"ipc://{place.path}/socket", "--run.directory", "run", "--evaluation-episodes", "0"),
        *("--collect.batch-steps", "512", "--collect.envs-per-actor", str(ENVS), "--ppo.epochs", "1"),
        *("--collect.segment-steps", str(SEGMENT_STEPS), "--run.total-steps", "100000000"),
    )


def made(place: Place) -> int:
    file = place.path / "made"
    return file.stat().st_size if file.exists() else 0


def stands_still(place: Place) -> bool:
    before = made(place)
    time.sleep(1.0)
    return made(place) == before


def ledger(place: Place, run: Path) -> dict[str, int]:
    command = place.start("ledger", str(run), "--json")
    place.ends(command, code=0)
    total: dict[str, int] = json.loads(command.said())["total"]
    return total


def uses_up_its_credit(place: Place, learner: Dppo) -> None:
    """Stop the learner (SIGSTOP) where its actor acts: an actor that waits for a policy uses no credit."""

    def is_used_up() -> bool:
        learner.signal(signal.SIGSTOP)
        while not stands_still(place):
            pass
        if made(place) - ledger(place, place.path / "run")["sealed"] > 8 * ENVS * SEGMENT_STEPS:
            return True
        learner.signal(signal.SIGCONT)
        return False

    place.until(is_used_up, "its credit is used up", during=learner)


@pytest.mark.parametrize("killed_first", ["learner", "actor", "both at once"])
def test_made_is_sealed_and_unknown_and_what_was_open(place: Place, killed_first: str) -> None:
    run = RunFiles(place.path / "run")
    first = learner(place)
    actor = place.start("actor", "--learner", f"ipc://{place.path}/socket")
    place.until(lambda: run.updates() >= 3, "some updates", during=first)
    processes = [first, actor] if killed_first != "actor" else [actor, first]
    if killed_first == "learner":
        uses_up_its_credit(place, first)
    os.kill(processes[0].pid, signal.SIGKILL)
    os.kill(processes[1].pid, signal.SIGKILL)
    for process in processes:
        process.process.wait()
    total = ledger(place, place.path / "run")
    unknown, opened = total["unknown"], ENVS * SEGMENT_STEPS
    assert unknown >= 9 * opened - total["in_flight"]
    assert total["sealed"] <= made(place) <= total["sealed"] + unknown + opened
    if killed_first == "learner":  # all that credit allows was sealed, and nobody heard of it
        assert made(place) - total["sealed"] > 8 * opened
    again = learner(place)
    place.until(lambda: run.term() == 2, "the next one has it", during=again)
    place.until(lambda: "listening on" in again.said(), "it is ready", during=again)
    again.signal(signal.SIGTERM)
    place.ends(again, code=0)
    after = ledger(place, place.path / "run")
    assert (after["sealed"], after["unknown"]) == (total["sealed"], unknown)
    assert run.summary()["ledger"]["unknown"] == unknown
