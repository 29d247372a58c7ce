"""An evaluation of a run's newest policy: the process that a run starts at intervals while it trains, and at its end.

Usage: python -m dppo.watch.evaluate_newest RUN_DIRECTORY EVENTS EPISODES ENVS SECONDS PACE. Appends a line to
eval.jsonl and, with EVENTS "events", scalars to TensorBoard; the best policy so far becomes policy-best.onnx. PACE
"gently": it takes what time no other process wants.
"""

import json
import math
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dppo.learner.appended_file import AppendedFile
from dppo.learner.regular_files import write_own
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.texts import MAX_ERROR, printable
from dppo.watch.episode_results import RETURN, EvaluationResult
from dppo.watch.evaluation_lines import EVALUATIONS_FILE, lines
from dppo.watch.policy_files import BEST_POLICY_FILE, POLICY_FILE
from dppo.watch.record_episode import steps_trained, write_event_file, yield_to_everybody

EVENTS_DIRECTORY = Path("tb", "eval")
EVALUATED_FILE = "policy-evaluated.onnx"  # the policy that is being played; the run may publish others meanwhile
SEED = 2  # the evaluation at the end has 1: no policy is chosen by the episodes that it is judged by


def main(arguments: Sequence[str]) -> int:
    """Evaluate, and write the result; returns the exit code."""
    append_working_directory()
    watch_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if arguments[5] == "gently":
        yield_to_everybody()
    directory, events = Path(arguments[0]), arguments[1] == "events"
    try:
        line = evaluate_newest(directory, int(arguments[2]), int(arguments[3]), float(arguments[4]))
        if events:
            write_scalars(directory, line)
    except (DppoError, OSError, ModuleNotFoundError) as error:
        print(f"dppo: error: {printable(str(error), MAX_ERROR)}", file=sys.stderr)
        return UsageError.exit_code
    return 0


def evaluate_newest(directory: Path, episodes: int, envs: int, max_seconds: float) -> dict[str, Any]:
    """Play the policy that is there now, append the result, keep the policy if it is the best; returns the line.

    Raises DppoError, OSError.
    """
    from dppo.watch.evaluate import ViewOptions, evaluate

    steps = steps_trained(directory)  # after seconds of imports, right before the policy: the two belong together
    policy = directory / EVALUATED_FILE
    write_own(policy, (directory / POLICY_FILE).read_bytes())
    try:
        result = evaluate(
            str(policy),
            episodes=episodes,
            seed=SEED,
            envs=envs,
            max_seconds=max_seconds,
            watching=ViewOptions(by_run=True),
        )
        line = _line(steps, result, best_before(directory, result.measure))
        if line["is_best"]:
            policy.replace(directory / BEST_POLICY_FILE)
        file = AppendedFile(directory / EVALUATIONS_FILE)
        file.append(json.dumps(line).encode() + b"\n")
        file.close()
    finally:
        policy.unlink(missing_ok=True)
    return line


def _line(steps: int, result: EvaluationResult, best: float) -> dict[str, Any]:
    """Return the figures. One that was stopped is never the best: episodes that end first are no fair sample."""
    return {
        "steps": steps,
        "version": result.policy_version,
        "return_mean": result.mean,
        "return_std": result.std,
        "return_min": result.min,
        "return_max": result.max,
        "length_mean": statistics.fmean(result.lengths),
        "success_rate": result.success_rate,
        "episodes": result.episodes,
        "measure": result.measure,
        "stopped": result.stopped,
        "is_best": not result.stopped and result.mean > best,
    }


def best_before(directory: Path, measure: str = RETURN) -> float:
    """Return the mean return of the policy in policy-best.onnx; -inf where no evaluation has put one there.

    measure: as in EvaluationResult; evaluations by another one do not count.
    """
    if not (directory / BEST_POLICY_FILE).is_file():
        return -math.inf
    best = [line for line in lines(directory) if line["is_best"] and line.get("measure", RETURN) == measure]
    return max((float(line["return_mean"]) for line in best), default=-math.inf)


def write_scalars(directory: Path, line: dict[str, Any]) -> None:
    """A TensorBoard file of its own with the figures as eval/mean_reward and so on."""
    from dppo.learner.telemetry.tags import tag_of
    from dppo.learner.telemetry.tensorboard_records import scalars_record

    names = ("return_mean", "return_std", "return_min", "return_max", "length_mean", "success_rate")
    values = {tag_of(f"eval/{name}"): float(line[name]) for name in names if line[name] is not None}
    now = time.time()
    write_event_file(directory / EVENTS_DIRECTORY, now, line["steps"], scalars_record(now, line["steps"], values))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
