"""Bytes that the peers of a session may have under way. Part of the session, without I/O."""

import math

from dppo.learner.session.flow_control import (
    CREDIT,
    UNKNOWN_PEER_BYTES,
    allowed_bytes,
    batch_bytes,
    largest_rollout_bytes,
    most_segment_steps,
    segment_steps_of,
    total_bytes,
)
from dppo.learner.session.peer_table import PeerTable
from dppo.learner.session.records import Settings

MAX_SIZES = 1024  # remembered


class Budget:
    """Works sizes out once, for the spaces of the run."""

    def __init__(self, settings: Settings, peer_table: PeerTable) -> None:
        self._settings = settings
        self._peer_table = peer_table
        self._allowed: dict[int, int] = {}  # by environments of an actor
        self._batches: dict[int, int] = {}  # by connected actors

    def allowed_bytes(self, connection: bytes | None) -> int:
        """Return how many unread bytes that connection may have sent; None: a connection that has sent nothing yet."""
        most = self._peer_table.relays.most_carried(connection)
        if self._peer_table.spec is None:
            return UNKNOWN_PEER_BYTES * most
        allowed = 0
        for peer in self._peer_table.index.on(connection) if connection is not None else ():
            allowed += self._of_actor(peer.slots.envs)
            most -= 1
        # those that are unknown may have known the last learner
        return allowed + most * self._of_actor(self._settings.envs_per_actor) if most > 0 else allowed

    def _of_actor(self, envs: int) -> int:
        spec = self._peer_table.rollout_spec
        assert spec is not None, "sizes follow from the spaces"
        allowed = self._allowed.get(envs)
        if allowed is None:
            if len(self._allowed) >= MAX_SIZES:
                self._allowed.clear()
            T = self._segment_steps(envs, 1)
            largest = largest_rollout_bytes(spec, segment_steps=T, envs=envs)
            allowed = self._allowed[envs] = allowed_bytes(largest, credit=CREDIT)
        return allowed

    def forget(self) -> None:
        """Sizes follow from other spaces now."""
        self._allowed.clear()
        self._batches.clear()

    def total_bytes(self) -> int:
        """Return how many bytes of all peers together may be unread or wait for the next update."""
        settings, spec, actors = self._settings, self._peer_table.rollout_spec, len(self._peer_table.peers)
        if settings.max_ingress_bytes or spec is None:
            return total_bytes(settings.max_ingress_bytes, allowed=UNKNOWN_PEER_BYTES, batch=0)
        total = self._batches.get(actors)
        if total is None:
            if len(self._batches) >= MAX_SIZES:
                self._batches.clear()
            envs = settings.envs_per_actor
            T = self._segment_steps(envs, max(1, actors))
            batch = batch_bytes(spec, batch_steps=settings.batch_steps, segment_steps=T, envs=envs, actors=actors)
            allowed = self._of_actor(envs)
            in_hand = settings.max_staleness + 1
            total = self._batches[actors] = total_bytes(0, allowed=allowed, batch=batch, batches=in_hand)
        return total

    def _segment_steps(self, envs: int, actors: int) -> int:
        settings = self._settings
        assert self._peer_table.rollout_spec is not None, "sizes follow from the spaces"
        share = math.ceil(settings.batch_steps / (envs * actors))
        most = most_segment_steps(
            self._peer_table.rollout_spec, envs=envs, max_rollout_bytes=settings.max_rollout_bytes
        )
        return max(1, min(segment_steps_of(share, settings.segment_steps), most))
