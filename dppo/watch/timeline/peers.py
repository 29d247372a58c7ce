"""Activities of one actor, as a learner's trace has them: messages in, spans of its lane out. Knows the protocol.

| from | to | activity |
|---|---|---|
| HELLO | its first policy sent | joining: it makes its environments |
| PART or POLICY sent | HAVE | policy under way: it reads and loads it; unless it steps on under the one before |
| HAVE, EXTEND | STOP sent | stepping |
| STOP sent | STOPPED | from STOP to the answer: it finishes a step, sends what it has |
| STOPPED, its share delivered, no credit left | POLICY, EXTEND, credit | waiting |
| BYE, a lost connection, a refusal, silence | HELLO | away |

No message says when an actor stands still because of what is under way, and each PING says for how long it did since
the one before: that part of its stepping and of its answers to STOP is sending. A PING comes behind what is under way,
so the moment up to which it counts is by the actor's clock.
"""

import math
from collections.abc import Mapping
from typing import Any

from dppo.ops.trace_reader import TraceEvent
from dppo.watch.timeline.lanes import TASKS, Board, Doing, Happening, Lane

Span = tuple[float, float, Doing]  # start, end
BUSY = (Doing.WORKING, Doing.STOPPING)  # activities in which it sends, too
LEAST_SENDING = 0.05  # of the busy time: less is what packing costs, and no wait
MOST_SPANS_A_PING = 1_000  # a heartbeat is a second


def number(fields: Mapping[str, Any], name: str) -> float:
    """Return that number of an event; 0 where there is none."""
    value = fields.get(name)
    return value if isinstance(value, int | float) else 0


