"""Trains a task with its preset and evaluates what came out, with the commands that a user would type.

    python -m scripts.scores.measure Acrobot-v1 --seed 2

The run directory is runs/scores/Acrobot-v1-2, and score.json in it is what `scripts.scores.table` reads. A run that has
its score already is left as it is.
"""

import argparse
import json
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dppo.bench.observed_run import conditions
from dppo.protocol.errors import DppoError
from scripts.scores.tasks import TASKS

FOLDER = "runs/scores"
SCORE = "score.json"
ACTORS = 2
PACKAGES = ("gymnasium", "mujoco", "box2d", "torch", "onnxruntime", "numpy")
WAYS = {"most_likely": "--deterministic", "sampled": "--no-deterministic"}
KEPT = ("episodes", "mean", "std", "min", "max", "success_rate", "stopped")  # of an evaluation
FROM_SUMMARY = ("steps", "updates", "mean_return", "best_mean_return", "target_return", "solved_steps")


def measure(task: str, seed: int, folder: Path, extra: list[str]) -> None:
    """Train and evaluate; score.json is written last. Raises DppoError where a command fails."""
    run = folder / f"{task}-{seed}"
    if (run / SCORE).exists():
        print(f"{run}: measured already")
        return
    about = conditions()
    flags = ("--seed", str(seed), "--run.directory", str(run), "--actors", str(ACTORS), "--evaluation-episodes", "0")
    _dppo("train", task, *flags, *extra)
    evaluations = {}
    for way, flag in WAYS.items():
        text = _dppo(
            "evaluate", str(run), "--episodes", str(TASKS[task].episodes), "--max-seconds", "0", "--json", flag
        )
        result = json.loads(text.splitlines()[-1])
        evaluations[way] = {name: result[name] for name in KEPT}
        print(f"{task}, seed {seed}, {way}: {result['mean']:.4g} +- {result['std']:.4g}", flush=True)
    summary = json.loads((run / "summary.json").read_bytes())
    score = {
        "task": task,
        "seed": seed,
        **about,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "actors": ACTORS,
        "overrides": extra,
        **{name: summary[name] for name in FROM_SUMMARY},
        "evaluations": evaluations,
    }
    (run / SCORE).write_text(json.dumps(score, indent=1) + "\n", encoding="utf-8")


def _dppo(*arguments: str) -> str:
    """Run a command; returns its standard output. Raises DppoError where it fails."""
    done = subprocess.run([sys.executable, "-m", "dppo.cli", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DppoError(f"dppo {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def _version(package: str) -> str:
    """Return the installed version, "" where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def main() -> None:
    """Measure one task with one seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", default=FOLDER)
    parser.add_argument("--flags", default="", help="more flags for dppo train, as one text: to try other settings")
    arguments = parser.parse_args()
    try:
        measure(arguments.task, arguments.seed, Path(arguments.directory), shlex.split(arguments.flags))
    except DppoError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
