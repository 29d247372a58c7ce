"""Stragglers under each collection rule: rate against the ideal, and which steps the policy is trained on.

python -m scripts.experiments.stragglers --kind environments --output benchmarks/stragglers-environments.json
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any, NamedTuple, get_args

import numpy as np

from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.bench.observed_run import conditions
from dppo.learner.config import CollectConfig, EnvConfig, LearnerConfig, NetworkConfig, PpoConfig, RunConfig
from dppo.learner.ppo.batch import Received
from scripts.experiments import speeds
from scripts.experiments.intervals import interval, text_of
from scripts.experiments.row_files import write_rows
from scripts.experiments.simulated_run import SimulatedRun

ENVIRONMENTS = 32
BATCH_STEPS = 1024
WARM_UP = 5  # batches that do not count
LAST = 10  # versions whose actions are averaged
RULES: Mapping[str, dict[str, Any]] = {
    "minimum": {"rule": "minimum"},
    "minimum, drop": {"rule": "minimum", "on_stop": "drop"},
    "even_shares": {"rule": "even_shares"},
    "quorum": {"rule": "quorum"},
    "quota": {"rule": "quota"},
}
LEARNING = PpoConfig(gamma=0.0, gae_lambda=0.0, epochs=10, minibatch_steps=0, learning_rate=5e-3)
NETWORK = NetworkConfig(policy_hidden=(8,), critic_hidden=(8,), normalise_observations=False)


class Batch(NamedTuple):
    """One batch of a run."""

    seconds: float  # since the one before
    steps: np.ndarray  # [ENVIRONMENTS] int64, of each slot
    slow: np.ndarray  # [ENVIRONMENTS] int64, those of them in slow states
    action: float  # most likely one of the policy that the batch has given
    made: np.ndarray  # [2] int64, steps and slow steps that were made for it, also those that are not trained on


def config_of(rule: str, kind: str, seed: int) -> LearnerConfig:
    """Settings of one run."""
    env = EnvConfig(
        id="scripts.experiments.speeds:Told",
        kwargs={"slot": "{slot}", "kind": kind, "seed": seed},
        vectorization="sync",
    )
    collect = CollectConfig(batch_steps=BATCH_STEPS, envs_per_actor=1, **RULES[rule])
    collect = replace(collect, slots=ENVIRONMENTS) if collect.rule == "quota" else collect
    run = RunConfig(seed=seed)
    return LearnerConfig(env=env, collect=collect, ppo=LEARNING, network=NETWORK, run=run)


def batches(rule: str, kind: str, seed: int, count: int) -> Iterator[Batch]:
    """Train so many updates; one environment an actor, so that each is as slow as it is."""
    run = SimulatedRun(config_of(rule, kind, seed), [1] * ENVIRONMENTS, speeds.seconds_of)
    before, made_before = run.now, _made()
    for _ in range(count):
        run.publish()
        batch = run.next_batch()
        run.trainer.update(batch)
        made = _made()
        action = _action(run.trainer.graph_bytes(0))
        yield Batch(run.now - before, *_counted(batch), action, made - made_before)
        before, made_before = run.now, made
    run.close()


def _counted(batch: Sequence[Received]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and slow steps of each slot. The reward says which are slow: -(a - 1)^2 and not -a^2."""
    steps, slow = np.zeros((2, ENVIRONMENTS), np.int64)
    for rollout in batch:
        actions, rewards = rollout.segment.actions["action"][..., 0].clip(-4, 4), rollout.segment.rewards
        is_slow = np.abs(rewards + (actions - 1.0) ** 2) < np.abs(rewards + actions**2)
        steps[rollout.first_slot] += rollout.segment.steps
        slow[rollout.first_slot] += int(is_slow.sum())
    return steps, slow


def _made() -> np.ndarray:
    own = [speeds.REGISTRY[slot] for slot in range(ENVIRONMENTS)]
    return np.array([sum(speed.steps for speed in own), sum(speed.slow_steps for speed in own)])


def _action(graph: bytes) -> float:
    runner = PolicyRunner(graph)
    _, env_action, _ = runner.act(
        {"observation": np.ones((1, 1), np.float32)}, np.zeros((1, runner.noise_size), np.float32)
    )
    assert isinstance(env_action, np.ndarray), "one box"
    return float(env_action[0, 0])


def ideal_rate(kind: str) -> float:
    """Steps a second where no environment ever waits."""
    slow = speeds.FAST_SECONDS * speeds.SLOWER
    if kind == "environments":
        count = len([slot for slot in range(ENVIRONMENTS) if slot % 10 == 9])
        return (ENVIRONMENTS - count) / speeds.FAST_SECONDS + count / slow
    if kind == "equal":
        return ENVIRONMENTS / speeds.FAST_SECONDS
    return ENVIRONMENTS / (speeds.SHARE * slow + (1 - speeds.SHARE) * speeds.FAST_SECONDS)


def figures(found: Sequence[Batch], kind: str) -> dict[str, float]:
    """Figures of one run, without its first batches."""
    counted = found[WARM_UP:]
    steps, slow = (np.stack([getattr(batch, name) for batch in counted]) for name in ("steps", "slow"))
    made, made_slow = np.sum([batch.made for batch in counted], axis=0)
    weights = np.minimum(1.0, BATCH_STEPS / ENVIRONMENTS / np.maximum(steps, 1))  # of every step of a slot
    return {
        "rate": float(steps.sum()) / sum(batch.seconds for batch in counted) / ideal_rate(kind),
        "batch_steps": float(steps.sum(axis=1).mean()) / BATCH_STEPS,
        "made_slow_share": float(made_slow / made),
        "slow_share": float(slow.sum() / steps.sum()),
        "weighted_slow_share": float((weights * slow).sum() / (weights * steps).sum()),
        "slow_trace_steps": _trace(slow, steps),
        "fast_trace_steps": _trace(steps - slow, steps),
        "learned_share": mean(batch.action for batch in found[-LAST:]),
    }


def _trace(rows: np.ndarray, steps: np.ndarray) -> float:
    """Mean over those rows of the steps that their slot has in the batch; 0: there is no such row."""
    return float((rows * steps).sum() / max(1, rows.sum()))


def main() -> None:
    """Run all rules with all seeds on one kind of stragglers; print and write a row a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=get_args(speeds.Kind), required=True)
    parser.add_argument("--rules", nargs="*", choices=list(RULES), default=list(RULES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--output", default="")
    arguments = parser.parse_args()
    about = {"experiment": "stragglers", "kind": arguments.kind, "batches": arguments.batches, **conditions()}
    rows = {}
    for rule in arguments.rules:
        seeds = range(1, arguments.seeds + 1)
        runs = [figures(list(batches(rule, arguments.kind, seed, arguments.batches)), arguments.kind) for seed in seeds]
        rows[rule] = {name: interval([run[name] for run in runs]) for name in runs[0]}
        print(f"{rule:>14}: " + ", ".join(f"{name} {text_of(found)}" for name, found in rows[rule].items()), flush=True)
        write_rows(arguments.output, {**about, "ideal_steps_per_second": ideal_rate(arguments.kind)}, rows)


if __name__ == "__main__":
    main()
