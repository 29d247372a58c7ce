"""Findings about rates and memory of an environment, and how many of them to run. Pure."""

from dppo.ops.check.random_play import Play
from dppo.ops.doctor.finding import Finding

MIB = 2**20
LEAKED_BYTES = 8 * MIB  # grown over half a play
SLOW_RESET = 50  # steps that a reset may take
WAITING = 0.3  # share of CPU time below which an environment waits for something else
SLOW_SECONDS = 0.01  # of a step, from which one environment an actor is enough
FAST_SECONDS = 0.0005  # below which many share an actor's policy


def speed(play: Play, cores: int) -> list[Finding]:
    """Findings on what a step costs, and which numbers of actors and environments fit."""
    if not play.steps:
        return []
    found = [Finding("ok", "speed", _text(play, cores))]
    mean_length = sum(play.lengths) / len(play.lengths) if play.lengths else float("inf")
    if play.reset_seconds > max(SLOW_RESET * play.step_seconds, mean_length * play.step_seconds) > 0:
        means = (
            f"a reset takes {play.reset_seconds:.3g} s, as long as {play.reset_seconds / play.step_seconds:,.0f} steps"
        )
        found.append(Finding("warning", "speed", means, "Longer episodes, or more environments, hide it."))
    if play.grown_bytes > LEAKED_BYTES:
        each = play.grown_bytes / (play.steps / 2) / 1024
        means = f"grew by {play.grown_bytes / MIB:,.0f} MiB within {play.steps // 2:,} steps, {each:,.1f} KiB each"
        found.append(Finding("warning", "memory", means, "Look for a list that only grows, or a renderer."))
    return found


def _text(play: Play, cores: int) -> str:
    waits = play.cpu_share < WAITING
    envs = 1 if play.step_seconds > SLOW_SECONDS and not waits else 16 if play.step_seconds < FAST_SECONDS else 4
    if waits:
        envs = 8
    actors = cores * 4 if waits else cores
    rate = f"{1 / play.step_seconds:,.0f} steps/s of one environment"
    how = f", which waits {1 - play.cpu_share:.0%} of the time" if waits else ""
    advice = f"--actors {actors} --collect.envs-per-actor {envs}"
    if waits:
        advice += " --env.vectorization async"
    return f"{rate}{how}; on {cores} core{'s' if cores != 1 else ''} begin with {advice}"