class ActorView:
    """Follow one actor through one start of a learner."""

    def __init__(self, board: Board, lane: Lane, seconds: float) -> None:
        """seconds: of the moment from which on it is followed."""
        self.lane = lane
        self.doing = Doing.AWAY
        self.stop_at: float | None = None  # STOP of the newest policy is out, and not answered
        self.owes_answer = False  # to some STOP
        self.incarnation = ""
        self._board = board
        self._since = seconds
        self._spans: list[Span] = []  # since its newest PING, whose next one says how much of them was sending
        self._behind = math.inf  # its clock, as far as is known: behind the learner's, and the shortest way of a PING
        self._is_idle_by_itself = False  # waits without STOP: share delivered, or no credit
        self._policy: tuple[float, float] = (0, 0)  # term and version that it was sent last
        self._rows = 0.0  # made under it, in every environment
        self._most_rows = 0.0  # it is to make under it; 0: as many as it can
        self._newest_seq = 0.0
        self._granted_seq = 0.0  # up to which it has credit

    @property
    def _is_unknown(self) -> bool:
        """Whether it was there before the trace begins."""
        return self.doing is Doing.AWAY and not self.incarnation

    def become(self, doing: Doing, seconds: float) -> None:
        """End an activity and begin another."""
        if doing is not self.doing:
            self._end_span(seconds)
            self.doing = doing
            self._is_idle_by_itself = False

    def close(self, seconds: float) -> None:
        """End the newest activity: nothing more is known."""
        self._end_span(seconds)
        self._hand_over(seconds)

    def _end_span(self, seconds: float) -> None:
        self._spans.append((self._since, seconds, self.doing))
        self._since = seconds
        if len(self._spans) > MOST_SPANS_A_PING:
            self._hand_over(seconds)

    def _hand_over(self, until: float, send_seconds: float = 0.0) -> None:
        """Put the spans up to that moment on the board; send_seconds: of the busy ones, drawn at the end of each."""
        over = [(start, min(end, until), doing) for start, end, doing in self._spans if start < until]
        self._spans = [(max(start, until), end, doing) for start, end, doing in self._spans if end > until]
        busy = sum(end - start for start, end, doing in over if doing in BUSY)
        share = min(1.0, send_seconds / busy) if busy > 0 else 0.0
        for start, end, doing in over:
            sends = share * (end - start) if doing in BUSY and share >= LEAST_SENDING else 0.0
            self._board.span(self.lane, start, end - sends, doing)
            self._board.span(self.lane, end - sends, end, Doing.SENDING)

    def gone(self, seconds: float, happening: Happening | None) -> None:
        """Note that it is not there any more."""
        if self.doing is not Doing.AWAY and happening is not None:
            self._board.mark(seconds, self.lane, happening)
        self.stop_at, self.owes_answer = None, False
        self.become(Doing.AWAY, seconds)
        self._hand_over(seconds)

    # What it sent

    def hello(self, fields: Mapping[str, Any], seconds: float, *, seen_before: str) -> None:
        """Note a HELLO. seen_before: its incarnation, "" where it has not been there yet."""
        incarnation = str(fields.get("incarnation", ""))
        if not seen_before:
            self._board.mark(seconds, self.lane, Happening.JOINED)
        elif incarnation != seen_before:
            self._board.mark(seconds, self.lane, Happening.RESTARTED)
        elif self.doing is Doing.AWAY and self.incarnation:
            self._board.mark(seconds, self.lane, Happening.RECONNECTED)
        if incarnation != self.incarnation:
            self._policy, self._rows, self._most_rows, self._newest_seq, self._granted_seq = (0, 0), 0, 0, 0, 0
            self._behind = math.inf
        self.incarnation = incarnation
        self.stop_at, self.owes_answer = None, False
        self.become(Doing.JOINING, seconds)

    def have(self, fields: Mapping[str, Any], seconds: float) -> None:
        """Note a HAVE: it steps, unless STOP is out, or a still newer policy is under way."""
        policy = number(fields, "term"), number(fields, "version")
        if policy == self._policy and self.stop_at is None:
            self._work_on(seconds)
        elif self._is_unknown:
            self._policy = policy
            self._work_on(seconds)

    def rollout(self, fields: Mapping[str, Any], seconds: float) -> None:
        """Note a rollout."""
        seq = number(fields, "seq")
        if seq <= self._newest_seq:
            return  # sent again on a new connection
        self._newest_seq = seq
        self.lane.envs = max(1, int(number(fields, "E")))
        self._board.rollout(self.lane, seconds, int(number(fields, "steps")))
        if (number(fields, "term"), number(fields, "version")) == self._policy:
            self._rows += number(fields, "T")
        self._rest_if_done(seconds)

    def stopped(self, seconds: float) -> bool:
        """Note a STOPPED; return whether no newer policy has been sent since that STOP."""
        is_newest, self.stop_at, self.owes_answer = self.stop_at is not None, None, False
        if self.doing is Doing.STOPPING:
            self.become(Doing.WAITING, seconds)
        return is_newest

    def ping(self, fields: Mapping[str, Any], seconds: float) -> None:
        """Add up its own measurements of its time: lengths by its clock, and no moments."""
        if self.doing in (Doing.JOINING, Doing.AWAY):
            return
        if self._board.covers(seconds):
            for task in TASKS:
                self.lane.task_seconds[task] += number(fields, f"{task}_seconds")
        self._end_span(seconds)
        self._behind = min(self._behind, seconds - number(fields, "time"))
        self._hand_over(number(fields, "time") + self._behind, number(fields, "send_seconds"))

    # What it was sent

    def sent(self, event: TraceEvent, seconds: float) -> None:
        """Note a message to it."""
        fields = event.fields
        match event.message:
            case "Welcome":
                self._granted_seq = number(fields, "watermark") + number(fields, "credit")
            case "Ack":
                if self._is_unknown:
                    self.become(Doing.WORKING, seconds)
                self._granted_seq = number(fields, "upto") + number(fields, "credit")
                self._rest_if_done(seconds)
            case "Part" | "Policy":
                self._offered(fields, seconds)
            case "Extend":
                self._most_rows = number(fields, "rows")
                self._policy = number(fields, "term"), number(fields, "version")
                self._work_on(seconds)
            case "Stop":
                self.stop_at, self.owes_answer = seconds, True
                if self.doing is not Doing.AWAY or self._is_unknown:
                    self.become(Doing.STOPPING, seconds)
            case "Reject" if fields.get("code") != "superseded":  # which goes to an older process of the name
                self.gone(seconds, Happening.REFUSED if fields.get("fatal") else None)
            case "Redirect":
                self.gone(seconds, None)

    def _offered(self, fields: Mapping[str, Any], seconds: float) -> None:
        policy = number(fields, "term"), number(fields, "version")
        if policy != self._policy:
            self._policy, self._rows = policy, 0
        if "rows" in fields:
            self._most_rows = number(fields, "rows")
        if self.doing is not Doing.WORKING:
            self.stop_at = None
            self.become(Doing.PUBLISHING, seconds)

    def _work_on(self, seconds: float) -> None:
        self.become(Doing.WORKING, seconds)
        self._rest_if_done(seconds)

    def _rest_if_done(self, seconds: float) -> None:
        """Let it wait where it has nothing to do without having been stopped, and go on once it has."""
        is_done = 0 < self._most_rows <= self._rows or self._newest_seq >= self._granted_seq > 0
        if is_done and self.doing is Doing.WORKING:
            self.become(Doing.WAITING, seconds)
            self._is_idle_by_itself = True
        elif not is_done and self._is_idle_by_itself:
            self.become(Doing.WORKING, seconds)
