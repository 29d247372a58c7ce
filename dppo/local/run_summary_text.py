"""Text on what the end of a run means and what to do next. Pure: records in, text out."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dppo.learner.session.space_remarks import INSTEAD
from dppo.local.host_view import NO_HOST, HostView
from dppo.number_text import numbers, return_number
from dppo.watch.episode_results import RETURN, EvaluationResult

IDLE = 0.8  # share of the learner's time; below, updates that are several times as long would cost time
MEASURED = "Pendulum-v1 (100 ms a step) took 0.70 times as long to its target, and CartPole-v1 gained nothing"
FEW_UPDATES = 20  # after which an idle learner is worth a word
REUSE = 4  # batches that measurements have been made with
VIDEO = "--video episode.mp4"
TRAINS_ON = "the same command with this trains on"
DIFFERENT = 0.1  # of the larger one: from here on the two ways to act are worth explaining


def training_text(summary: Mapping[str, Any]) -> str:
    """Return the return of training's newest episodes, its target and its best; "" where no episode has ended."""
    mean, target, best = summary.get("mean_return"), summary.get("target_return"), summary.get("best_mean_return")
    if mean is None:
        return ""
    aim = "" if target is None else f" (target {target:g})"
    update = summary.get("best_update")
    best_text = "" if best is None or best <= mean else f"; best {return_number(best)} at update {update}"
    return f"training: mean return {return_number(mean)} of the newest episodes{aim}{best_text}"


def idle_text(summary: Mapping[str, Any]) -> str:
    """Return what an idle learner could do, with what was measured; "" where it was busy, or cannot or does do it."""
    share, steps = summary.get("idle_share"), summary.get("batch_steps", 0) // REUSE
    if share is None or share < IDLE or summary["updates"] < FEW_UPDATES or not summary.get("may_reuse") or not steps:
        return ""
    flags = f"--ppo.reuse {REUSE} --collect.batch-steps {steps}"
    if summary.get("minibatch_steps", 0) > steps:
        flags += f" --ppo.minibatch-steps {steps}"  # a larger one is refused
    return f"the learner was idle {share:.0%} of the time: with {flags} {MEASURED} (docs/experiments.md)"


def sampled_text(likely: EvaluationResult, sampled: EvaluationResult, summary: Mapping[str, Any]) -> str:
    """Return the line for sampled actions beside the one for most likely actions, and which compares to training's."""
    line = f"  with sampled actions, as in training: {sampled.outcome()}"
    if sampled.stopped:
        line += f" ({sampled.episodes} of {sampled.asked} episodes, {sampled.stopped})"
    training = summary.get("mean_return")
    if training is None or sampled.measure != RETURN:
        return line
    a, b, c = numbers([likely.mean, sampled.mean, training])
    if differ(likely.mean, sampled.mean):
        line += (
            f"\n  the two ways to act differ: {a} with most likely actions, {b} sampled; training's {c} was sampled\n"
            "  and compares with the second. Use the way that does better for your task"
        )
    if differ(sampled.mean, training):
        reasons = [_of_wrapper(name, c) for name in sampled.wrappers]
        line += "".join(
            f"\n  {reason}"
            for reason in reasons or [f"training's {c} is over its newest episodes, which began under older policies"]
        )
    return line


def _of_wrapper(name: str, training: str) -> str:
    """Return why returns of training and evaluation differ where the environment has this wrapper."""
    if name == "NormalizeReward":
        return (
            f"training's {training} has another unit: gymnasium's NormalizeReward divides rewards by statistics of its "
            f"own, which begin anew in evaluation; without it, {INSTEAD[name]} keeps returns as they are"
        )
    if name == "NormalizeObservation":
        return (
            "in evaluation the policy sees other observations than in training: gymnasium's NormalizeObservation keeps "
            f"statistics of its own, which begin anew there; use {INSTEAD[name]} in its place"
        )
    return (
        f"{name} changes rewards: where it keeps statistics of its own, they begin anew in evaluation, and returns "
        "there are not those of training"
    )


def differ(first: float, second: float) -> bool:
    """Return whether two mean returns are so far apart that a reader would wonder."""
    larger = max(abs(first), abs(second))
    return math.isfinite(larger) and abs(first - second) > DIFFERENT * larger


def next_steps(
    directory: Path,
    summary: Mapping[str, Any],
    *,
    has_best: bool,
    columns: int | None = None,
    place: str = "",
    seeds: str = "--seeds 5",
    view: HostView = NO_HOST,
) -> str:
    """Return a few commands that people want now, one a line.

    columns: of the terminal; where they are too few, what a command is for is in a line of its own. place: what is to
    be typed before the name of a program that the shell does not find, for example ".venv/bin/". seeds: flags that
    train several seeds, "" where the command cannot. view: of the host, where people type them.
    """
    directory = directory if view.compose else view.path(directory)  # compose runs them in a container
    run, at = shlex.quote(str(directory)), view.dppo or (shlex.quote(place) if place else "")
    solved = str(summary.get("reason")).startswith("solved")  # it may have solved, gone on, and used up its steps
    larger = _round_up(2 * int(summary.get("steps") or 0))
    more = "--run.stop-at-target false" if solved else f"--run.total-steps {larger}"
    steps = [
        (f"{at}dppo evaluate {run}", "play it") if view.compose else (f"{at}dppo evaluate {run} {VIDEO}", "watch it"),
        (f"{at}dppo evaluate {run} --best", "its best policy") if has_best else ("", ""),
        (f"{at}dppo diagnose {run}", "what keeps it from its target?") if _is_short(summary) else ("", ""),
        (view.tensorboard or f"{at}tensorboard --logdir {shlex.quote(str(directory.parent))}", "curves"),
        (f"DPPO_ARGS='... {more}' {view.start}", "trains on") if view.compose else (f"... {more}", TRAINS_ON),
        (f"... {seeds}", "this trains five seeds: how much is luck?") if seeds else ("", ""),
    ]
    shown = [(command, why) for command, why in steps if command]
    width = max(len(command) for command, _ in shown)
    lines = [f"  {command:<{width}}  {why}" for command, why in shown]
    if columns is not None and max(map(len, lines)) > columns:
        lines = [f"  {command}\n      {why}" for command, why in shown]  # whole commands, to be copied
    return "\n".join(["next:", *lines])


def _is_short(summary: Mapping[str, Any]) -> bool:
    """Return whether the run has ended below its target, with no update above it."""
    target, best = summary.get("target_return"), summary.get("best_mean_return")
    return target is not None and (best is None or best < target)


def _round_up(steps: int) -> int:
    """Return a number of steps with two digits that are not 0."""
    size = int(10 ** max(len(str(steps)) - 2, 0))
    return -(-steps // size) * size
