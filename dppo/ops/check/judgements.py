"""Findings about what a play of random actions showed: observations, rewards, episodes. Pure."""

from collections.abc import Sequence

import numpy as np

from dppo.learner.config import LearnerConfig
from dppo.ops.check.random_play import LeafValues, Play
from dppo.ops.doctor.finding import Finding

FEW_STEPS = 200  # below, nothing is said about what never happened
LARGE = 100.0  # of an observation that nothing scales
HUGE = 1e6  # where float32 keeps less than a tenth
OFFSET = 1e5  # times its spread that an observation lies from 0: float32 has 7 digits
JUMP = 1e3  # times the usual range
GLITCH = 1e3  # times what 99 of 100 rewards stay below
LARGE_REWARD = 1e5
SMALL_REWARD = 1e-5
ROUND_LENGTH = 50  # of episodes: a limit rather than a task's own end
FAR = 20  # horizons of gamma within one episode
FAR_AND_SPARSE = 5  # likewise, where what pays comes at the end
SHOWN = 4  # elements named in a line


def judge(play: Play, config: LearnerConfig, limit: int | None = None) -> list[Finding]:
    """All findings of a play, wrong ones and right ones. limit: steps after which its id truncates episodes."""
    found = crashes(play)
    for values in play.leaves:
        found += observations(values, play, scaled=config.network.normalise_observations, is_all=len(play.leaves) == 1)
    return [*found, *rewards(play, config), *episodes(play, config, limit)]


def crashes(play: Play) -> list[Finding]:
    """Findings on what the environment raised, or returned against its own spaces."""
    once = dict.fromkeys(play.crashes)
    return [Finding("error", "steps", text, "An actor would make it again, and lose the episode.") for text in once]


def observations(values: LeafValues, play: Play, *, scaled: bool, is_all: bool) -> list[Finding]:
    """Numbers that never change, lie far from what a network takes, or jump.

    scaled: by running statistics. is_all: there is no other leaf.
    """
    leaf, name = values.leaf, values.leaf.name
    spread = values.high - values.low
    if not spread.any():
        if play.steps < FEW_STEPS:
            return []
        do = "Return what the task shows now." if is_all else "Fill it in, or leave it out."
        return [Finding("error" if is_all else "warning", name, f"is the same in all {play.steps:,} steps", do)]
    if leaf.kind != "box":
        return []
    found = []
    is_image = leaf.dtype == "|u1" and len(leaf.shape) >= 2
    still = np.flatnonzero(spread == 0)
    if len(still) and play.steps >= FEW_STEPS and not is_image:
        at = [f"[{number}] = {values.low[number] + 0.0:g}" for number in still]
        means = f"{len(still)} of {leaf.elements} numbers never change in {play.steps:,} steps: {_some(at)}"
        found.append(Finding("warning", name, means, "Fill them in, or leave them out."))
    found += _scale(values, spread, scaled=scaled or is_image)
    jumps = _jumps(values.rows)
    if jumps:
        do = "Look for a sensor that fails for a step; such rows are counted and bounded in training."
        found.append(Finding("warning", name, f"jumps to {_some(jumps)}, far outside of what is usual", do))
    return found


def _scale(values: LeafValues, spread: np.ndarray, *, scaled: bool) -> list[Finding]:
    leaf, name = values.leaf, values.leaf.name
    largest = np.maximum(np.abs(values.low), np.abs(values.high))
    if (offset := np.flatnonzero((spread > 0) & (largest > OFFSET * spread))).size:
        at = [f"[{number}] lies from {values.low[number]:.9g} to {values.high[number]:.9g}" for number in offset]
        return [Finding("warning", name, f"{_some(at)}: float32 has 7 digits", "Subtract what is constant.")]
    if scaled or leaf.dtype == "|u1" or largest.max() <= LARGE:
        return []
    at = [f"[{number}] up to {largest[number]:g}" for number in np.flatnonzero(largest > LARGE)]
    do = "Set network.normalise_observations: true, or divide them in the environment."
    return [Finding("warning", name, f"is not scaled: {_some(at)}", do)]


def _jumps(rows: np.ndarray) -> list[str]:
    if len(rows) < FEW_STEPS:
        return []
    low, middle, high = np.percentile(rows, (1, 50, 99), axis=0)
    far = np.abs(rows - middle) > JUMP * np.maximum(high - low, np.finfo(np.float32).eps * np.abs(middle))
    far &= (high > low) & (np.abs(rows) > LARGE)
    counts = np.count_nonzero(far, axis=0)
    return [
        f"[{number}] = {rows[far[:, number].argmax(), number]:g} (in {counts[number]} of {len(rows):,} steps)"
        for number in np.flatnonzero(counts)
    ]


