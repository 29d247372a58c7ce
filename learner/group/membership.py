"""A learner's place among several: read from the variables that torchrun sets. Knows no torch and no sockets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dppo.learner.config import LearnerConfig
from dppo.learner.run_config import GLOO
from dppo.protocol.errors import UsageError

RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
LOCAL_RANK = "LOCAL_RANK"
AGENT_STORE, ATTEMPT = "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"  # of torchrun
FIRST_SLOT = "DPPO_FIRST_SLOT"  # of this rank's environments, from `dppo train`
TORCH_LOG = ("TORCH_CPP_LOG_LEVEL", "FATAL")  # else torch prints a stack for every look that comes too early
SLOTS = 4096  # of a rank whose launcher does not count environments
MOST_RANKS = 1024


@dataclass(frozen=True)
class Membership:
    """One rank of a group of learners."""

    rank: int
    ranks: int
    address: str  # of the store in which ranks find each other
    port: int
    local_rank: int  # on its host
    hosts_store: bool  # rank 0 does, unless torchrun has one
    attempt: str  # of the group's start: keys of an earlier one do not count
    first_slot: int  # of its environments: no two of a run have the same
    is_placed: bool = False  # whether its launcher gives each learner its actors: none is sent on to another one

    def config_of(self, config: LearnerConfig) -> LearnerConfig:
        """Return the settings of this rank: its share of the batch and of each minibatch; but for rank 0, a directory
        of its own in that of the run.
        """
        collect, ppo, run = config.collect, config.ppo, config.run
        if self.rank:
            directory = config.run_directory / "ranks" / str(self.rank)
            run = dataclasses.replace(run, directory=str(directory), tensorboard=False, init_from="")
            run = dataclasses.replace(run, video_seconds=0.0, evaluate_seconds=0.0, metrics_address="")
        return dataclasses.replace(
            config,
            collect=dataclasses.replace(
                collect,
                batch_steps=self._share(collect.batch_steps),
                first_actors=collect.first_actors // self.ranks,
            ),
            ppo=dataclasses.replace(ppo, minibatch_steps=self._share(ppo.minibatch_steps)),
            run=run,
        )

    def _share(self, steps: int) -> int:
        return -(-steps // self.ranks)

    def advertise_of(self, advertise: str) -> str:
        """Return the address that this rank's join line names, of that of the first one on its host."""
        head, colon, port = advertise.rpartition(":")
        if not self.local_rank or not colon or not port.isdecimal() or advertise.endswith("]"):
            return advertise
        return f"{head}:{int(port) + self.local_rank}"

    def bind_of(self, bind: str) -> str:
        """Return the endpoint of this rank on its host: the next ports, or names, after that of its first one."""
        if not self.local_rank:
            return bind
        head, _, port = bind.rpartition(":")
        if bind.startswith("ipc://"):
            return f"{bind}-{self.local_rank}"
        if not port.isdecimal() or int(port) == 0:
            return bind
        if int(port) + self.local_rank > 65535:
            raise UsageError(f"bind={bind}: rank {self.rank} would listen on port {int(port) + self.local_rank}")
        return f"{head}:{int(port) + self.local_rank}"


def membership_in(environment: Mapping[str, str]) -> Membership | None:
    """Return the place that the variables give; None: a learner alone. Raises UsageError where they are not whole."""
    if not environment.get(WORLD_SIZE) and not environment.get(RANK):
        return None
    missing = [name for name in (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) if not environment.get(name)]
    if missing:
        found = WORLD_SIZE if environment.get(WORLD_SIZE) else RANK
        raise UsageError(
            f"{found} is set, and {', '.join(missing)} not: several learners are started by torchrun, which sets them "
            "all, or by dppo train --learners"
        )
    ranks = _number(environment, WORLD_SIZE, 1, MOST_RANKS)
    rank = _number(environment, RANK, 0, ranks - 1)
    if ranks == 1:
        return None
    has_agent = environment.get(AGENT_STORE, "") in ("True", "1", "true")
    return Membership(
        rank=rank,
        ranks=ranks,
        address=environment[MASTER_ADDR],
        port=_number(environment, MASTER_PORT, 1, 65535),
        local_rank=_number({LOCAL_RANK: str(rank), **environment}, LOCAL_RANK, 0, ranks - 1),
        hosts_store=rank == 0 and not has_agent,
        attempt=environment.get(ATTEMPT, "0"),
        first_slot=_number({FIRST_SLOT: str(rank * SLOTS), **environment}, FIRST_SLOT, 0, 2**31),
        is_placed=bool(environment.get(FIRST_SLOT)),
    )


def _number(environment: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = environment[name]
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{name}={text!r} must be a number from {least} to {most}")
    return int(text)


def check_learners(config: LearnerConfig, ranks: int) -> None:
    """Raise UsageError for settings that so many learners cannot have, or that one has no use for."""
    if ranks > 1:
        refuse_with_several(config, ranks)
    elif config.collect.late_learners:
        raise UsageError(
            f"collect.late_learners={config.collect.late_learners} is for several learners, and there is one: start "
            "more (--learners 2, torchrun), or leave it out"
        )
    elif config.run.backend != GLOO:
        raise UsageError(
            f"run.backend={config.run.backend} is for several learners, and there is one: start more (--learners 2, "
            "torchrun), or leave it out"
        )


def refuse_with_several(config: LearnerConfig, ranks: int) -> None:
    """Raise UsageError for settings that several learners cannot have."""
    collect, ppo, run = config.collect, config.ppo, config.run
    refused = {
        f"collect.rule={collect.rule}": collect.rule != "minimum",
        "collect.stop_at_episode_end=true": collect.stop_at_episode_end,
        f"collect.max_staleness={collect.max_staleness}": collect.max_staleness > 0,
        f"ppo.reuse={ppo.reuse}": ppo.reuse > 1,
        f"run.hooks={run.hooks}": bool(run.hooks),  # they would see one learner's part of each batch
    }
    for setting, is_refused in refused.items():
        if is_refused:
            raise UsageError(f"{setting} is for one learner, and there are {ranks}: leave it out, or --learners 1")
    if collect.late_learners >= ranks:
        raise UsageError(f"collect.late_learners={collect.late_learners} must be less than the {ranks} learners")
    least = min(size for size in (collect.batch_steps, ppo.minibatch_steps) if size)
    if least < ranks:
        name = "collect.batch_steps" if least == collect.batch_steps else "ppo.minibatch_steps"
        raise UsageError(f"{name}={least} is divided among {ranks} learners: at least {ranks}")


def directory_of(run_directory: Path, rank: int) -> Path:
    """Return the directory of one rank's journal, policy and figures."""
    return run_directory / "ranks" / str(rank) if rank else run_directory
