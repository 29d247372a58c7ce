"""The section `run` of a learner's settings, and the mark of settings that a run may change. Knows no command line."""

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from dppo.learner.setting_checks import at_least, at_most, positive
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.metric_names import check_metrics
from dppo.protocol.transport.endpoints import host_and_port

# metadata of a field that may differ when a run goes on: it changes where and how long a run works, not what is trained
MAY_CHANGE = {"may_change": True}

MOST_THREADS = 4096
GLOO, NCCL = "gloo", "nccl"
SERVICES = ("wandb", "mlflow", "trackio")  # of run.trackers, besides the user's own
_HOOKS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class RunConfig:
    """Directory of the results, and end of the run."""

    directory: str = field(default="", metadata=MAY_CHANGE)
    """Run directory; empty means runs/<environment>. A run in it goes on, if it has these settings."""
    seed: int = 1
    """Seeds networks, minibatches, environments and exploration noise."""
    init_from: str = ""
    """Begin with the weights and normalisers of this run (its directory, or one checkpoint of it); spaces and networks
    must be the same. Counters, optimizer and schedules begin anew. Empty: random weights."""
    init_checkpoint: Literal["newest", "best"] = "newest"
    """Which checkpoint of init_from, where that is a run directory: the newest, or the one with the best mean return.
    """
    total_steps: int = field(default=1_000_000, metadata=MAY_CHANGE)
    """End after this many environment steps, and the horizon of linear schedules."""
    target_return: float | None = field(default=None, metadata=MAY_CHANGE)
    """The mean return of the last `return_window` training episodes that counts as solved."""
    stop_at_target: bool = field(default=True, metadata=MAY_CHANGE)
    """End as soon as target_return is reached."""
    return_window: int = 100
    """Episodes in the mean return."""
    metrics: tuple[str, ...] = ()
    """Keys of the info of an episode's last step whose numbers become curves: means over the same episodes as the mean
    return, as metrics/KEY in metrics.jsonl and TensorBoard. At most 16 together with step_metrics."""
    step_metrics: tuple[str, ...] = ()
    """Likewise keys of the info of every step: averaged over each episode first. Not with a native vector environment;
    vectorization auto takes sync then."""
    checkpoint_seconds: float = field(default=10.0, metadata=MAY_CHANGE)
    """Write a lasting checkpoint at the first update after this long; one is always written at the end."""
    checkpoint_share: float = field(default=0.1, metadata=MAY_CHANGE)
    """After every other update a recent checkpoint is written, without waiting for the disk, so that a killed learner
    loses one update at most; where updates are so short that this would take more than this share of the time, after as
    many of them as it allows. 0: never."""
    keep_checkpoints: int = field(default=3, metadata=MAY_CHANGE)
    """How many of the newest checkpoints to keep (the best one is kept besides)."""
    tensorboard: bool = field(default=True, metadata=MAY_CHANGE)
    """Write TensorBoard events into the run directory."""
    trackers: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Services that are told settings and curves too: wandb, mlflow, trackio, or a class of yours as module:Class
    (docs/trackers.md)."""
    project: str = field(default="dppo", metadata=MAY_CHANGE)
    """Name under which trackers keep the run."""
    metrics_address: str = field(default="", metadata=MAY_CHANGE)
    """Where Prometheus may scrape the run, as host:port, for example 127.0.0.1:9464. No secrets are in it, and no
    encryption: every client that reaches the address can read. Empty: nowhere."""
    video_seconds: float = field(default=0.0, metadata=MAY_CHANGE)
    """Film one episode of the newest policy every so many seconds, and once at the end, into videos/ and TensorBoard's
    images; 0: never. A process of lowest priority does it; it needs the environment and its rendering where the learner
    runs."""
    evaluate_seconds: float = field(default=0.0, metadata=MAY_CHANGE)
    """Evaluate the newest policy every so many seconds, in environments and with seeds of its own, into eval.jsonl and
    TensorBoard; policy-best.onnx is then the one with the best evaluation. 0: never. A process of lowest priority does
    it, for evaluation_seconds at most; it needs the environment where the learner runs."""
    hooks: str = field(default="", metadata=MAY_CHANGE)
    """A class of yours, as module:Class, whose methods on_update, on_episode and on_end the process that trains calls
    between updates (docs/hooks.md); empty: none."""
    torch_threads: int = field(default=1, metadata=MAY_CHANGE)
    """PyTorch's threads; more only pay for large networks and batches."""
    device: str = field(default="cpu", metadata=MAY_CHANGE)
    """PyTorch device that trains."""
    backend: Literal["gloo", "nccl"] = field(default="gloo", metadata=MAY_CHANGE)
    """Backend of torch.distributed for the means of several learners: gloo, from the host's memory; or nccl, between
    GPUs of which each learner has one (run.device=cuda), as yet untried (docs/several_learners.md)."""

    def __post_init__(self) -> None:
        positive("run", self, "total_steps", "return_window", "keep_checkpoints", "torch_threads")
        at_most("run", self, MOST_THREADS, "torch_threads")
        try:
            check_metrics((*self.metrics, *self.step_metrics))
        except ProtocolError as error:
            raise UsageError(f"run.metrics and run.step_metrics: {error}") from None
        try:
            has_port = not self.metrics_address or host_and_port(f"tcp://{self.metrics_address}")[1]
        except UsageError:
            has_port = 0
        if not has_port:
            raise UsageError(f"run.metrics_address={self.metrics_address!r} must be host:port, such as 127.0.0.1:9464")
        if not self.device.strip():
            raise UsageError("run.device is empty: choose for example cpu or cuda")
        if self.backend == NCCL and self.device != "cuda":
            raise UsageError(
                f"run.backend=nccl adds up between GPUs, one of each learner's own, and run.device={self.device}: set "
                "run.device=cuda, or leave it out (gloo)"
            )
        for tracker in self.trackers:
            if tracker not in SERVICES and not _HOOKS.fullmatch(tracker):
                near = get_close_matches(tracker.lower(), SERVICES, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise UsageError(
                    f"run.trackers={tracker!r} must be one of {', '.join(SERVICES)}{hint}, or module:Class of yours"
                )
        if len(set(self.trackers)) < len(self.trackers):
            raise UsageError("run.trackers names one twice")
        if not self.project.strip():
            raise UsageError("run.project is empty: name what trackers keep the run under")
        if self.hooks and not _HOOKS.fullmatch(self.hooks):
            raise UsageError(f"run.hooks={self.hooks!r} must be module:Class, for example my_hooks:StopWhenGood")
        at_least("run", self, 0, "seed", "checkpoint_seconds", "checkpoint_share", "video_seconds", "evaluate_seconds")
