"""The end of a run: evaluation, learning curve, ledger, and where everything is."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.replacing_files import replace_file
from learner.status import SUMMARY
from protocol.errors import DppoError

if TYPE_CHECKING:
    from scripts.evaluate import EvaluationResult

EVALUATION = "evaluation.json"  # in the run directory: the one at the end


def close_run(directory: Path, episodes: int) -> None:
    """Print how the run went; evaluate its policy on that many episodes (0: not), draw its curve.

    What cannot be drawn is said and does not fail the run, which is over.
    """
    try:
        summary: dict[str, Any] = json.loads((directory / SUMMARY).read_bytes())
    except (OSError, ValueError) as error:
        raise DppoError(
            f"the run is over, and how it went could not be read from {directory / SUMMARY}: "
            f"{getattr(error, 'strerror', None) or error}. Is the disk full? "
            "Free space and start the same command again."
        ) from None
    print(f"\n{closing_text(summary)}")
    if episodes and (directory / "policy.onnx").exists():
        print(_evaluation(directory, episodes))
    written = [
        directory / "policy.onnx",
        directory / "ledger.json",
        directory / "metrics.jsonl",
        directory / "checkpoints",
        directory / "videos",
    ]
    try:
        from scripts.plot import plot

        written.insert(0, Path(plot((str(directory),), "", x="steps")))
    except (DppoError, OSError, ModuleNotFoundError) as error:
        print(f"no learning curve: {error}")
    for path in written:
        if path.exists():
            print(f"  {path}")


def _evaluation(directory: Path, episodes: int) -> str:
    from scripts.evaluate import evaluate

    try:
        result = evaluate(str(directory), episodes=episodes, seed=1, deterministic=True, envs=min(8, episodes))
    except DppoError as error:  # a learner's machine need not have the environment
        return f"no evaluation: {error}"
    with contextlib.suppress(OSError):
        replace_file(directory / EVALUATION, json.dumps(asdict(result)).encode())
    return result.summary()


def saved_evaluation(directory: Path) -> "EvaluationResult | None":
    """The evaluation at the end of the run, if there was one; of an older policy where the run has gone on since."""
    import msgspec

    from scripts.evaluate import EvaluationResult

    with contextlib.suppress(OSError, msgspec.ValidationError, msgspec.DecodeError):
        return msgspec.json.decode((directory / EVALUATION).read_bytes(), type=EvaluationResult)
    return None


def closing_text(summary: dict[str, Any]) -> str:
    """How a run went, in three lines."""
    starts = summary.get("starts", 1)
    since = "since launch" if starts == 1 else f"in {starts} starts"
    restarts = summary.get("env_restarts", 0)  # runs that were over before they were counted have none
    crashed = f"; {restarts:,} environments crashed and were made again" if restarts else ""
    return (
        f"{summary['env']}: {summary['reason']}\n"
        f"{summary['updates']} updates, {summary['steps']:,} steps, {summary['episodes']:,} episodes; "
        f"{summary['elapsed_seconds']:.1f} s {since}{crashed}\n"
        f"{ledger_text(summary['ledger'])}"
    )


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
