"""Activities of a learner and its actors, from its trace: events in, spans, marks and waits out. Knows the protocol."""

from dppo.ops.trace_reader import TraceEvent
from dppo.watch.timeline.clock import RunClock
from dppo.watch.timeline.lanes import Board, Doing, Happening, Start, StopWait
from dppo.watch.timeline.peers import ActorView, number

PHASES = {
    "waiting": Doing.WAITING,
    "collecting": Doing.WORKING,
    "stopping": Doing.STOPPING,
    "updating": Doing.UPDATING,
    "draining": Doing.ENDING,
    "leaving": Doing.ENDING,
    "stopped": Doing.ENDING,
}
TROUBLES = ("stuck", "crashed")  # of EnvFault
TOLD = ("Welcome", "Policy", "Have", "Ack", "Extend")  # messages by which an actor is known, where HELLO is not there
OF_PUBLISHING = ("publish", "state", "sent")  # events by which a policy leaves
SEPARATOR = ", "  # between the names of one record


def is_update(event: TraceEvent) -> bool:
    """Whether the event says that an update is done: a policy follows, or the end of the run."""
    if event.event == "publish":
        return event.state == "updating"
    return event.event == "state" and event.state == "draining" and event.fields.get("before") == "updating"


class LearnerView:
    """Follow one learner through its trace, over all its starts."""

    def __init__(self, board: Board, name: str, clock: RunClock, *, is_first: bool = True) -> None:
        """is_first: rank 0, whose updates are counted."""
        self._board, self._clock, self._is_first = board, clock, is_first
        self._lane = board.lane(name, is_learner=True)
        self._actors: dict[str, ActorView] = {}
        self._incarnations: dict[str, str] = {}  # of actors seen before, by name
        self._relays: set[str] = set()
        self._phase = self._doing = Doing.AWAY
        self._since = 0.0
        self._loading: set[str] = set()  # actors that have not loaded the newest policy yet
        self._stop: StopWait | None = None
        self._version = 0
        self._has_begun = False

    def take(self, event: TraceEvent) -> None:
        """Follow the next event."""
        before, now = self._clock.now, self._clock.at(event)
        if event.event == "begin":
            self._begin(before, now)
        elif self._doing is Doing.AWAY and event.state in PHASES:  # the file begins in the middle
            self._has_begun, self._since, self._doing = True, now, PHASES[event.state]
            self._phase = self._doing
        self._board.updates += is_update(event) and self._is_first and self._board.covers(now)
        match event.event:
            case "state":
                self._enter(PHASES.get(event.state, Doing.WAITING), now)
            case "publish":
                self._version = int(number(event.fields, "version"))
                self._loading.clear()
                self._become(Doing.PUBLISHING, now)
            case "received":
                self._received(event, now)
            case "sent":
                self._sent(event, now)
            case "gone" | "silent" | "disconnect":
                self._ended(event, now)
            case "left out":
                self._board.left_out += int(number(event.fields, "records"))
        if self._doing is Doing.PUBLISHING and not self._loading and event.event not in OF_PUBLISHING:
            self._become(self._phase, now)

    def close(self) -> None:
        """End all activities with the newest event."""
        now = self._clock.now
        for actor in self._actors.values():
            actor.close(now)
        self._board.span(self._lane, self._since, now, self._doing)
        self._since = now

    # The learner

    def _begin(self, before: float, now: float) -> None:
        """Begin another start of the learner; before: the newest event of the one before it."""
        if self._has_begun:
            for actor in self._actors.values():
                actor.gone(before, None)
                actor.close(now)
            self._become(Doing.AWAY, before)
            if self._board.covers(now):
                self._board.starts.append(Start(now, self._lane.name, now - before))
        self._actors, self._loading, self._stop = {}, set(), None
        if not self._has_begun:
            self._since = now
        self._has_begun = True
        self._phase = Doing.WAITING
        self._become(Doing.WAITING, now)

    def _become(self, doing: Doing, now: float) -> None:
        if doing is not self._doing:
            self._board.span(self._lane, self._since, now, self._doing)
            self._doing, self._since = doing, now

    def _enter(self, phase: Doing, now: float) -> None:
        if self._stop is not None and phase is not Doing.STOPPING:
            self._end_stop(self._stop, now)
        if phase is Doing.STOPPING:
            self._stop = StopWait(self._version, now)
        self._phase = phase
        if self._doing is not Doing.PUBLISHING or phase is not Doing.WORKING:  # collecting begins when all have loaded
            self._become(phase, now)

    def _end_stop(self, stop: StopWait, now: float) -> None:
        self._stop = None
        stop.end(now - stop.began, tuple(name for name, actor in self._actors.items() if actor.stop_at is not None))
        if not stop.actors or not self._board.covers(now):
            return
        self._board.stops.append(stop)
        for name in stop.waited_for:
            lane = self._board.lane(name)
            lane.last_of_stops += 1
            lane.lost_seconds += stop.lost_seconds / len(stop.waited_for)

    # Its actors

    def _actor(self, name: str, now: float) -> ActorView:
        """Return the view of an actor, begun where it is new."""
        if name not in self._actors:
            self._actors[name] = ActorView(self._board, self._board.lane(name), now)
        return self._actors[name]

    def _received(self, event: TraceEvent, now: float) -> None:
        name, fields = event.peer, event.fields
        if event.message == "RelayHello":
            self._relays.add(name)
        elif event.message == "Hello":
            actor = self._actor(name, now)
            actor.hello(fields, now, seen_before=self._incarnations.get(name, ""))
            self._incarnations[name] = actor.incarnation
            self._loading.discard(name)
        elif event.message == "Have" or name in self._actors:
            self._heard(self._actor(name, now), event, now)

    def _heard(self, actor: ActorView, event: TraceEvent, now: float) -> None:
        fields = event.fields
        match event.message:
            case "Have":
                actor.have(fields, now)
                if number(fields, "version") == self._version:
                    self._loading.discard(event.peer)
            case "Rollout":
                actor.rollout(fields, now)
            case "Stopped":
                if actor.owes_answer:
                    self._answered(actor, actor.stopped(now))
            case "Ping":
                actor.ping(fields, now)
            case "Bye":
                actor.gone(now, None if self._phase is Doing.ENDING else Happening.LEFT)
            case "EnvFault" if fields.get("kind") in TROUBLES:
                self._board.mark(now, actor.lane, Happening.TROUBLE)

    def _answered(self, actor: ActorView, is_awaited: bool) -> None:
        """Note an answer to STOP."""
        if self._stop is None or not is_awaited:
            actor.lane.late_answers += self._phase is not Doing.ENDING and self._board.covers(self._clock.now)
            return
        self._stop.answered(actor.lane.name, self._clock.now - self._stop.began)

    def _sent(self, event: TraceEvent, now: float) -> None:
        name = event.peer
        if name in self._relays or (name not in self._actors and event.message not in TOLD):
            return
        actor = self._actor(name, now)
        actor.sent(event, now)
        if event.message in ("Part", "Policy") and actor.doing is Doing.PUBLISHING:
            self._loading.add(name)
        if event.message == "Stop" and self._stop is not None:
            self._stop.actors += 1

    def _ended(self, event: TraceEvent, now: float) -> None:
        if event.fields.get("replaced"):
            return  # a connection that the actor has left for a newer one
        for name in event.peer.split(SEPARATOR):
            if name in self._actors:
                happening = Happening.REFUSED if event.event == "disconnect" else Happening.LOST
                if self._stop is not None and self._actors[name].stop_at is not None:
                    self._stop.answered(name, now - self._stop.began)
                self._actors[name].gone(now, None if self._phase is Doing.ENDING else happening)
                self._loading.discard(name)
