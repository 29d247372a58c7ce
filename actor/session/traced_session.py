"""An actor's session that also records every event. Made in the place of a plain one where a trace is wanted."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from dppo.actor.session.actions import Action, Exit, Load, Note, Reconnect, Send
from dppo.actor.session.session import ActorSession
from dppo.actor.session.task import MAX_DAMAGED
from dppo.protocol.messages import FromLearner, TimeShares
from dppo.protocol.release import RELEASE
from dppo.protocol.rollout import Blob, Segment
from dppo.protocol.specs import Spec
from dppo.protocol.trace import Trace, TracedCalls


class TracedActorSession(ActorSession):
    """Records messages in and out, states, connections, and times without a policy or credit."""

    def __init__(self, trace: Trace, **of_session: Any) -> None:
        super().__init__(**of_session)
        self._trace = trace
        self._calls = TracedCalls(trace, lambda: self.state.value, self._record_actions)
        self._waits_for = ""
        self._waits_since = 0.0

    def _record_actions(self, actions: Sequence[Action]) -> None:
        trace, state = self._trace, self.state.value
        for action in actions:
            match action:
                case Send():
                    trace.message("sent", state, action.message, action.blob)
                case Load():
                    trace.event("load", state, fields={"term": action.term, "version": action.version})
                case Reconnect():
                    trace.event("reconnect", state)
                case Exit():
                    trace.event("exit", state, fields={"code": action.code, "reason": action.reason})
                case Note():
                    trace.event("note", state, fields={"text": action.text})

    def connected(self, now: float) -> list[Action]:
        """Record a fresh connection."""
        self._trace.event("connected", self.state.value, fields={"actor": self.actor})
        return self._calls.run(lambda: super(TracedActorSession, self).connected(now))

    def tick(self, now: float, shares: Callable[[], TimeShares], open_steps: Callable[[], int] = int) -> list[Action]:
        """Record what the clock brings, and waits that begin or end."""
        actions = self._calls.run(lambda: super(TracedActorSession, self).tick(now, shares, open_steps))
        lack = self._lack
        if lack != self._waits_for:
            if self._waits_for:
                fields = {"for": self._waits_for, "seconds": round(now - self._waits_since, 6)}
                self._trace.event("waited", self.state.value, fields=fields)
            if lack:
                self._trace.event("waits", self.state.value, fields={"for": lack})
            self._waits_for, self._waits_since = lack, now
        return actions

    def receive(self, message: FromLearner, blob: Blob | None, now: float) -> list[Action]:
        """Record a message from the learner."""
        self._trace.message("received", self.state.value, message, blob)
        return self._calls.run(lambda: super(TracedActorSession, self).receive(message, blob, now))

    def environments_ready(self, spec: Spec, now: float) -> list[Action]:
        """Record that the environments exist."""
        self._trace.event("environments ready", self.state.value)
        return self._calls.run(lambda: super(TracedActorSession, self).environments_ready(spec, now))

    def unusable(self, what: str, now: float, most: int = MAX_DAMAGED) -> list[Action]:
        """Record what could not be used of the learner's."""
        self._trace.event("unusable", self.state.value, fields={"what": what})
        return self._calls.run(lambda: super(TracedActorSession, self).unusable(what, now, most))

    def loaded(self, load: Load, load_seconds: float) -> list[Action]:
        """Record that a policy is in place."""
        return self._calls.run(lambda: super(TracedActorSession, self).loaded(load, load_seconds))

    def stopped(self, first_step_seconds: float) -> list[Action]:
        """Record the answer to STOP."""
        return self._calls.run(lambda: super(TracedActorSession, self).stopped(first_step_seconds))

    def deliver(self, segment: Segment) -> list[Action]:
        """Record a segment that is sealed and sent."""
        self._trace.event("sealed", self.state.value, fields={"steps": segment.steps})
        return self._calls.run(lambda: super(TracedActorSession, self).deliver(segment))

    def drain(self, now: float) -> list[Action]:
        """Record that the actor is to end."""
        return self._calls.run(lambda: super(TracedActorSession, self).drain(now))

    def left(self, reason: str) -> list[Action]:
        """Record the last message."""
        return self._calls.run(lambda: super(TracedActorSession, self).left(reason))


def new_session(trace: Trace | None, *, actor: str, envs: int, learner: str = "") -> ActorSession:
    """Return the session of a new incarnation; with a trace, one that records its events there."""
    incarnation = os.urandom(8)
    if trace is None:
        return ActorSession(actor=actor, incarnation=incarnation, envs=envs, release=RELEASE, learner=learner)
    return TracedActorSession(trace, actor=actor, incarnation=incarnation, envs=envs, release=RELEASE, learner=learner)
