"""Train a run of the rule `quota` again, in this process, and compare each version with what it was to the last bit.

Reads config.yaml and versions.jsonl of the run, and writes nothing into it. Knows no sockets.
"""

import json
import tempfile
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from dppo.fitted_text import fitted
from dppo.learner.config import CollectConfig
from dppo.learner.run_status import RunStatus
from dppo.learner.storage.settings_history import HISTORY_FILE
from dppo.learner.storage.version_log import VERSIONS_FILE
from dppo.learner.telemetry.json_lines import read_objects
from dppo.local.drawing_thread import Screen
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build, convert, settings_of
from dppo.settings.layers import load_config_file
from dppo.watch.run_list import check_run
from dppo.watch.side_processes import SideProcesses

# what a run may change on the way, and what only costs time here
LEFT_OUT: dict[str, Any] = {
    "run.target_return": None,
    "run.hooks": "",
    "run.tensorboard": False,
    "run.video_seconds": 0.0,
    "run.evaluate_seconds": 0.0,
    "run.checkpoint_share": 0.0,
    "run.trackers": (),
    "run.metrics_address": "",
    "collect.first_actors": 0,
    # sizes of messages, which were those of smaller actors: no bit depends on them
    "collect.segment_steps": 0,
    "collect.max_rollout_bytes": CollectConfig.max_rollout_bytes,
    "collect.max_ingress_bytes": 0,
}


@dataclass(frozen=True)
class ReplayArguments:
    """Train a run of collect.rule=quota again, in this process, and compare each version with it to the last bit.

    Exit code 0: all are equal; 1: one differs, and a line names it; 2: there is nothing to compare.
    """

    run: str
    """Run directory, also of a run that is going on. Nothing in it is changed."""
    until: int = 0
    """Compare up to this version; 0: up to the newest one in which no environment had moved to another process."""

    def __post_init__(self) -> None:
        if self.until and self.until < 2:
            raise UsageError(
                f"until={self.until} must be at least 2, the first version that was trained; 0: the newest"
            )


@dataclass(frozen=True)
class Version:
    """One version of a run."""

    number: int
    sha256: str  # of its graph
    lives: tuple[tuple[int, int, int], ...]  # of environments: first, end, number of their life


class Comparison:
    """Hooks of the second run, which compare its versions as they come."""

    def __init__(self, directory: Path, expected: dict[int, Version]) -> None:
        self._directory = directory
        self._expected = expected
        self.equal = 0  # versions
        self.differs: Version | None = None  # the first one that does, as it is here

    def on_update(self, status: RunStatus) -> str | None:
        """Compare the newest version; end the run where there is nothing more to compare."""
        newest = versions_of(self._directory)[-1]
        if newest != self._expected[newest.number]:
            self.differs = newest
            return "stop"
        self.equal += 1
        return None if newest.number + 1 in self._expected else "stop"


def versions_of(directory: Path) -> list[Version]:
    """Return the versions that the run has noted, up to a damaged line. Raises UsageError where none is there."""
    file, found = directory / VERSIONS_FILE, list[Version]()
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}): only runs of collect.rule=quota have it") from None
    for line in lines:
        try:
            read = json.loads(line)
            found.append(Version(read["version"], read["sha256"], tuple(map(tuple, read["lives"]))))
        except (ValueError, KeyError, TypeError):  # what follows may lack a version
            break
    if lines and not found:
        raise UsageError(f"{file} is damaged in its first line: there is nothing to compare")
    return found


def comparable(versions: list[Version], until: int) -> dict[int, Version]:
    """Return the versions to compare, by number. Raises UsageError where there are none, or not as many as wanted."""
    of_first = takewhile(lambda each: _is_of_first(*each), enumerate(versions, 2))
    found = [version for _, version in of_first]
    last = found[-1].number if found else 1
    newest = versions[-1].number if versions else 1
    if until > newest or not versions:
        raise UsageError(f"the newest version is {newest}: there is no version {until or 2} yet")
    if until > last or not found:
        moved = versions[len(found)]
        raise UsageError(
            f"under version {moved.number - 1} environments moved to another process, or the learner was started again "
            f"(lives {list(moved.lives)}), which is not done again here: choose --until {last} or less"
            if found
            else "no version was made by the first processes of this run: there is nothing to compare"
        )
    return {version.number: version for version in found if version.number <= (until or last)}


def _is_of_first(number: int, version: Version) -> bool:
    """Whether it is that version, and made by the first processes of its environments."""
    return version.number == number and all(life == 0 for _, _, life in version.lives)


def again(arguments: ReplayArguments, directory: Path) -> TrainConfig:
    """Return the settings of the second run, in that directory: those that the first one began with.

    Raises UsageError for a run of another rule.
    """
    run = check_run(arguments.run)
    file = run / "config.yaml"
    if not file.is_file() and (inside := sorted(run.glob("*/config.yaml"))):  # of several seeds
        raise UsageError(f"{run} is no run, but has some in it: name one, for example {inside[0].parent}")
    values = load_config_file(file, TrainConfig)
    rule, slots = values.get("collect.rule", "minimum"), values.get("collect.slots", 0)
    if rule != "quota":
        raise UsageError(f"{file}: collect.rule is {rule}, and only runs of the rule quota are the same again")
    here = {"actors": 0, "collect.envs_per_actor": slots, "run.directory": str(directory), "evaluation_episodes": 0}
    return build(TrainConfig, {**values, **_first_settings(file.parent / HISTORY_FILE), **LEFT_OUT, **here})


def _first_settings(history: Path) -> dict[str, Any]:
    """Return the first value of each setting that has changed since: a schedule may follow from it."""
    known = settings_of(TrainConfig)
    old: dict[str, Any] = {}
    for line in read_objects(history):
        if line.get("field") in known and "old" in line:
            old.setdefault(line["field"], line["old"])
    return {path: convert(known[path], value, where=f"{history}: {path}", text=False) for path, value in old.items()}


def replay(arguments: ReplayArguments) -> int:
    """Train again and print what was found; returns the exit code. Raises DppoError where a version differs."""
    with tempfile.TemporaryDirectory(prefix="dppo-replay-") as place:
        directory = Path(place, "run")
        config = again(arguments, directory)
        expected = comparable(versions_of(Path(arguments.run)), arguments.until)
        found = Comparison(directory, expected)
        progress = Screen()
        from dppo.local.inline import run_inline  # with torch

        with SideProcesses(config, directory, progress.note) as sides:
            interrupted = run_inline(config, progress, sides, hooks=found)
    if found.differs is not None:
        was, source = expected[found.differs.number], config.learner.run.init_from
        raise DppoError(
            f"version {was.number} differs: SHA-256 {found.differs.sha256[:16]} here, {was.sha256[:16]} in "
            f"{arguments.run}; the {found.equal} versions before are equal. Another machine, release or library, or an "
            "environment that depends on more than its seed and its actions"
            + (f", or {source} has other weights than when the run began with them" if source else "")
        )
    if found.equal < len(expected) and not interrupted:
        raise DppoError(
            f"the run that was made again ended after version {1 + found.equal}, and {arguments.run} has "
            f"{max(expected)} of the same processes: its settings are not those that it was made with"
        )
    text = f"{found.equal} of {len(expected)} versions were made again and are equal to the last bit"
    print(fitted(f"{text} (to version {1 + found.equal} of {arguments.run})"), flush=True)
    return 130 if interrupted else 0
