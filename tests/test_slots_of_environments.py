"""A port for each environment, across real processes: training, evaluation, an actor that is killed."""

from collections.abc import Iterator

import psutil
import pytest
from processes import Place

pytestmark = pytest.mark.slow

SIMULATOR = """
import os, socket, time
import gymnasium as gym
import numpy as np


class Sim(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, port, gate=""):
        self.gate = gate
        self.server = socket.create_server(("127.0.0.1", port))
        assert port == 23000 + int(os.environ["DPPO_SLOT"]), os.environ["DPPO_SLOT"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        if self.gate and not os.path.exists(self.gate):
            time.sleep(0.01)
        self.t += 1
        return np.zeros(2, np.float32), float(action), False, self.t >= 20, {}

    def close(self):
        self.server.close()


gym.register("Sim-v0", entry_point=Sim)
"""
ARGUMENTS = ("--env", "sim:Sim-v0", "--run.total-steps", "4000", "--run.directory", "run", "--evaluation-episodes", "3")


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        (made.path / "sim.py").write_text(SIMULATOR)
        yield made


@pytest.mark.parametrize("how", [("--actors", "0"), ("--actors", "2"), ("--env.vectorization", "async")], ids=" ".join)
def test_every_environment_has_a_port_of_its_own(place: Place, how: tuple[str, ...]) -> None:
    command = place.start(
        "train", *ARGUMENTS, "--env.kwargs", '{"port": "{23000+slot}"}', "--collect.envs-per-actor", "3", *how
    )
    place.ends(command, code=0)
    assert "policy version" in command.said()
    place.leaves_nothing()


def test_an_actor_that_replaces_a_killed_one_takes_over_its_ports(place: Place) -> None:
    gate = place.path / "gate"
    kwargs = f'{{"port": "{{23000+slot}}", "gate": "{gate}"}}'
    command = place.start("train", *ARGUMENTS, "--env.kwargs", kwargs, "--collect.envs-per-actor", "3", "--actors", "2")
    place.until(
        lambda: "update 1" in command.said() or command.said().count("joined with") == 2, "work", during=command
    )
    psutil.Process(command.actors()["actor-0"]).kill()
    place.until(lambda: "actor-0 is back" in command.said(), "another one", during=command)
    gate.write_text("")
    place.ends(command, code=0)
    place.leaves_nothing()
