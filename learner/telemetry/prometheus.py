"""A Status as metric families of prometheus-client, with OpenMetrics names and units. Pure: a record in, families out.

Labels are bounded: names of figures and reasons are a fixed set, and of actors at most MOST_ACTORS have series.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dppo.learner.telemetry.status import OWN_METRICS, ActorStatus, Status
from dppo.protocol.account import DropReason
from dppo.protocol.actor_names import host_of, in_order

MOST_ACTORS = 200  # with series of their own, 10 each
STATES = ("joining", "running", "stopped", "silent", "gone")
TASKS = ("env", "policy", "send", "idle")


class StatusCollector(Collector):
    """Hands one status to prometheus-client."""

    def __init__(self, status: Status | None) -> None:
        """status: None before the first one."""
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        if self._status is not None:
            yield from families(self._status)


def rendered(status: Status | None, accept: str) -> tuple[bytes, str]:
    """Return the metrics as text and its content type, of those that the client accepts (a header of HTTP)."""
    encode, content_type = choose_encoder(accept)
    return encode(StatusCollector(status)), content_type


def families(status: Status) -> Iterator[Metric]:
    """Yield all that the status says."""
    yield from _progress(status)
    yield from _returns(status)
    yield from _ledger(status)
    yield from _actors(status.actors)
    yield from _actor_series(sorted(status.actors, key=lambda actor: in_order(actor.name))[:MOST_ACTORS])


def _gauge(name: str, text: str, value: float, unit: str = "") -> Metric:
    return GaugeMetricFamily(f"dppo_{name}", text, value=value, unit=unit)


def _counter(name: str, text: str, value: float, unit: str = "") -> Metric:
    return CounterMetricFamily(f"dppo_{name}", text, value=value, unit=unit)


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, values: dict[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _progress(status: Status) -> Iterator[Metric]:
    yield InfoMetricFamily("dppo_run", "The run.", {"env": status.env, "directory": status.run_directory})
    yield _labelled(
        GaugeMetricFamily("dppo_phase", "1 for the phase that the learner is in.", labels=["phase"]),
        {status.phase.lower(): 1.0},
    )
    yield _counter("updates", "Updates so far: one batch, all epochs.", status.updates)
    yield _counter("trained_steps", "Environment steps trained on.", status.steps, "steps")
    yield _gauge("goal_steps", "Environment steps after which the run ends.", status.total_steps, "steps")
    yield _gauge("steps_per_second", "Environment steps a second, over the last ten seconds.", status.steps_per_second)
    yield _gauge("elapsed_seconds", "Time since this learner was launched.", status.elapsed_seconds, "seconds")
    yield _gauge("policy_version", "Version of the newest policy.", status.version)
    yield _gauge("collected_steps", "Steps for the next update, open ones included.", status.collected_steps, "steps")
    yield _gauge("batch_steps", "Steps that an update takes at least.", status.batch_steps, "steps")
    yield _gauge("queue_rollouts", "Rollouts that wait for the next update.", status.queue_rollouts, "rollouts")
    yield _gauge("queue_bytes", "Their size.", status.queue_bytes, "bytes")
    yield _labelled(
        CounterMetricFamily(
            "dppo_update_parts_seconds",
            "Time of this start by part of the updates: collect, update, stop, policy.",
            labels=["part"],
            unit="seconds",
        ),
        status.part_seconds,
    )
    yield _labelled(
        GaugeMetricFamily("dppo_update_figure", "Figures of the newest update, as in metrics.jsonl.", labels=["name"]),
        {name: value for name, value in status.metrics.items() if not name.startswith(OWN_METRICS)},
    )


def _returns(status: Status) -> Iterator[Metric]:
    yield _counter("episodes", "Episodes that have ended.", status.episodes)
    optional = {
        "return_mean": ("Mean return of the newest training episodes.", status.mean_return),
        "return_median": ("Median return of the same episodes, absurd ones included.", status.median_return),
        "return_target": ("Mean return that counts as solved.", status.target_return),
        "success_ratio": ("Share of the same episodes that succeeded.", status.success_rate),
    }
    for name, (text, value) in optional.items():
        if value is not None:
            yield _gauge(name, text, value)
    own = {name.removeprefix(OWN_METRICS): v for name, v in status.metrics.items() if name.startswith(OWN_METRICS)}
    if own:
        text = "Means of the environment's own metrics (run.metrics, run.step_metrics)."
        yield _labelled(GaugeMetricFamily("dppo_environment_metric", text, labels=["name"]), own)
    yield _counter("outliers", "Absurd numbers in rollouts, of whose effect little is left.", status.outliers)
    yield _counter("left_out_steps", "Of the trained steps: those that had no effect.", status.steps_left_out, "steps")


def _ledger(status: Status) -> Iterator[Metric]:
    ledger = status.ledger
    yield _counter("ledger_sealed_steps", "Steps that actors have sealed.", ledger.sealed, "steps")
    yield _counter("ledger_trained_steps", "Of those: trained on.", ledger.trained, "steps")
    yield _gauge("ledger_pending_steps", "Of those: accepted, wait for the next update.", ledger.pending, "steps")
    yield _gauge("ledger_in_flight_steps", "Of those: not accepted yet.", ledger.in_flight, "steps")
    yield _labelled(
        CounterMetricFamily(
            "dppo_ledger_dropped_steps", "Of those: dropped, by reason.", labels=["reason"], unit="steps"
        ),
        {reason: float(ledger.dropped.get(reason, 0)) for reason in get_args(DropReason)},
    )
    yield _counter("ledger_duplicate_rollouts", "Rollouts that came twice.", ledger.duplicates, "rollouts")


def _actors(actors: Sequence[ActorStatus]) -> Iterator[Metric]:
    states = Counter(actor.state for actor in actors)
    yield _labelled(
        GaugeMetricFamily("dppo_actors", "Actors by state.", labels=["state"]),
        {state: float(states[state]) for state in STATES},
    )
    left_out = max(0, len(actors) - MOST_ACTORS)
    yield _gauge("actors_without_series", f"Actors beyond the {MOST_ACTORS} that have series.", left_out)


def _actor_series(actors: Sequence[ActorStatus]) -> Iterator[Metric]:
    labels = ["actor", "host"]
    steps = CounterMetricFamily(
        "dppo_actor_steps", "Steps accepted from the actor on its connection.", labels=labels, unit="steps"
    )
    restarts = CounterMetricFamily(
        "dppo_actor_environment_restarts", "Environments that it made again because they crashed.", labels=labels
    )
    shares = GaugeMetricFamily(
        "dppo_actor_time_ratio",
        "Share of its time by task, since its last ping.",
        labels=[*labels, "task"],
        unit="ratio",
    )
    environments = GaugeMetricFamily("dppo_actor_environments", "Environments that it steps.", labels=labels)
    silence = GaugeMetricFamily(
        "dppo_actor_silence_seconds", "Time since it was last heard.", labels=labels, unit="seconds"
    )
    staleness = GaugeMetricFamily(
        "dppo_actor_staleness_versions", "Versions that its policy is behind.", labels=labels, unit="versions"
    )
    credit = GaugeMetricFamily(
        "dppo_actor_credit_rollouts", "Rollouts that it may send.", labels=labels, unit="rollouts"
    )
    for actor in actors:
        names = [actor.name, host_of(actor.name)]
        steps.add_metric(names, actor.steps)
        restarts.add_metric(names, actor.env_restarts)
        environments.add_metric(names, actor.envs)
        silence.add_metric(names, actor.heard_seconds_ago)
        staleness.add_metric(names, actor.staleness)
        credit.add_metric(names, actor.credit)
        for task in TASKS:
            shares.add_metric([*names, task], getattr(actor, f"{task}_share"))
    yield from (steps, restarts, shares, environments, silence, staleness, credit)