def rewards(play: Play, config: LearnerConfig) -> list[Finding]:
    """Rewards that say nothing, or whose size drowns the rest."""
    if play.steps < FEW_STEPS:
        return []
    paid = np.array(play.rewards)
    sizes = np.abs(paid)
    largest = sizes.max()
    if not largest:
        do = "PPO learns from differences: pay for progress, or begin episodes nearer to the goal."
        return [Finding("warning", "reward", f"is 0 in all {play.steps:,} random steps", do)]
    usual = float(np.percentile(sizes, 99))
    if usual and largest > GLITCH * usual and largest > LARGE:
        means = f"is {paid[sizes.argmax()]:g} in some steps, and 99 of 100 stay within +-{usual:g}"
        return [Finding("warning", "reward", means, "Set ppo.reward_clip, or look for the step that pays it.")]
    trained = np.abs((paid + config.ppo.reward_offset) * config.ppo.reward_scale)
    if not config.ppo.normalise_rewards and trained.max() > LARGE_REWARD:
        do = f"Set ppo.reward_scale: {1 / trained.max():.0e}, or ppo.normalise_rewards: true."
        return [Finding("warning", "reward", f"is up to {largest:g}", do)]
    if not config.ppo.normalise_rewards and trained.max() < SMALL_REWARD:
        do = f"Set ppo.reward_scale: {1 / trained.max():.0e}, or ppo.normalise_rewards: true."
        return [Finding("warning", "reward", f"is at most {largest:g} in size", do)]
    if len(np.unique(play.returns)) == 1 and len(play.returns) > 3 and len(set(play.rewards)) == 1:
        means = f"is {paid[0]:g} in every step, and all {len(play.returns)} episodes returned {play.returns[0]:g}"
        return [Finding("warning", "reward", means, "Random actions make no difference: pay for progress.")]
    low, high = paid.min() + 0.0, paid.max() + 0.0  # of -0 too
    return [Finding("ok", "reward", f"{low:g} in every step" if low == high else f"{low:g} to {high:g} a step")]


def episodes(play: Play, config: LearnerConfig, limit: int | None = None) -> list[Finding]:
    """Findings on how episodes end, and whether gamma sees that far."""
    if not play.lengths:
        return _endless(play, limit)
    lengths = np.array(play.lengths)
    least, most = lengths.min(), lengths.max()
    sizes = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    text = f"{len(lengths)} of {sizes} steps, {np.mean(play.terminated):.0%} terminated"
    if lengths.max() == 1:
        return [Finding("warning", "episodes", "are over after their first step", "Is terminated True too early?")]
    found = [Finding("ok", "episodes", text)]
    same = len(lengths) >= 3 and lengths.min() == lengths.max() >= ROUND_LENGTH
    if same and all(play.terminated):
        means = f"all {len(lengths)} were terminated after {lengths[0]:,} steps"
        do = "If that is a time limit, return truncated=True instead: the critic then values what would have come."
        found.append(Finding("warning", "episodes", means, do))
    return found + _horizon(play, float(lengths.mean()), config.ppo.gamma)


def _endless(play: Play, limit: int | None) -> list[Finding]:
    if play.running < FEW_STEPS:
        return []
    if limit is not None and play.running < limit:
        return [Finding("ok", "episodes", f"none ended within {play.running:,} steps; the limit is {limit:,}")]
    means = f"none ended within {play.running:,} steps, so that no return is reported"
    do = "Truncate them: env.wrappers: [{gymnasium.wrappers.TimeLimit: {max_episode_steps: 1000}}]."
    return [Finding("warning", "episodes", means, do)]


def _horizon(play: Play, length: float, gamma: float) -> list[Finding]:
    horizon = 1 / (1 - gamma) if gamma < 1 else np.inf
    paid = np.count_nonzero(play.rewards)
    is_sparse = paid <= 2 * len(play.lengths) < play.steps
    if length <= (FAR_AND_SPARSE if is_sparse else FAR) * horizon:
        return []
    what = "pay about once and last" if is_sparse else "last"
    means = f"{what} {length:,.0f} steps, and gamma {gamma:g} looks about {horizon:,.0f} ahead"
    return [Finding("warning", "episodes", means, f"Set ppo.gamma: {1 - 1 / length:.4g}, or repeat actions.")]


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
