"""Make the Status that people watch from session and run. Reads both; changes neither."""

from collections import deque

import msgspec

from dppo.learner.run import Run
from dppo.learner.session import wait_report as waiting
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import Peer
from dppo.learner.session.session import LearnerSession
from dppo.learner.telemetry.status import ActorStatus, LedgerStatus, Status
from dppo.protocol.messages import TimeShares
from dppo.protocol.rollout import most_rows

SHOW_GONE_SECONDS = 10.0
SPEED_SECONDS = 10.0  # over which the speed is measured: segments of slow environments fill for minutes, PINGs take 1 s
SPEED_SAMPLE_SECONDS = 0.4


class Reporter:
    """Makes Status records; remembers earlier counts for the speed."""

    def __init__(self, run: Run) -> None:
        """Read of `run` only what never changes, and the record that its thread publishes."""
        self._config, self._directory, self._launched_at = run.config, run.directory.path, run.launched_at
        self._run = run
        self._speed = _Speed()
        self._rows: dict[str, tuple[float, ActorStatus]] = {}  # by name: when last seen connected

    def status(self, session: LearnerSession, now: float) -> Status:
        """The state of the run at this moment. Under the session's lock."""
        config, run = self._config, self._run.published
        total = session.ledger.total()
        actors = self._actors(session, now)
        collected = total.pending + total.in_flight + sum(actor.open_steps for actor in actors)
        return Status(
            phase=session.cycle.phase.name,
            run_directory=str(self._directory),
            env=config.env.id,
            updates=run.updates,
            version=session.cycle.snapshot.version,
            steps=run.steps,
            total_steps=config.run.total_steps,
            steps_per_second=self._speed.steps_per_second(now, total.trained + collected),
            episodes=run.episodes,
            mean_return=run.mean_return,
            target_return=config.run.target_return,
            elapsed_seconds=now - self._launched_at,
            waiting_for=waiting_for(session, now),
            actors=actors,
            ledger=LedgerStatus(
                sealed=total.sealed,
                trained=total.trained,
                pending=total.pending,
                in_flight=total.in_flight,
                dropped={reason: steps for reason, steps in sorted(total.dropped.items()) if steps},
                duplicates=total.duplicates,
            ),
            metrics=dict(run.metrics),
            first_step_seconds=run.first_step_seconds,
            outliers=run.outliers,
            steps_left_out=run.steps_left_out,
            return_outliers=run.return_outliers,
            median_return=run.median_return,
            success_rate=run.success_rate,
            collected_steps=collected,
            batch_steps=config.collect.batch_steps,
            queue_rollouts=len(session.cycle.batch.rollouts),
            queue_bytes=session.cycle.batch.bytes,
            part_seconds=dict(run.part_seconds),
        )

    def _actors(self, session: LearnerSession, now: float) -> tuple[ActorStatus, ...]:
        """Connected actors by slot, then those that left a moment ago, or that saw the end of the run."""
        connected = sorted(session.peer_table.peers.values(), key=lambda peer: peer.slots.first)
        version = session.cycle.snapshot.version
        self._rows.update({peer.actor: (now, _actor(peer, version, now)) for peer in connected})
        if session.cycle.phase not in (Phase.DRAINING, Phase.STOPPED):
            self._rows = {name: row for name, row in self._rows.items() if now - row[0] < SHOW_GONE_SECONDS}
        names = {peer.actor for peer in connected}
        gone = [
            msgspec.structs.replace(row, state="gone", open_steps=0)
            for name, (_, row) in self._rows.items()
            if name not in names
        ]
        return (*(self._rows[peer.actor][1] for peer in connected), *gone)


def waiting_for(session: LearnerSession, now: float) -> str:
    """Return which actors or what else holds the run up, "" if nothing does."""
    if session.cycle.phase is Phase.COLLECTING and session.peer_table.peers:
        return ""  # that is the work; when it lasts, the session reports it
    return waiting.waiting_for(session.peer_table, session.cycle, now)


def _actor(peer: Peer, version: int, now: float) -> ActorStatus:
    shares = _normalised(peer.shares)
    if not peer.ready:
        state = "joining"
    elif now - peer.heard > 3.0:  # three heartbeats
        state = "silent"
    elif peer.stopped:
        state = "stopped" if peer.sent_version else "joining"  # before its first policy it has answered no STOP
    else:
        state = "running"
    return ActorStatus(
        name=peer.actor,
        state=state,
        envs=peer.slots.envs,
        steps=peer.steps,
        env_share=shares.env,
        policy_share=shares.policy,
        send_share=shares.send,
        idle_share=shares.idle,
        heard_seconds_ago=now - peer.heard,
        env_restarts=peer.account.env_restarts,
        open_steps=_open_steps(peer),
        staleness=max(0, version - peer.have_version),
        credit=0 if peer.credit_withheld else max(0, peer.credit_upto - peer.account.watermark),
    )


def _open_steps(peer: Peer) -> int:
    """Steps in the segment that it is filling, and never more than fit into one. None after its answer to STOP."""
    most = most_rows(peer.quota.segment_steps) * peer.slots.envs
    return 0 if peer.stopped else min(peer.open_steps, most)


class _Speed:
    """Steps per second over a while."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()  # when, steps made and not lost

    def steps_per_second(self, now: float, steps: int) -> float:
        samples = self._samples
        if not samples or now - samples[-1][0] >= SPEED_SAMPLE_SECONDS:
            samples.append((now, steps))
        while len(samples) > 2 and now - samples[1][0] >= SPEED_SECONDS:
            samples.popleft()
        seconds = samples[-1][0] - samples[0][0]
        return max(0.0, (samples[-1][1] - samples[0][1]) / seconds) if seconds > 0 else 0.0


def _normalised(shares: TimeShares) -> TimeShares:
    total = shares.env + shares.policy + shares.send + shares.idle
    if total <= 0:
        return TimeShares()
    return TimeShares(shares.env / total, shares.policy / total, shares.send / total, shares.idle / total)
