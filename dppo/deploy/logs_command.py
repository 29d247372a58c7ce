"""`dppo logs`: the ends of what the processes of a deployment have logged, also when it is down."""

import functools
import subprocess
import sys
from collections.abc import Sequence

from dppo.deploy.choosing import chosen_to_read, shown
from dppo.deploy.config import LogsArguments
from dppo.deploy.engine import Deployment
from dppo.deploy.kept_logs import logs_of
from dppo.deploy.tools import find
from dppo.fitted_text import fitted
from dppo.protocol.errors import UsageError


def logs(chosen: LogsArguments) -> int:
    """Print the ends of logs; returns the exit code. Raises UsageError."""
    deployment = chosen_to_read(chosen.run)
    if deployment.ended:
        text = f"{shown(deployment)} is down; these are the ends of its logs, and nothing is added to them"
        command = _of_files(deployment, chosen, follow=False)
        print(fitted(text, sys.stderr), file=sys.stderr, flush=True)
    elif deployment.logs:
        command = _of_engine(deployment, chosen)
    else:
        command = _of_files(deployment, chosen, follow=chosen.follow)
    sys.stdout.flush()
    return subprocess.run(command, stderr=subprocess.STDOUT, check=False).returncode  # what was logged is there


def _of_engine(deployment: Deployment, chosen: LogsArguments) -> Sequence[str]:
    command = deployment.logs_of_one if chosen.process else deployment.logs
    values = {"{lines}": str(chosen.lines), "{process}": chosen.process}
    command = [functools.reduce(lambda text, pair: text.replace(*pair), values.items(), word) for word in command]
    find(command[0])
    return [*command, *(("--follow",) if chosen.follow else ())]


def _of_files(deployment: Deployment, chosen: LogsArguments, *, follow: bool) -> Sequence[str]:
    folder = logs_of(deployment)
    names = sorted(path.stem for path in folder.glob("*.log"))
    if chosen.process and chosen.process not in names:
        there = f"there are {', '.join(names) or 'none yet'}"
        elsewhere = f"; those of actors are on their hosts, in ~/.dppo/{deployment.name}/logs"
        raise UsageError(
            f"process={chosen.process} has no log in {folder}: {there}{elsewhere if deployment.engine == 'ssh' else ''}"
        )
    files = [str(folder / f"{name}.log") for name in names if chosen.process in ("", name)]
    if not files:
        raise UsageError(f"there are no logs in {folder}{'' if deployment.ended else ' yet'}")
    return ["tail", "-n", str(chosen.lines), *(("-F",) if follow else ()), "--", *files]
