"""Status of a run for people who watch it: one record, twice a second. Knows neither terminal nor file."""

import msgspec

SUMMARY = "summary.json"  # in the run directory, at the end
LAST_PHASE = "STOPPED"  # of Status.phase
OWN_METRICS = "metrics/"  # in front of names that are the user's, in the JSON line too: they hide none of ours


class ActorStatus(msgspec.Struct, frozen=True):
    """One row of the live table."""

    name: str
    state: str  # joining, running, stopped, silent, gone
    envs: int
    steps: int  # accepted from this actor
    env_share: float  # of its time since the last ping, 0..1
    policy_share: float
    send_share: float
    idle_share: float
    heard_seconds_ago: float
    env_restarts: int = 0  # environments that it made again because they crashed
    open_steps: int = 0  # in the segment that it is filling, at its last report
    staleness: int = 0  # versions that its policy is behind
    credit: int = 0  # rollouts that it may send


class LedgerStatus(msgspec.Struct, frozen=True):
    """All incarnations together, in environment steps: sealed = trained + pending + dropped + in flight."""

    sealed: int
    trained: int
    pending: int  # accepted, waiting for the next update
    in_flight: int
    dropped: dict[str, int]  # by reason
    duplicates: int  # rollouts that arrived twice and were ignored


class Status(msgspec.Struct, frozen=True):
    """The state of a run at one moment."""

    phase: str
    run_directory: str
    env: str
    updates: int
    version: int
    steps: int  # trained
    total_steps: int
    steps_per_second: float  # over the last ten seconds, those of open segments included
    episodes: int
    mean_return: float | None  # of the last `return_window` training episodes
    target_return: float | None
    elapsed_seconds: float  # since the learner started
    waiting_for: str  # "" or which actors are late, in words
    actors: tuple[ActorStatus, ...]
    ledger: LedgerStatus
    metrics: dict[str, float]  # of the newest update
    first_step_seconds: float | None  # from launch to the first accepted rollout; None before
    outliers: int = 0  # absurd numbers so far, of whose effect on training is little
    steps_left_out: int = 0  # of `steps`: not trained on
    return_outliers: int = 0  # of the newest episodes: how many mean_return leaves out
    median_return: float | None = None  # of the same episodes as mean_return, none left out
    success_rate: float | None = None  # of the same episodes as mean_return; None where the environment does not say
    collected_steps: int = 0  # for the next update: pending, in flight and in open segments
    batch_steps: int = 0  # of an update at least
    queue_rollouts: int = 0  # accepted for the next update
    queue_bytes: int = 0  # likewise
    part_seconds: dict[str, float] = {}  # of this start, by part of the updates: collect, update, stop, policy
