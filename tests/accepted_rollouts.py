"""Rollouts as the learner accepts them: acted with the trainer's graph, packed, and checked as off the wire."""

from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import checked_segment
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import pack
from dppo.protocol.specs import Spec


def collected(spec: Spec, trainer: Trainer, version: int, collector: Collector, *, rows: int) -> Received:
    """Return what the learner accepts of one segment of that many rows. spec: once the environments were reset."""
    collector.load(PolicyRunner(trainer.graph_bytes(version)))
    for _ in range(rows):
        collector.step()
    segment = collector.cut()
    assert segment is not None
    counts = segment.counts
    header = Rollout(version, 1, version, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
    accepted = checked_segment(spec, header, bytes(pack(spec, segment)), envs=collector.envs)
    return Received("actor", b"12345678", version, 0, accepted)
