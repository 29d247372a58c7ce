"""The end of a run: ledger, learning curve, where everything is, and last of all the evaluation."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dppo.fitted_text import fitted, terminal_width
from dppo.learner.atomic_files import replace_file
from dppo.learner.storage.best_policy import BEST_POLICY_FILE
from dppo.learner.telemetry.status import SUMMARY
from dppo.local.host_view import host_view
from dppo.local.run_summary_text import idle_text, next_steps, sampled_text, training_text
from dppo.local.status_text import metrics_text
from dppo.number_text import absurd_text
from dppo.protocol.errors import DppoError
from dppo.protocol.process.lifeline import has_parent
from dppo.watch.evaluator import Evaluator
from dppo.watch.recorder import LAST_VIDEO_SECONDS, Recorder
from dppo.watch.status_file import note_afterwards

LEAST_SECONDS = 1.0  # that must be left for the second half of the evaluation
NO_EPISODE = (
    "no episode ended in training, so none may end now: train for longer than an episode takes, and where none ever "
    "ends limit them, for example with --env.kwargs '{max_episode_steps: 1000}'"
)

if TYPE_CHECKING:
    from dppo.watch.evaluate import EvaluationResult

EVALUATION = "evaluation.json"  # in the run directory: the one at the end


def close_run(directory: Path, episodes: int, *, envs: int = 8, max_seconds: float = 60.0) -> bool:
    """Print how the run went, draw its curve, say where everything is; then evaluate its policy.

    episodes, envs, max_seconds: of the evaluation; 0 episodes: none. What cannot be drawn or played is reported and
    does not fail the run, which is over. Returns whether the user interrupted the evaluation.
    """
    try:
        summary: dict[str, Any] = json.loads((directory / SUMMARY).read_bytes())
    except (OSError, ValueError) as error:
        raise DppoError(
            f"the run is over, and how it went could not be read from {directory / SUMMARY}: "
            f"{getattr(error, 'strerror', None) or error}. Is the disk full? "
            "Free space and start the same command again."
        ) from None
    print(fitted(f"\n{closing_text(summary)}"))
    written = [
        directory / "policy.onnx",
        directory / "ledger.json",
        directory / "metrics.jsonl",
        directory / "checkpoints",
        directory / "videos",
    ]
    try:
        from dppo.watch.plot import plot

        written.insert(0, Path(plot((str(directory),), "", x="steps")))
    except (DppoError, OSError, ModuleNotFoundError) as error:
        print(fitted(f"no learning curve: {error if summary['updates'] else 'no update is done yet'}"))
    for path in written:
        if path.exists():
            print(f"  {host_view().path(_shown(path))}")
    if not episodes or not (directory / "policy.onnx").exists():
        return False
    if not summary["episodes"]:
        if not _crashed_in_all(summary):  # which fails the run, in a line of its own
            print(fitted(f"no evaluation: {NO_EPISODE}"))
        return False
    return _evaluated(directory, summary, episodes, envs, max_seconds)


def check_that_episodes_ended(directory: Path) -> None:
    """Raise DppoError where every episode that ended did so because its environment crashed."""
    with contextlib.suppress(OSError, ValueError):
        summary = json.loads((directory / SUMMARY).read_bytes())
        if _crashed_in_all(summary):
            crashes = summary["env_restarts"]
            newest = f"; the newest: {crash}" if (crash := summary.get("newest_crash")) else ""
            raise DppoError(f"no episode ended by itself, the environment crashed in all of them ({crashes:,}){newest}")


def _crashed_in_all(summary: dict[str, Any]) -> bool:
    """Whether no episode ended by itself and every environment crashed; fewer crashes may have hit some only."""
    crashes = summary.get("env_restarts", 0)
    return not summary["episodes"] and crashes > 0 and crashes >= summary.get("environments", crashes)


def say_what_is_next(directory: Path, *, seeds: str) -> None:
    """Print a few commands that people want now, unless another command of ours waits for the end of this one.

    seeds: as next_steps takes it.
    """
    note_afterwards(directory, "")
    if has_parent():
        return
    with contextlib.suppress(OSError, ValueError):
        summary = json.loads((directory / SUMMARY).read_bytes())
        has_best = (directory / BEST_POLICY_FILE).is_file()
        steps = next_steps(
            _shown(directory),
            summary,
            has_best=has_best,
            columns=terminal_width(),
            place=place_of_programs(),
            seeds=seeds,
            view=host_view(),
        )
        print(f"\n{steps}", flush=True)


def place_of_programs() -> str:
    """Return what to type before `dppo` where the shell does not find this one, as after `make train`; else ""."""
    folder = Path(sys.executable).parent
    found = shutil.which("dppo")
    if not (folder / "dppo").is_file() or (found is not None and Path(found).parent == folder):
        return ""
    return f"{_shown(folder)}{os.sep}"


def evaluate_the_last_policy(directory: Path, evaluator: Evaluator) -> bool:
    """Evaluate it as the run has evaluated others, if the run wants that; returns whether the user interrupted it.

    The evaluation that is printed before has other episodes: no policy is chosen by those that it is judged by.
    """
    from dppo.local.final_evaluation import collected_signals

    evaluator.stop()
    if not evaluator.may_evaluate or not _has_episodes(directory):
        return False
    text = f"is the last policy the best? Evaluating it, for at most {evaluator.max_seconds:g} s (Ctrl-C ends it) ..."
    print(fitted(text), flush=True)
    note_afterwards(directory, "it evaluates whether the last policy is the best")
    with collected_signals() as signals:
        evaluator.evaluate_the_end(lambda: bool(signals))
    return bool(signals)


def _has_episodes(directory: Path) -> bool:
    """Whether an episode has ended in training: else none may end now."""
    try:
        return bool(json.loads((directory / SUMMARY).read_bytes())["episodes"])
    except (OSError, ValueError, KeyError):
        return False


def film(directory: Path, recorder: Recorder) -> None:
    """Film an episode of the last policy, if the run wants videos."""
    if recorder.may_film:
        print(fitted(f"filming an episode, for at most {LAST_VIDEO_SECONDS:.0f} s (Ctrl-C ends it) ..."), flush=True)
        note_afterwards(directory, "it films an episode")
        recorder.film_the_end()


def _shown(path: Path) -> Path:
    """Return it from the working directory where it is below it, as people type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _evaluated(directory: Path, summary: dict[str, Any], episodes: int, envs: int, max_seconds: float) -> bool:
    """Evaluate with most likely and then with sampled actions, and print; returns whether the user interrupted it."""
    from dppo.local.final_evaluation import evaluate_at_the_end

    began = time.monotonic()

    print(fitted(f"evaluating {episodes} episodes, for at most {max_seconds:g} s (Ctrl-C ends it) ..."), flush=True)
    note_afterwards(directory, f"it evaluates {episodes} episodes of the last policy, for at most {max_seconds:g} s")
    evaluated = evaluate_at_the_end(directory, episodes=episodes, envs=min(envs, episodes), max_seconds=max_seconds)
    result = evaluated.result
    if result is None:
        print(fitted(f"no evaluation: {evaluated.reason}"), flush=True)
        return evaluated.interrupted
    print(fitted(result.summary()), flush=True)
    _keep(directory, asdict(result))
    left = max_seconds - (time.monotonic() - began)
    if evaluated.interrupted or result.stopped or left < LEAST_SECONDS:
        return evaluated.interrupted
    sampled = evaluate_at_the_end(
        directory, episodes=episodes, envs=min(envs, episodes), max_seconds=left, deterministic=False
    )
    if sampled.result is not None:
        print(fitted(sampled_text(result, sampled.result, summary)), flush=True)
        _keep(directory, asdict(result) | {"sampled": asdict(sampled.result)})
    return sampled.interrupted


