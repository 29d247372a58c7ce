"""The settings of each command. Knows names, ranges and defaults; knows no command line and no file.

The text below a field is its help.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from dppo.learner.config import MAY_CHANGE, CollectConfig, LearnerConfig
from dppo.learner.group.membership import check_learners
from dppo.protocol.errors import UsageError
from dppo.protocol.process.own_names import refuse_hidden
from dppo.settings.fields import FLATTENED

WINDOW = ("updates", "from_seconds", "to_seconds")  # of PlotArguments: part of a timeline


def at_least(config: object, minimum: int, *names: str) -> None:
    """Reject values below the minimum."""
    for name in names:
        if getattr(config, name) < minimum:
            raise UsageError(f"{name}={getattr(config, name)} must be at least {minimum}")


def _above_0(config: object, name: str) -> None:
    if not 0 < getattr(config, name) < math.inf:
        raise UsageError(f"{name}={getattr(config, name)} must be above 0, and finite")


def _slots(collect: CollectConfig, actors: int) -> int:
    """Return collect.slots of a run with so many actors. Raises UsageError where they do not fit."""
    there_are = max(1, actors) * collect.envs_per_actor
    if collect.slots in (0, there_are):
        return there_are
    raise UsageError(
        f"collect.slots={collect.slots} environments, and {max(1, actors)} x collect.envs_per_actor="
        f"{collect.envs_per_actor} are {there_are}: choose actors and envs_per_actor whose product is {collect.slots}"
    )


@dataclass(frozen=True)
class TrainConfig:
    """Train on this machine: one learner and its actors, from start to evaluation."""

    learner: LearnerConfig = field(default=LearnerConfig(), metadata=FLATTENED)
    evaluation_seconds: float = field(default=60.0, metadata=MAY_CHANGE)
    """Seconds that the evaluation at the end may take; at the limit, the episodes that are over count."""
    force: bool = field(default=False, metadata=MAY_CHANGE)
    """Start also more actors than this machine seems to have memory, processes and open files for."""
    learners: int = 1
    """Learner processes that train one policy together, each with its share of the actors, of the batch and of every
    minibatch (docs/several_learners.md)."""
    actors: int = field(default=2, metadata=MAY_CHANGE)
    """Actor processes on this machine; 0 runs everything in one process without sockets, for debugging."""
    evaluation_episodes: int = field(default=20, metadata=MAY_CHANGE)
    """Episodes of the evaluation at the end; 0 skips it."""

    def __post_init__(self) -> None:
        at_least(self, 0, "actors", "evaluation_episodes")
        _above_0(self, "evaluation_seconds")
        at_least(self, 1, "learners")
        check_learners(self.learner, self.learners)
        if self.learners > max(1, self.actors):
            raise UsageError(
                f"actors={self.actors} must be at least learners={self.learners}: each has actors of its own"
            )
        collect = self.learner.collect
        if collect.max_staleness and not self.actors:
            raise UsageError(
                f"collect.max_staleness={collect.max_staleness} lets actors go on while the learner trains, and with "
                "actors=0 both take turns in one process: leave it out, or start an actor"
            )
        if (
            collect.rule in ("even_shares", "quorum") and not collect.first_actors
        ):  # the first batch is divided among all, too
            collect = replace(collect, first_actors=self.actors)
        if collect.rule == "quota":
            collect = replace(collect, slots=_slots(collect, self.actors))
        if collect is not self.learner.collect:
            object.__setattr__(self, "learner", replace(self.learner, collect=collect))
        refuse_hidden(self.learner.env.id)


@dataclass(frozen=True)
class LearnerProcessConfig:
    """Run the learner alone; actors join it from this or other machines."""

    learner: LearnerConfig = field(default=LearnerConfig(), metadata=FLATTENED)
    bind: str = field(default="tcp://127.0.0.1:5555", metadata=MAY_CHANGE)
    """Address for its actors: tcp://address:port (0.0.0.0: all networks), encrypted and only with a token; or ipc://path
    on one machine."""
    advertise: str = field(default="", metadata=MAY_CHANGE)
    """Host or host:port in the printed join line, where other hosts know this one by another name; empty: found out."""
    write_join_file: str = field(default="", metadata=MAY_CHANGE)
    """Write the join line to this file instead of printing it, readable for the owner; also for the group if the
    directory is setgid."""
    key_file: str = field(default="", metadata=MAY_CHANGE)
    """File learner.key that `dppo token new` has made: the run's keys and its first token are those in it. Empty: they
    are made at the first start."""
    insecure: bool = field(default=False, metadata=MAY_CHANGE)
    """No keys, no encryption: on loopback only, to measure what they cost."""
    evaluation_episodes: int = field(default=20, metadata=MAY_CHANGE)
    """Episodes of the evaluation at the end, if this machine has the environment; 0 skips it."""
    evaluation_seconds: float = field(default=60.0, metadata=MAY_CHANGE)
    """Seconds that the evaluation at the end may take; at the limit, the episodes that are over count."""
    trace: str = field(default="", metadata=MAY_CHANGE)
    """Write every event of the session (messages, states, waits) to this file, as JSON lines; empty: no trace."""

    def __post_init__(self) -> None:
        at_least(self, 0, "evaluation_episodes")
        _above_0(self, "evaluation_seconds")
        refuse_hidden(self.learner.env.id)
        if self.learner.collect.rule == "quota" and not self.learner.collect.slots:
            raise UsageError("collect.rule=quota needs collect.slots: the environments of all actors together")
        if not self.bind.startswith(("tcp://", "ipc://")):
            raise UsageError(
                f"bind={self.bind!r} is no endpoint: choose for example tcp://0.0.0.0:5555 or ipc:///tmp/x"
            )


@dataclass(frozen=True)
class EvaluateArguments:
    """Evaluate a trained policy on episodes that training never saw. Needs no torch."""

    run: str
    """Run directory (with policy.onnx and config.yaml), or the policy.onnx itself."""
    best: bool = False
    """Play the policy of the update with the best mean return (policy-best.onnx) instead of the newest one."""
    episodes: int = 20
    """How many episodes, each from its own seed."""
    seed: int = 1
    """Chooses the evaluation's episodes; never the same ones as in training, whatever the number."""
    deterministic: bool = True
    """Take the most likely action instead of a sample."""
    envs: int = 8
    """Environments stepped together."""
    max_seconds: float = 600.0
    """Seconds that the evaluation may take; at the limit, the episodes that are over count. 0: no limit."""
    video: str = ""
    """Film the first episodes into this file, .mp4 or .gif (small, for a page); empty: no video."""
    video_episodes: int = 1
    """How many episodes the video shows."""
    render: Literal["none", "human"] = "none"
    """human plays the episodes one by one in a window."""
    json: bool = False
    """Print one JSON object on standard output: returns, lengths and successes of every episode included."""

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "envs", "video_episodes")
        at_least(self, 0, "seed", "max_seconds")
        if self.video and not self.video.endswith((".mp4", ".gif")):
            raise UsageError(f"video={self.video} has no known format: choose a name that ends in .mp4 or .gif")
        if self.video and self.render == "human":
            raise UsageError("a window has no frames to film: choose --video or --render human, one after the other")
        if self.video and self.video_episodes > self.episodes:
            raise UsageError(f"video_episodes={self.video_episodes} exceeds episodes={self.episodes}")


