"""Actors of one host for a supervisor on another: `python -m dppo.deploy.guest`, over ssh.

Standard input has JSON lines: first the learners' join lines and a prefix of names, then wishes, several in a second.
The actors end with the input, or when nothing has come for SILENT_SECONDS: a host that is cut off ends its own.
Standard output has a JSON line with the processes whenever they change. Join lines reach actors by their environment.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from dppo.deploy.supervised_actors import SupervisedActors
from dppo.protocol.process.household import leaves_nothing
from dppo.protocol.process.lifeline import Lifeline

SILENT_SECONDS = 10.0
TICK_SECONDS = 0.1
GRACE_SECONDS = 15.0  # for actors to end where this process was killed
LOGS = Path("~/.dppo")  # below it: NAME/logs


class Wishes:
    """Newest wish of the other side, read by a thread of its own."""

    def __init__(self, lines: TextIO) -> None:
        self.actors: list[int] = []  # by the learner that they join; []: none
        self.is_farewell = False  # the run is over: actors end by themselves, and none is started again
        self.is_over = False
        self.heard_at = time.monotonic()
        threading.Thread(target=self._read, args=(lines,), name="wishes", daemon=True).start()

    def must_end(self) -> bool:
        """Whether the other side has ended, or is silent."""
        return self.is_over or time.monotonic() - self.heard_at > SILENT_SECONDS

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            wish = json.loads(line)
            self.actors, self.is_farewell = wish["actors"], wish["farewell"]
            self.heard_at = time.monotonic()
        self.is_over = True


def main() -> int:
    """Have actors until the other side wants none any more; returns the exit code."""
    first = json.loads(sys.stdin.readline())
    logs = LOGS.expanduser() / first["name"] / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stop.append(number))
    wishes = Wishes(sys.stdin)
    with leaves_nothing(GRACE_SECONDS, sweeper=True), Lifeline() as lifeline:
        groups = [
            SupervisedActors(
                lambda name: ["-m", "dppo", "actor", "--name", name],
                logs,
                lifeline,
                prefix=f"{first['prefix']}{f'learner-{rank}.' if rank else ''}actor-",
                variables={"DPPO_JOIN": join},
            )
            for rank, join in enumerate(first["joins"])
        ]
        try:
            while not stop and not wishes.must_end():
                for rank, group in enumerate(groups):
                    if wishes.is_farewell:
                        group.all_ended()
                    else:
                        group.want(wishes.actors[rank] if wishes.actors else 0)
                        group.look()
                _tell(groups)
                time.sleep(TICK_SECONDS)
        finally:
            for group in groups:
                group.want(0)  # all leave at the same time
            for group in groups:
                group.end()
    return 0


_told: list[bytes] = [b""]  # the newest report


def _tell(groups: Sequence[SupervisedActors]) -> None:
    report = msgspec.json.encode([process for group in groups for process in group.processes()])
    if report != _told[0]:
        _told[0] = report
        os.write(sys.stdout.fileno(), report + b"\n")


if __name__ == "__main__":
    sys.exit(main())
