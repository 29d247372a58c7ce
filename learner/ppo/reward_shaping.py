"""The rewards that are trained on, from those that the environment paid. A pure function of arrays."""

import numpy as np


def rewards_to_train_on(
    rewards: np.ndarray,
    terminated: np.ndarray,
    *,
    offset: float,
    scale: float,
    terminal: float | None,
) -> np.ndarray:
    """(r + offset) * scale, [T, E] float32, where a step that terminates its episode has r = terminal (None: as paid).

    rewards [T, E] float32; terminated [T, E] bool. A truncated step keeps its reward: its episode did not end there.
    """
    if terminal is not None:
        rewards = np.where(terminated, np.float32(terminal), rewards)
    if offset == 0.0 and scale == 1.0:
        return rewards
    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and what is infinite is cut where it is used
        scaled: np.ndarray = (rewards + np.float32(offset)) * np.float32(scale)
    return scaled
