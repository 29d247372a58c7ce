"""A plan out of settings. Pure but for the working directory, which relative paths are of."""

import dataclasses
import re
import sys
from pathlib import Path

from dppo.deploy.config import MAX_NAME, UpConfig
from dppo.deploy.engine import Plan
from dppo.learner.config import LearnerConfig
from dppo.protocol.errors import UsageError
from dppo.protocol.process.interpreter import SAFE_PATH
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.layers import dump_yaml

GROUP_RESTARTS = 10  # by torchrun, before its container is started again
_OF_THE_LEARNER = ("evaluation_episodes", "evaluation_seconds")
_BY_ENGINES = ("bind:", "advertise:", "write_join_file:", "key_file:", "insecure:", "trace:")  # they go by flags


def plan_of(config: UpConfig, learner: LearnerConfig) -> Plan:
    """Return the plan. learner: with paths that hold elsewhere, too."""
    run = Path.cwd() / learner.run_directory
    process = LearnerProcessConfig(
        learner=dataclasses.replace(learner, run=dataclasses.replace(learner.run, directory=str(run))),
        **{name: getattr(config, name) for name in _OF_THE_LEARNER},
    )
    lines = dump_yaml(process).splitlines(keepends=True)
    return Plan(
        name=config.deploy.name or name_of(run),
        run=run,
        settings="".join(line for line in lines if not line.startswith(_BY_ENGINES)),
        actors=config.actors,
        learners=config.learners,
        bind=config.bind,
        advertise=config.advertise,
        init_from=learner.run.init_from,
        directory=Path.cwd(),
        deploy=config.deploy,
    )


def name_of(run: Path) -> str:
    """Return a name that every engine takes, for the run in that directory."""
    words = re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-")
    return f"dppo-{words}"[:MAX_NAME].strip("-")


def refuse_bind(plan: Plan) -> None:
    """Raise UsageError where an address is given, which the engine chooses itself."""
    if plan.bind:
        raise UsageError(f"bind={plan.bind}: the engine {plan.deploy.engine} chooses the address itself; leave it out")


def refuse_initial_weights(plan: Plan) -> None:
    """Raise UsageError where a run begins with weights that are not in its containers."""
    if plan.init_from:
        raise UsageError(
            f"run.init_from={plan.init_from} is not in the containers of the engine {plan.deploy.engine}: begin the "
            "run here (dppo train --init-from, then Ctrl-C), and go on with it there"
        )


def learner_command(learners: int) -> list[str]:
    """Return the beginning of the command of all learners in one container: torchrun starts them again together."""
    if learners == 1:
        return ["dppo", "learner"]
    group = ["torchrun", "--standalone", "--nproc-per-node", str(learners), "--max-restarts", str(GROUP_RESTARTS)]
    return [*group, "-m", "dppo.learner"]


def times(size: str, count: int) -> str:
    """Return so many times a size such as 4G."""
    return f"{int(size.rstrip('KMGT')) * count}{size.lstrip('0123456789')}" if size and count > 1 else size


def megabytes(size: str) -> int:
    """Return a size such as 4G in MiB, rounded up."""
    units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    return -(-int(size.rstrip("KMGT")) * units[size.lstrip("0123456789")] // 2**20)


def python_of(plan: Plan) -> list[str]:
    """Return the beginning of a command of dppo on the engine's hosts."""
    return [plan.deploy.python or sys.executable, SAFE_PATH, "-m", "dppo"]
