"""Whether the books of a run close, read from its files as the next learner would read them. Imports no torch."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dppo.learner.storage.checkpoint_format import read_document, readable_first
from dppo.learner.storage.journal import Behind, Position, entries_behind
from dppo.learner.storage.journal_records import Entry
from dppo.learner.storage.journal_replay import Hole, Replayed, replay
from dppo.protocol.errors import CheckpointError, UsageError
from dppo.protocol.joint_ledger import joint
from dppo.protocol.ledger import Ledger, imbalance


@dataclass(frozen=True)
class Audit:
    """Findings in the files of a run."""

    ledger: Ledger  # of the newest readable checkpoint, with the journal behind it
    checkpoint: str  # its path within the run directory, "" for none
    update: int
    steps: int  # trained, as the checkpoint counts them
    replayed: Replayed  # what the journal holds beyond it
    problems: tuple[str, ...]  # a line each; none: the books close


def audit(run: Path) -> Audit:
    """Read and compare: checkpoint, journal, ledger.json, metrics.jsonl.

    Raises UsageError where there is no run, CheckpointError where its files cannot be read.
    """
    if not (run / "run.json").is_file():
        raise UsageError(f"{run} is no run directory (it has no run.json): name one, for example runs/CartPole-v1")
    try:
        path, document = _newest(run / "checkpoints")
        state: dict[str, Any] = document["state"] if document else {}
        parts = [_part(path, name, directory, part) for name, directory, part in _learners(run, state)]
    except OSError as error:
        raise CheckpointError(f"{error.filename or run} cannot be read: {error.strerror or error}") from None
    update = int(document["update"]) if document else 0
    steps = int(state["progress"]["steps"]) if state else 0
    problems = [
        *(problem for part in parts for problem in part.problems),
        *_sums("ledger.json", _json(run / "ledger.json")),
        *_trained(path, sum(part.trained for part in parts), steps),
        *_metrics(run / "metrics.jsonl", update, steps),
    ]
    ledger = parts[0].ledger
    if len(parts) > 1:
        ledger = Ledger.from_state(joint([part.ledger.to_state() for part in parts]))
    closes = imbalance([ledger.closed, *ledger.accounts.values(), ledger.total()])
    problems += [f"with the journal: {closes}"] if closes else []
    replayed = functools.reduce(Replayed.plus, (part.replayed for part in parts))
    return Audit(ledger, path, update, steps, replayed, tuple(problems))


@dataclass(frozen=True)
class _Part:
    """Books of one learner."""

    ledger: Ledger  # with its journal
    trained: int  # as its checkpoint says
    replayed: Replayed
    problems: tuple[str, ...]


def _learners(run: Path, state: dict[str, Any]) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Name, directory and part of the checkpoint of each learner; there is one, with no name, where no group trains."""
    yield "", run, state
    ranks = state.get("ranks", [])
    folders = run / "ranks"
    there = [int(path.name) for path in folders.iterdir() if path.name.isdecimal()] if folders.is_dir() else []
    for rank in range(1, 1 + max(len(ranks), *there, 0)):
        yield f"learner {rank}: ", folders / str(rank), ranks[rank - 1] if rank <= len(ranks) else {}


def _part(where: str, name: str, directory: Path, state: dict[str, Any]) -> _Part:
    ledger = Ledger.from_state(state["ledger"]) if state else Ledger()
    trained = ledger.total().trained
    behind = entries_behind(directory, Position.of(state.get("journal", (0,))))
    problems = [
        *_sums(where, state.get("ledger")),
        *(f"journal: {problem}" for problem in (*_unnoticed(behind), *behind.problems)),
        *_gaps(ledger, behind.entries),
    ]
    replayed = replay(ledger, behind.entries, behind.holes)
    problems += _unaccounted(ledger)
    return _Part(ledger, trained, replayed, tuple(f"{name}{problem}" for problem in problems))


def _newest(directory: Path) -> tuple[str, dict[str, Any] | None]:
    paths = readable_first(directory) if directory.is_dir() else []
    for path in paths:
        try:
            document, _ = read_document(path)
        except (OSError, ValueError):
            continue
        return f"{directory.name}/{path.name}", document
    if paths:
        raise CheckpointError(f"none of the {len(paths)} checkpoints in {directory} can be read")
    return "", None


def _sums(where: str, state: dict[str, Any] | None) -> Iterator[str]:
    """Every account of a ledger as it is written down, and whether the total is their sum."""
    if state is None:
        return
    parts = {"closed accounts": state["closed"]}
    parts |= {f"{account['actor']} ({key})": account for key, account in state["accounts"].items()}
    for name, account in (*parts.items(), ("total", state["total"])):
        found = account["trained"] + account["pending"] + account["in_flight"] + sum(account["dropped"].values())
        if account["sealed"] != found or account["in_flight"] < 0 or account["pending"] < 0:
            yield (
                f"{where}: {name}: sealed {account['sealed']} is not {found} = trained {account['trained']} + pending "
                f"{account['pending']} + in flight {account['in_flight']} + dropped {account['dropped']}"
            )
    for figure in ("sealed", "trained", "pending", "in_flight"):
        summed = sum(account[figure] for account in parts.values())
        if state["total"][figure] != summed:
            yield f"{where}: total: {figure} {state['total'][figure]} is not the sum of its accounts, {summed}"


def _gaps(ledger: Ledger, entries: Sequence[Entry]) -> Iterator[str]:
    """Sequence numbers that the journal skips; "learner_crash" is what an actor reported of such a gap."""
    upto = {key: account.watermark for key, account in ledger.accounts.items()}
    for entry in entries:
        if entry.kind in ("published", "told", "granted", "noticed") or entry.incarnation in ledger.ended:
            continue
        newest = upto.get(entry.incarnation, 0)
        if entry.seq > newest + 1 and entry.kind != "learner_crash":
            missing = (
                f"rollouts {newest + 1} to {entry.seq - 1} are"
                if entry.seq > newest + 2
                else f"rollout {newest + 1} is"
            )
            yield f"journal: {entry.actor} ({entry.incarnation.hex()}): {missing} in no entry"
        upto[entry.incarnation] = max(newest, entry.seq)


def _unnoticed(behind: Behind) -> list[Hole]:
    """Return the holes that no learner has reported yet; an older hole matters only by its steps in no account."""
    noticed = max((entry.seq for entry in behind.entries if entry.kind == "noticed"), default=0)
    return [hole for hole in behind.holes if hole.last >= noticed]


def _unaccounted(ledger: Ledger) -> Iterator[str]:
    least, most = ledger.unaccounted.least, ledger.unaccounted.most
    if least:
        bounds = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        yield f"{bounds} steps were acknowledged and are in no account: a part of the journal is gone"


def _trained(where: str, trained: int, steps: int) -> Iterator[str]:
    if trained != steps:
        yield f"{where}: total: trained {trained} is not the {steps} steps that the trainer has counted"


def _metrics(file: Path, update: int, steps: int) -> Iterator[str]:
    """The curve's line of the checkpoint's update; a line that a full disk swallowed is none to compare with."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return
    for line in reversed(lines):
        try:
            values = json.loads(line)
        except ValueError:
            continue  # torn
        if values["update"] == update and values["steps"] != steps:
            yield f"metrics.jsonl: update {update}: {values['steps']} steps, the checkpoint of that update says {steps}"
        if values["update"] <= update:
            return


def _json(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: {error}. The next learner writes it anew.") from None
    return content