@dataclass(frozen=True)
class PlotArguments:
    """Draw learning curves, a panel an environment; several runs become their median and a band. Or, with --timeline,
    who stepped, waited and updated in one run, host by host.
    """

    runs: tuple[str, ...]
    """Run directories, or JSON files: of `dppo bench preset`, or curves of the tutorial's programs. LABEL=PATH puts it
    into a named series with a colour of its own; PATH may be a pattern, in quotes: "ours=runs/Pendulum-*"
    "original=curves/DPPO_*.json"."""
    output: str = ""
    """Picture to write (png, svg or pdf); empty: curve.png in the run directory, or curves.png here where several are
    named; timeline.png of a timeline."""
    x: Literal["steps", "time", "both"] = "steps"
    """Horizontal axis: environment steps, or seconds since the run began; both: two panels side by side."""
    y: str = "return"
    """Vertical axis, over recent training episodes: their mean return, their mean length in steps (length), how many
    succeeded (success, where the environment says so), or a name out of run.metrics and run.step_metrics; or another
    number of metrics.jsonl, for example entropy."""
    timeline: bool = False
    """Instead of curves: a lane for each actor, by host, and one for the learner, out of the trace of one run that was
    started with --trace; and a summary in words."""
    updates: int | None = None
    """Updates of a timeline, the last ones; empty: 10; 0: all that is in the trace."""
    from_seconds: float | None = field(default=None, metadata={"flag": "from"})
    """Begin of a timeline, in seconds after the first start; below 0: before the end."""
    to_seconds: float | None = field(default=None, metadata={"flag": "to"})
    """End of a timeline, in seconds after the first start; below 0: before the end."""

    def __post_init__(self) -> None:
        if not self.y:
            raise UsageError("y is empty: name return, length, success or another number of metrics.jsonl")
        given = [f"--{name.removesuffix('_seconds')}" for name in WINDOW if getattr(self, name) is not None]
        if not self.timeline:
            if given:
                raise UsageError(f"{given[0]} chooses a part of a timeline, and this draws curves: add --timeline")
            return
        if len(self.runs) != 1:
            raise UsageError(f"a timeline is of one run, and {len(self.runs)} are named: draw them one after the other")
        if (self.x, self.y) != ("steps", "return"):
            raise UsageError("--x and --y are of curves: leave them out, or --timeline")
        if self.updates is not None:
            at_least(self, 0, "updates")
            if len(given) > 1:
                raise UsageError(f"--updates and {given[1]} choose different parts of the timeline: leave one out")
