"""Events of one session as plain records: messages, states, waits. Knows messages; knows no files and no threads.

A record holds numbers and printable texts only: no blob, no nested record (an environment's arguments may be private)
but the seconds of an actor's tasks, no challenge and no answer to one.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from dppo.protocol.messages import Message, TimeShares
from dppo.protocol.rollout import Blob
from dppo.protocol.texts import printable

Action = TypeVar("Action")  # of either session
Record = dict[str, Any]  # time, event, and where they apply: peer, state, message, fields
HIDDEN = ("answer", "challenge")


class Trace:
    """Makes a record of every event, and hands it to `write`, in order."""

    def __init__(self, write: Callable[[Record], None], clock: Callable[[], float]) -> None:
        """write: returns at once; called under the session's lock."""
        self._write = write
        self._clock = clock
        self._state = ""

    def event(self, event: str, state: str, *, peer: str = "", fields: Mapping[str, Any] | None = None) -> None:
        """Record something that is no message."""
        self._record(event, state, peer, {}, fields or {})

    def message(self, event: str, state: str, message: Message, blob: Blob | None, *, peer: str = "") -> None:
        """Record a message and its scalar fields, and how many bytes came with it."""
        fields: dict[str, Any] = {}
        for name in message.__struct_fields__:
            value = getattr(message, name)
            if isinstance(value, (int, float, str)) and name not in HIDDEN:
                fields[name] = value
            elif name == "incarnation":
                fields[name] = value.hex()
            elif isinstance(value, TimeShares):
                tasks = {"env": value.env, "policy": value.policy, "send": value.send, "idle": value.idle}
                fields |= {f"{task}_seconds": round(seconds, 6) for task, seconds in tasks.items()}
        if blob is not None:
            fields["blob_bytes"] = memoryview(blob).nbytes
        self._record(event, state, peer, {"message": type(message).__name__}, fields)

    def state(self, state: str) -> None:
        """Record the state, where it is another than the last one."""
        if state != self._state:
            before, self._state = self._state, state
            self._record("state", state, "", {}, {"before": before} if before else {})

    def _record(self, event: str, state: str, peer: str, what: Mapping[str, str], fields: Mapping[str, Any]) -> None:
        record: Record = {"time": round(self._clock(), 6), "event": event, "state": state}
        if peer:
            record["peer"] = printable(peer)
        record |= what
        if fields:
            record["fields"] = {
                name: printable(value) if isinstance(value, str) else value for name, value in fields.items()
            }
        self._write(record)


class TracedCalls(Generic[Action]):
    """Runs a session's methods, which may call each other, and records what the outermost one returns and leads to."""

    def __init__(self, trace: Trace, state: Callable[[], str], record: Callable[[list[Action]], None]) -> None:
        """state: of the session now. record: takes the actions that were returned."""
        self._trace = trace
        self._state = state
        self._record = record
        self._depth = 0

    def run(self, call: Callable[[], list[Action]]) -> list[Action]:
        """Return what the call returns."""
        self._depth += 1
        try:
            actions = call()
        finally:
            self._depth -= 1
        if not self._depth:
            self._trace.state(self._state())
            self._record(actions)
        return actions
