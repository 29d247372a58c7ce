"""docs/images/timeline.png: the timeline of a real run of three hosts of four actors, one of which is slow.

`python -m scripts.site.timeline docs/images/timeline.png` trains in a temporary directory. The hosts are names: all
processes run on this machine, and their environments sleep.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from dppo import cli

HOSTS, ACTORS, SLOW = ("lab1", "lab2", "lab3"), 4, "lab3-2"
STEPS = 24_000
BATCH_STEPS = 2_048
UPDATES = 6  # shown
MOST_SECONDS = 240


def main(picture: str) -> None:
    """Train, and draw."""
    with tempfile.TemporaryDirectory(prefix="dppo-") as directory:
        run = Path(directory) / "CartPole"
        (run / "logs").mkdir(parents=True)
        _train(run, f"ipc://{directory}/learner")
        cli.run_command(["plot", str(run), "--timeline", "--updates", str(UPDATES), "--output", picture])


def _train(run: Path, endpoint: str) -> None:
    """Return when the run is over. Raises CalledProcessError or TimeoutExpired where it fails."""
    kwargs = {"actor": "{actor}", "seconds": 0.001, "slow_actor": SLOW, "slow_seconds": 0.08}
    settings = {
        "env.id": "scripts.site.paced_cartpole:make",
        "env.kwargs": json.dumps(kwargs),
        "preset": "none",
        "run.directory": str(run),
        "run.total-steps": str(STEPS),
        "collect.batch-steps": str(BATCH_STEPS),
        "collect.envs-per-actor": "4",
        "ppo.epochs": "4",
        "bind": endpoint,
        "trace": str(run / "logs" / "learner.trace.jsonl"),
        "evaluation-episodes": "0",
    }
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    learner = subprocess.Popen([sys.executable, "-m", "dppo", "learner", *flags], stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "dppo", "actor", "--learner", endpoint, "--count", str(ACTORS), "--name"]
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    actors = [subprocess.Popen([*command, host], env=own, stdout=subprocess.DEVNULL) for host in HOSTS]
    try:
        code = learner.wait(MOST_SECONDS)
        if code:
            raise subprocess.CalledProcessError(code, learner.args)
    finally:
        for process in (learner, *actors):
            process.send_signal(signal.SIGTERM)
        for process in (learner, *actors):
            process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
