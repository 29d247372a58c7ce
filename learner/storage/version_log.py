"""Digests of a run's versions, under the rule `quota`: versions.jsonl, which a second run of the same must reproduce.

A line says what a version is (SHA-256 of its graph) and what it follows from: the life in which each environment was
that made a step of its batch. Knows files and rollouts; knows no sessions.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from dppo.learner.appended_file import AppendedFile
from dppo.learner.ppo.batch import Received
from dppo.learner.telemetry.log_backoff import LogBackoff

VERSIONS_FILE = "versions.jsonl"
Life = tuple[int, int, int]  # first slot, first slot behind, number of their life

log = logging.getLogger("dppo.learner")


class VersionLog:
    """Digests of the versions of one run directory."""

    def __init__(self, directory: Path) -> None:
        self._file = AppendedFile(directory / VERSIONS_FILE)
        self._failures = LogBackoff(log.error)

    def add(self, version: int, graph: bytes, batch: Sequence[Received]) -> None:
        """Write the line of a version. A full disk is reported, and does not stop the run."""
        line = {"version": version, "sha256": hashlib.sha256(graph).hexdigest(), "lives": lives_of(batch)}
        try:
            self._file.append(json.dumps(line).encode() + b"\n")
        except OSError as error:
            self._failures.failed(VERSIONS_FILE, f"{VERSIONS_FILE} could not be written: {error.strerror}")
        else:
            self._failures.worked(VERSIONS_FILE)
        finally:
            self._file.close()


def lives_of(batch: Sequence[Received]) -> list[Life]:
    """Return the lives of the slots in a batch, neighbours of the same life as one: not by their actors."""
    held = {(one.first_slot, one.first_slot + one.segment.counts.E, one.life) for one in batch}
    lives: list[Life] = []
    for first, end, life in sorted(held):
        if lives and lives[-1][1:] == (first, life):
            lives[-1] = (lives[-1][0], end, life)
        else:
            lives.append((first, end, life))
    return lives
