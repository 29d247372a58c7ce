"""Job scripts for Slurm: a heterogeneous job, or a job for the learner and an array of actors. Text only.

The join line is the file access/join in the run directory (of learner R from 1: ranks/R/access/join), on the disk that
all nodes share, for its owner only.
"""

import shlex
from pathlib import Path

from dppo.deploy.engine import Plan
from dppo.deploy.plans import megabytes, python_of
from dppo.learner.group.membership import directory_of

SETTINGS = "run.yaml"
JOB = "job.sh"
LEARNER = "learner.sh"
ACTORS = "actors.sh"
FIRST_GROUP_PORT, GROUP_PORTS = 20_000, 10_000  # where several learners find each other, by the job's number
FAREWELL_SECONDS = 15  # for actors to end by themselves
REFUSED_AGAIN = "2"  # exit code of an actor whose arguments are wrong: the next start would be refused too


def heterogeneous(plan: Plan) -> str:
    """Return the script of the one job: group 0 is the learner, group 1 the actors."""
    deploy = plan.deploy
    lines = [
        *_head(plan, plan.name, "%x-%j.log"),
        *_resources(plan.learners, deploy.learner_cpus, deploy.learner_memory, deploy.learner_gpus),
    ]
    if plan.actors:
        lines += ["#SBATCH hetjob", *_place(plan), *_resources(plan.actors, deploy.actor_cpus, deploy.actor_memory, 0)]
    lines += [*_beginning(plan), *_forget_joins(plan), *_group_variables(plan)]
    group = "--het-group" if plan.actors else ""
    if plan.actors:
        output = shlex.quote(f"{plan.run}/logs/actor-%t.log")
        lines += [
            f"srun {group}=1 --kill-on-bad-exit=0 --open-mode=append --output={output} \\",
            f"  bash -c {shlex.quote(_actor_loop(plan, '$SLURM_PROCID'))} &",
            "actors=$!",
        ]
    groups = f"{group}=0 " if plan.actors else ""
    lines += [_learner_step(plan, groups), "code=$?"]
    if plan.actors:
        lines += [
            f"for second in $(seq {FAREWELL_SECONDS}); do kill -0 $actors 2>/dev/null || break; sleep 1; done",
            "kill $actors 2>/dev/null",
        ]
    return "\n".join([*lines, "exit $code"]) + "\n"


def elastic_learner(plan: Plan) -> str:
    """Return the script of the learner's job."""
    deploy = plan.deploy
    return "\n".join(
        [
            *_head(plan, f"{plan.name}-learner", "learner.log"),
            "#SBATCH --requeue",
            *_resources(plan.learners, deploy.learner_cpus, deploy.learner_memory, deploy.learner_gpus),
            *_beginning(plan),
            *_forget_joins(plan),
            *_group_variables(plan),
            '[ "${SLURM_RESTART_COUNT:-0}" = 0 ] ||  # on another node, maybe: actors are to read the new join line',
            f"  squeue --me --noheader --array --name={plan.name}-actor --format=%i | xargs -r -n 1 scontrol requeue",
            f"exec {_learner(plan) if plan.learners == 1 else _learner_step(plan, '')}",
            "",
        ]
    )


def elastic_actors(plan: Plan) -> str:
    """Return the script of the array: each of its jobs is an actor, until the learner says that the run is over."""
    deploy = plan.deploy
    return "\n".join(
        [
            *_head(plan, f"{plan.name}-actor", "actor-%a.log"),
            "#SBATCH --requeue",
            *_resources(1, deploy.actor_cpus, deploy.actor_memory, 0),
            *_beginning(plan),
            _actor_loop(plan, "$SLURM_ARRAY_TASK_ID"),
            "",
        ]
    )


def _head(plan: Plan, name: str, log: str) -> list[str]:
    return [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        *_place(plan),
        f"#SBATCH --chdir={shlex.quote(str(plan.directory))}",
        f"#SBATCH --output={shlex.quote(f'{plan.run}/logs/{log}')}",
        "#SBATCH --open-mode=append",
    ]


def _place(plan: Plan) -> list[str]:
    deploy = plan.deploy
    options = {"partition": deploy.partition, "account": deploy.account, "time": deploy.time_limit}
    return [f"#SBATCH --{name}={value}" for name, value in options.items() if value]


def _resources(tasks: int, cpus: int, memory: str, gpus: int) -> list[str]:
    """Return the options. Slurm has no memory of a task: of several, each core gets its part."""
    own = {"mem": memory, "gpus": gpus}
    if tasks > 1:
        own = {"mem-per-cpu": f"{-(-megabytes(memory) // max(1, cpus))}M" if memory else "", "gpus-per-task": gpus}
    options = {"ntasks": tasks, "cpus-per-task": cpus, **own}
    return [f"#SBATCH --{name}={value}" for name, value in options.items() if value]


def _beginning(plan: Plan) -> list[str]:
    return ["umask 077", *plan.deploy.setup]


def _forget_joins(plan: Plan) -> list[str]:
    return [f"rm -f {shlex.quote(str(join))}  # of an earlier start, on another node" for join in _joins(plan)]


def _joins(plan: Plan) -> list[Path]:
    return [directory_of(plan.run, rank) / "access" / "join" for rank in range(plan.learners)]


def _group_variables(plan: Plan) -> list[str]:
    """Return lines that say where the first of several learners is: on the node that runs this script."""
    if plan.learners == 1:
        return []
    port = f"$(({FIRST_GROUP_PORT} + SLURM_JOB_ID % {GROUP_PORTS}))"
    return [f'export MASTER_ADDR="$(hostname)" MASTER_PORT={port} WORLD_SIZE={plan.learners}']


def _learner_step(plan: Plan, groups: str) -> str:
    """Return the step of the learner, or of all of them, which end together where one fails."""
    if plan.learners == 1:
        output = shlex.quote(f"{plan.run}/logs/learner.log")
        return f"srun {groups}--open-mode=append --output={output} {_learner(plan)}"
    logs = shlex.quote(f"{plan.run}/logs")
    task = (
        "export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID\n"
        f'[ "$RANK" = 0 ] && log=learner || log="learner-$RANK"\n'
        f'exec {_learner(plan)} >>{logs}/"$log.log" 2>&1'
    )
    return f"srun {groups}--kill-on-bad-exit=1 bash -c {shlex.quote(task)}"


def _learner(plan: Plan) -> str:
    words = [*python_of(plan), "learner", "--config", str(plan.folder / SETTINGS), "--preset", "none"]
    words += ["--bind", plan.bind or f"tcp://0.0.0.0:{plan.deploy.port}"]
    advertise = shlex.quote(plan.advertise) if plan.advertise else '"$(hostname)"'
    return f"{shlex.join(words)} --advertise {advertise}"


def _actor_loop(plan: Plan, number: str) -> str:
    joins, words = [shlex.quote(str(join)) for join in _joins(plan)], shlex.join([*python_of(plan), "actor"])
    chosen = joins[0]
    if plan.learners > 1:
        chosen = f'"${{joins[{number} % {plan.learners}]}}"'
    return (
        f"{f'joins=({chr(32).join(joins)}){chr(10)}' if plan.learners > 1 else ''}"
        f'until {words} --join-file {chosen} --name "actor-{number}"; do\n'
        f"  [ $? = {REFUSED_AGAIN} ] && exit {REFUSED_AGAIN}\n"
        "  sleep 2  # it was killed, or its environment ended it\n"
        "done"
    )
