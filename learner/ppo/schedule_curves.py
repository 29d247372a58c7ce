"""Schedules of learning rate and clip range during a run. Pure functions of plain numbers."""

KL_FACTOR = 1.5
KL_RATE_RANGE = (1e-6, 1e-2)  # rl_games' bounds


def linear(start: float, progress: float) -> float:
    """`start` at progress 0, falling in a line to 0 at progress 1 and staying there."""
    return start * max(0.0, 1.0 - progress)


def progress(steps_trained: int, total_steps: int) -> float:
    """The part of the run that is done, 0..1."""
    if total_steps <= 0:
        raise ValueError(f"total_steps={total_steps} must be above 0")
    return min(1.0, steps_trained / total_steps)


def kl_adapted_rate(learning_rate: float, kl: float, target_kl: float) -> float:
    """The next learning rate: /1.5 where the policy moved more than 2 * target, x1.5 where less than half of it.

    The rule is rl_games' AdaptiveScheduler (also RSL-RL's), applied once per update. A rate that the user set outside
    1e-6..1e-2 is not dragged into that range, it only cannot move further out.
    """
    lowest, highest = KL_RATE_RANGE
    if kl > 2.0 * target_kl:
        return min(learning_rate, max(learning_rate / KL_FACTOR, lowest))
    if kl < 0.5 * target_kl:
        return max(learning_rate, min(learning_rate * KL_FACTOR, highest))
    return learning_rate
