"""`dppo.evaluate`: a policy on episodes that training never saw, in this process. Knows settings and results only."""

import os
from typing import Any, Literal

from dppo.api.config import plain_value
from dppo.api.paths import path_text
from dppo.api.run_here import path_of_modules
from dppo.api.wording import python_words
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.commands import EvaluateArguments
from dppo.settings.fields import build, convert, settings_of
from dppo.settings.suggestions import suggestion
from dppo.watch.episode_results import EvaluationResult

__all__ = ["EvaluationResult", "evaluate"]


@python_words()
def evaluate(
    run: str | os.PathLike[str],
    episodes: int = 20,
    *,
    best: bool = False,
    seed: int = 1,
    deterministic: bool = True,
    envs: int = 8,
    max_seconds: float = 600.0,
    video: str | os.PathLike[str] = "",
    video_episodes: int = 1,
    render: Literal["none", "human"] = "none",
    **others: Any,
) -> EvaluationResult:
    """Play episodes of a run's policy, each from its own seed, and return their returns, lengths and successes.

    run: a run directory, its policy.onnx, or a Result. The other arguments are those of `dppo evaluate`. Environments
    are made in this process. Raises UsageError where there is no such run or an argument is wrong or none of these
    (others), DppoError where an environment fails or no episode ends within max_seconds.
    """
    for name in others:
        raise UsageError(f"dppo.evaluate: unknown argument {name}{suggestion(name, settings_of(EvaluateArguments))}")
    given = {
        "run": path_text(run, "run"),
        "episodes": episodes,
        "best": best,
        "seed": seed,
        "deterministic": deterministic,
        "envs": envs,
        "max_seconds": max_seconds,
        "video": path_text(video, "video"),
        "video_episodes": video_episodes,
        "render": render,
    }
    return _play(build(EvaluateArguments, checked(EvaluateArguments, given, "dppo.evaluate")))


def checked(arguments: type[object], given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the values, made to fit the types of a command's arguments. Raises UsageError."""
    settings = settings_of(arguments)
    return {
        name: convert(settings[name], plain_value(value), where=f"{where}: {name}", text=False)
        for name, value in given.items()
    }


def _play(chosen: EvaluateArguments) -> EvaluationResult:
    from dppo.watch.evaluate_command import play
    from dppo.watch.rendering import WindowClosed

    try:
        with path_of_modules():
            return play(chosen)
    except WindowClosed:
        raise DppoError("the window was closed before an episode was over: there is no result") from None
