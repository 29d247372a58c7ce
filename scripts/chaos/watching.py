"""A run directory as seen from outside while it is written: updates as they come, versions, the ledger.

Reads files; knows no process. Times are handed in.
"""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# the version in policy.onnx: a metadata entry of two strings, as protocol buffers write it
_VERSION = re.compile(rb"dppo\.version\x12.(\d+)", re.DOTALL)


@dataclass(frozen=True)
class Update:
    """One line of the curve."""

    at: float  # when it was seen, monotonic seconds
    number: int
    steps: int
    mean_return: float | None


class RunWatch:
    """History of a run, read from its files so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.updates: list[Update] = []  # as seen: numbers repeat where a learner was killed before its checkpoint
        self.versions: list[tuple[int, int]] = []  # (term, version) of every policy seen
        self.policies_at: list[float] = []  # when they were seen
        self._offset = 0
        self._policy_seen = 0  # modification time, nanoseconds

    def look(self, now: float) -> None:
        """Read what is new."""
        self._look_at_curve(now)
        self._look_at_policy(now)

    def _look_at_curve(self, now: float) -> None:
        try:
            with (self.path / "metrics.jsonl").open("rb") as file:
                size = file.seek(0, 2)
                self._offset = min(self._offset, size)  # shorter: a restarted learner forgot what it trains again
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # torn by a kill; the next learner takes it away
            self.updates.append(Update(now, int(row["update"]), int(row["steps"]), row["mean_return"]))

    def _look_at_policy(self, now: float) -> None:
        policy, identity = self.path / "policy.onnx", self.path / "run.json"
        try:
            written = policy.stat().st_mtime_ns
            if written == self._policy_seen:
                return
            match = _VERSION.search(policy.read_bytes())
            term = int(json.loads(identity.read_bytes())["term"])
            belongs = policy.stat().st_mtime_ns == written > identity.stat().st_mtime_ns
        except (OSError, ValueError):
            return
        if match is not None and belongs:  # else a learner is just starting, and this is the dead one's policy
            self._policy_seen = written
            self.versions.append((term, int(match[1])))
            self.policies_at.append(now)

    @property
    def newest(self) -> int:
        """Number of the newest update, 0 for none."""
        return self.updates[-1].number if self.updates else 0

    def between(self, start: float, end: float) -> list[Update]:
        """Updates that were seen in that time."""
        return [update for update in self.updates if start <= update.at < end]

    def updates_per_second(self, start: float, end: float) -> float:
        """Over that time."""
        return len(self.between(start, end)) / (end - start)

    def falls(self) -> list[str]:
        """Versions that came after a higher one, or after themselves in the same life of the learner.

        A learner that is killed between writing policy.onnx and publishing it has given the number to no actor.
        """
        pairs = itertools.pairwise(self.versions)
        return [f"{after} after {before}" for before, after in pairs if not after > before or after[1] < before[1]]

    def ledger(self) -> dict[str, Any]:
        """Content of ledger.json, as written at the end. Raises OSError, ValueError."""
        content: dict[str, Any] = json.loads((self.path / "ledger.json").read_bytes())
        return content

    def summary(self) -> dict[str, Any]:
        """Content of summary.json, as written at the end. Raises OSError, ValueError."""
        content: dict[str, Any] = json.loads((self.path / "summary.json").read_bytes())
        return content


def open_accounts(ledger: dict[str, Any]) -> list[str]:
    """Accounts that do not close at the end of a run: sealed = trained + dropped, nothing pending or in flight."""
    accounts = [ledger["total"], ledger["closed"], *ledger["accounts"].values()]
    return [
        f"{account['actor']}: {account['sealed']} sealed, {account['trained']} trained, {account['pending']} pending, "
        f"{account['in_flight']} in flight, dropped {account['dropped']}"
        for account in accounts
        if account["pending"]
        or account["in_flight"]
        or account["sealed"] != account["trained"] + sum(account["dropped"].values())
    ]
