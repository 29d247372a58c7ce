"""Read traces of sessions: as events, as an expected sequence, and in figures. Knows files; knows no sessions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dppo.local.log_files import SUFFIX


class TraceEvent(msgspec.Struct, frozen=True):
    """One line of a trace."""

    time: float  # seconds; of the process that wrote it
    event: str
    state: str
    peer: str = ""
    message: str = ""
    fields: dict[str, Any] = {}  # a dictionary of its own for each event: msgspec copies what is empty

    @property
    def text(self) -> str:
        """Return the words that `expect` compares: `sent Hello`, `state running`, `waits no credit`, `connected`."""
        what = self.message or {"state": self.state, "waits": self.fields.get("for")}.get(self.event, "")
        return f"{self.event} {what}" if what else self.event


_DECODER = msgspec.json.Decoder(TraceEvent)


def events_of(path: Path) -> Iterator[TraceEvent]:
    """Yield the events of a trace, from the part before it on. A line that is cut off (a killed process's) is left out.

    Raises OSError.
    """
    for part in (path.with_name(f"{path.name}.1"), path):
        if part != path and not part.exists():
            continue
        with part.open("rb") as lines:
            for line in lines:
                try:
                    event = _DECODER.decode(line)
                except msgspec.DecodeError:
                    continue
                yield event


def expect(events: Sequence[TraceEvent], *texts: str, peer: str = "") -> list[TraceEvent]:
    """Return the first events with these texts that follow one another, others between them; of that peer, if named.

    Raises AssertionError that names the first text that is missing, and what came instead.
    """
    found: list[TraceEvent] = []
    rest = iter([event for event in events if not peer or event.peer == peer])
    for text in texts:
        seen: list[str] = []
        for event in rest:
            if event.text == text:
                found.append(event)
                break
            seen.append(event.text)
        else:
            raise AssertionError(f"no '{text}' after {[event.text for event in found]}, only {seen[-20:]}")
    return found


@dataclass
class TraceFigures:
    """Figures of one trace."""

    name: str  # of the file, without its ending
    side: str = ""
    connections: int = 0  # an actor's
    starts: int = 0
    lost: int = 0  # a learner's: connections that ended without BYE
    rejects: int = 0
    refused_rollouts: int = 0
    violations: int = 0
    longest_credit_wait_seconds: float = 0.0  # an actor's: from its last credit to more of it
    left_out: int = 0  # records

    @property
    def reconnects(self) -> int:
        """Return how often an actor connected again."""
        return max(0, self.connections - self.starts)


def figures_of(path: Path) -> TraceFigures:
    """Return the figures of a trace. Raises OSError."""
    figures = TraceFigures(path.name.removesuffix(SUFFIX))
    said_bye: set[str] = set()
    since: float | None = None  # of a wait for credit
    longest, now = 0.0, 0.0
    for event in events_of(path):
        now = event.time
        match event.text:
            case "begin" | "goes on":
                figures.side = str(event.fields.get("side", ""))
                figures.starts += event.event == "begin"
                since = None  # of the process before
            case "connected":
                figures.connections += 1
            case "received Bye":
                said_bye.add(event.peer)
            case "received Hello":
                said_bye.discard(event.peer)
            case "gone":
                figures.lost += event.peer not in said_bye and "relay" not in event.fields
            case "received Reject" | "sent Reject":
                figures.rejects += bool(event.fields.get("fatal"))
            case "received Nack" | "sent Nack":
                figures.refused_rollouts += 1
            case "violation":
                figures.violations += 1
            case "waits no credit":
                since = now
            case "waited" if since is not None:
                longest, since = max(longest, now - since), None
            case "left out":
                figures.left_out += int(event.fields.get("records", 0))
    figures.longest_credit_wait_seconds = max(longest, now - since) if since is not None else longest
    return figures