def _keep(directory: Path, evaluation: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        replace_file(directory / EVALUATION, json.dumps(evaluation).encode())


def saved_evaluation(directory: Path) -> "EvaluationResult | None":
    """The evaluation at the end of the run, if there was one; of an older policy where the run has gone on since."""
    import msgspec

    from dppo.watch.evaluate import EvaluationResult

    with contextlib.suppress(OSError, msgspec.ValidationError, msgspec.DecodeError):
        return msgspec.json.decode((directory / EVALUATION).read_bytes(), type=EvaluationResult)
    return None


def closing_text(summary: dict[str, Any]) -> str:
    """Return a few lines on how a run went."""
    starts = summary.get("starts", 1)
    since = "since launch" if starts == 1 else f"in {starts} starts"
    training = training_text(summary)
    own = metrics_text(summary.get("metrics", {}))
    restarts = summary.get("env_restarts", 0)  # runs that were over before they were counted have none
    idle = idle_text(summary)
    absurd = absurd_text(summary.get("outliers", 0), summary.get("steps_left_out", 0))
    crashed = f"; {_counted(restarts, 'environment')} crashed and {'was' if restarts == 1 else 'were'} made again"
    return (
        f"{summary['env']}: {summary['reason']}\n"
        f"{_counted(summary['updates'], 'update')}, {_counted(summary['steps'], 'step')}, "
        f"{_counted(summary['episodes'], 'episode')}; "
        f"{summary['elapsed_seconds']:.1f} s {since}{crashed if restarts else ''}{f'; {absurd}' if absurd else ''}\n"
        f"{training}{chr(10) if training else ''}"
        f"{idle}{chr(10) if idle else ''}"
        f"{f'metrics: {own}{chr(10)}' if own else ''}"
        f"{ledger_text(summary['ledger'])}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def ledger_text(total: dict[str, Any], problems: Sequence[str] = ()) -> str:
    """The ledger's equation with numbers. problems: why it does not close, as far as the numbers do not show it."""
    dropped = total["dropped"]
    reasons = f" ({', '.join(f'{reason} {steps:,}' for reason, steps in dropped.items())})" if dropped else ""
    lost = sum(dropped.values())
    closes = not problems and total["sealed"] == total["trained"] + lost + total["pending"] + total["in_flight"]
    unknown = total.get("unknown", 0)  # runs that were over before it was counted have none
    text = f"closed, but for unknown: at most {unknown:,} steps that actors may have sealed and not delivered"
    verdict = "DOES NOT CLOSE" if not closes else text if unknown else "closed"
    return (
        f"ledger: {total['sealed']:,} steps sealed = {total['trained']:,} trained + {lost:,} dropped{reasons}"
        f" + {total['pending'] + total['in_flight']:,} in flight: {verdict}"
    )
