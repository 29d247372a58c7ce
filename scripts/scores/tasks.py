"""Tasks whose presets are measured, and published scores to compare with. Knows numbers and their sources only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Needs = Literal["", "Box2D", "mujoco"]
Way = Literal["most_likely", "sampled"]  # actions of an evaluation
TRAINING = "training"  # returns of training episodes, whose actions are sampled

ZOO = "[zoo](https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/benchmark.md)"
CLEANRL = "[CleanRL](https://docs.cleanrl.dev/rl-algorithms/ppo/)"
SLM = "[SLM-Lab](https://github.com/kengz/SLM-Lab/blob/master/docs/BENCHMARKS.md)"
TIANSHOU = "[Tianshou](https://github.com/thu-ml/tianshou/tree/master/examples/mujoco)"
BEST = "[the best possible](#the-best-possible)"


class Reference(NamedTuple):
    """Score to compare with: of most likely actions, unless it is of training."""

    score: float
    source: str  # Markdown
    conditions: str = ""  # version of the task where it is another one, steps, seeds; TRAINING

    @property
    def way(self) -> Way:
        """Return the evaluation of ours that it is compared with."""
        return "sampled" if self.conditions.endswith(TRAINING) else "most_likely"


@dataclass(frozen=True)
class Task:
    """Environment with a preset of its name."""

    references: tuple[Reference, ...]
    episodes: int = 100  # of each evaluation; more where a return is mostly luck
    needs: Needs = ""


TASKS: Mapping[str, Task] = {
    "CartPole-v1": Task((Reference(500.0, ZOO, "100,000 steps, 1 seed"),)),
    "Pendulum-v1": Task((Reference(-172.2, ZOO, "100,000 steps, 1 seed"),)),
    "Acrobot-v1": Task(
        (Reference(-73.5, ZOO, "1,000,000 steps, 1 seed"), Reference(-81.3, SLM, "300,000 steps, 4 seeds, training")),
    ),
    "MountainCar-v0": Task((Reference(-110.4, ZOO, "1,000,000 steps, 1 seed"),)),
    "MountainCarContinuous-v0": Task((Reference(88.3, ZOO, "20,000 steps, 1 seed"),)),
    "FrozenLake-v1": Task((Reference(0.744, BEST),), episodes=1000),
    "Taxi-v4": Task((Reference(7.93, BEST),), episodes=1000),
    "CliffWalking-v1": Task((Reference(-13.0, BEST),)),
    "Blackjack-v1": Task((Reference(-0.0431, BEST),), episodes=10_000),
    "InvertedPendulum-v5": Task(
        (
            Reference(1000.0, TIANSHOU, "v2, 1,000,000 steps, 10 seeds"),
            Reference(949.9, SLM, "4,000,000 steps, 4 seeds, training"),
        ),
        needs="mujoco",
    ),
    "InvertedDoublePendulum-v5": Task(
        (
            Reference(9231.0, TIANSHOU, "v2, 1,000,000 steps, 10 seeds"),
            Reference(8383.8, SLM, "10,000,000 steps, 4 seeds, training"),
        ),
        needs="mujoco",
    ),
    "Reacher-v5": Task((Reference(-5.03, SLM, "4,000,000 steps, 4 seeds, training"),), needs="mujoco"),
    "LunarLander-v3": Task(
        (
            Reference(242.1, ZOO, "v2, 1,000,000 steps, 1 seed"),
            Reference(183.3, SLM, "300,000 steps, 4 seeds, training"),
        ),
        needs="Box2D",
    ),
    "LunarLanderContinuous-v3": Task(
        (
            Reference(270.9, ZOO, "v2, 1,000,000 steps, 1 seed"),
            Reference(132.6, SLM, "300,000 steps, 4 seeds, training"),
        ),
        needs="Box2D",
    ),
    "Hopper-v5": Task((Reference(2382.9, CLEANRL, "v4, 1,000,000 steps, 3 seeds, training"),), needs="mujoco"),
}
