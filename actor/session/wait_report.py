"""Report what an actor waits for, and what was refused. Decides nothing; part of the session, without I/O."""

from dppo.actor.session.actions import Action, Note
from dppo.protocol.messages import Nack
from dppo.protocol.process.wait_backoff import WaitBackoff

FIRST_SECONDS = 3.0  # heartbeats are a second apart
IN_A_NOTE = {"no credit": "it asks for no more steps at the moment"}  # the protocol's words, for people
FIRST_SECONDS_FOR_WORK = 5.0  # a policy is due after every update: the usual length of those is learned


def refused(nack: Nack) -> list[Action]:
    """Return the note on a rollout that was refused; none where an honest actor's may be."""
    expected = nack.reason.startswith(("stale", "shutdown"))
    return [] if expected else [Note(f"rollout {nack.seq} was refused: {nack.reason}")]


class WaitReporter:
    """Reports waits that last, and once a learner that is gone."""

    def __init__(self, learner: str) -> None:
        """learner: its address, "" where it has none."""
        self.asks(learner)
        self._for_learner = WaitBackoff(FIRST_SECONDS)
        self._for_work = WaitBackoff(FIRST_SECONDS_FOR_WORK)
        self._asked_at: float | None = None  # the first question since the learner's last message
        self._heard_at: float | None = None
        self._gone = False
        self._put_off = ""

    def asks(self, learner: str) -> None:
        """Note the address of the learner that is asked from now on."""
        self._learner = f"the learner at {learner}" if learner else "the learner"

    def asked(self, now: float) -> None:
        """A HELLO or a PING has left."""
        if self._asked_at is None:
            self._asked_at = now

    def heard(self, now: float) -> None:
        """Note a message from the learner."""
        self._heard_at, self._asked_at = now, None

    def welcomed(self) -> list[Note]:
        """Note that the learner knows this actor."""
        back, self._gone = self._gone, False
        return [Note(f"{self._learner} is back")] if back else []

    def put_off(self, why: str) -> list[Note]:
        """Note that the learner wants to be asked again later; each reason is reported once."""
        before, self._put_off = self._put_off, why
        return [] if before == why else [Note(f"not yet: {why}")]

    def got_work(self, now: float) -> None:
        """A policy has come: waits of this length are what an update takes."""
        self._for_work.was_usual(now)
        self._for_work.look(None, now)

    def tick(self, lacks: str, is_reached: bool, now: float) -> list[Note]:
        """Return the notes that are due.

        lacks: what keeps the actor from stepping, "" where nothing does; is_reached: there is a connection. While there
        is none, the handshake reports why, so that only the learner's going is reported here.
        """
        waited = self._for_learner.look(None if self._asked_at is None else "an answer", now)
        worked = self._for_work.look(lacks or None, now)
        if waited is None:
            known = worked is not None and not self._for_learner.is_reported
            what = IN_A_NOTE.get(lacks, lacks)
            return [Note(f"waiting {worked:.0f} s for {self._learner}: {what}")] if known else []
        if self._heard_at is not None and not self._gone:
            self._gone = True
            return [Note(f"{self._learner} is gone; waiting for it")]
        if not is_reached:
            return []
        if self._heard_at is None:
            return [Note(f"waiting {waited:.0f} s for {self._learner}: no answer yet")]
        return [Note(f"waiting {waited:.0f} s for {self._learner} (last heard {now - self._heard_at:.0f} s ago)")]
