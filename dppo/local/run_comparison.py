"""Compare a command with the run in its directory: it begins it, continues it, finds it finished, or is refused.

A run's settings are compared before anything is written. Equal: the run goes on. Only settings marked MAY_CHANGE
differ: it goes on, and the changes are noted. Anything else differs: UsageError. Reads files; writes none.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from dppo.learner.config import MAY_CHANGE, LearnerConfig
from dppo.learner.storage.checkpoint_format import newest_state
from dppo.learner.storage.progress import Progress, over_because
from dppo.learner.storage.settings_history import Change, KeptSettings, has_begun
from dppo.learner.telemetry.status import SUMMARY
from dppo.protocol.errors import UsageError
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import FLATTENED, values_of
from dppo.settings.layers import dump_yaml, load_config_file

Launch = TrainConfig | LearnerProcessConfig
SEED_DIRECTORY = "seed-"  # of one seed, in the folder of several
MAX_NAMED = 5  # differences in one message
NOT_OF_THE_RUN = {"run.directory", "force"}  # a run that was moved is the same run; what one command insists on
PATHS = {"run.init_from"}  # equal where they name the same place


@dataclass(frozen=True)
class Standing:
    """Result of the comparison: what a command is to do with its run directory."""

    directory: Path
    begun: bool  # there are results in it, of the same settings
    changes: tuple[Change, ...] = ()  # all of them allowed
    over: str = ""  # why there is nothing left to do; "" where there is


def stand(config: Launch) -> Standing:
    """Compare the command with the run in its directory. Raises UsageError where it is of other settings."""
    directory = config.learner.run_directory
    if not has_begun(directory):
        if directory.is_dir() and any(directory.glob(f"{SEED_DIRECTORY}*/config.yaml")):
            raise UsageError(f"{directory} holds runs of several seeds: choose another --run.directory, or use --seeds")
        return Standing(directory, begun=False)
    changes = tuple(_changes(config, directory))
    allowed = may_change(type(config))
    refused = [change for change in changes if change.field not in allowed]
    if refused:
        raise UsageError(_refusal(directory, refused))
    return Standing(directory, begun=True, changes=changes, over=_over(config.learner, directory))


def kept_settings(config: Launch) -> KeptSettings:
    """Return the settings to write for this start. Raises as `stand`; call it under the directory's lock."""
    return KeptSettings(dump_yaml(config), stand(config).changes)


def may_change(config: type[object], prefix: str = "") -> set[str]:
    """The settings that may differ when a run goes on."""
    found: set[str] = set()
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found |= may_change(kind, prefix if field.metadata == FLATTENED else f"{prefix}{field.name}.")
        elif field.metadata == MAY_CHANGE:
            found.add(prefix + field.name)
    return found


def recorded_settings(directory: Path, kind: type[object]) -> dict[str, Any]:
    """The settings of the run in `directory`, by path; what its config.yaml does not name has its default.

    Settings of the command that started it (`actors`) are only there where the file names them. Raises UsageError.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        raise UsageError(
            f"{directory} holds a run and no config.yaml: what it was trained with is not known. "
            "Put its config.yaml back, or begin another run with --run.directory NEW or --run.new."
        )
    try:
        found = load_config_file(file, kind)
    except UsageError as error:
        raise UsageError(
            f"the settings of the run in {directory} cannot be read ({error}): its file is damaged or of another "
            "release. Put its config.yaml back, or begin another run with --run.directory NEW or --run.new."
        ) from None
    return values_of(LearnerConfig()) | found


def free_directory(wanted: Path) -> Path:
    """`wanted`, or the first of wanted-2, wanted-3, ... that does not exist."""
    if wanted.name in ("", ".."):  # the working directory, or one above it
        wanted = wanted.resolve()
    path, number = wanted, 2
    while os.path.lexists(path):
        path = wanted.with_name(f"{wanted.name}-{number}")
        number += 1
    return path


def same(old: Any, new: Any) -> bool:
    """Whether two values mean the same: 1 is 1.0, a list is a tuple; true is not 1."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(same(*pair) for pair in zip(old, new, strict=True))
    are_nan = old != old and new != new
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new or are_nan)


def _changes(config: Launch, directory: Path) -> list[Change]:
    old = recorded_settings(directory, type(config))
    new = values_of(config)
    return [
        Change(path, old[path], value)
        for path, value in new.items()
        if path in old and path not in NOT_OF_THE_RUN and not _same_setting(path, old[path], value)
    ]


def _same_setting(path: str, old: Any, new: Any) -> bool:
    if path in PATHS and old and new:
        return os.path.realpath(str(old)) == os.path.realpath(str(new))
    return same(old, new)


def _refusal(directory: Path, refused: list[Change]) -> str:
    named = "; ".join(map(str, refused[:MAX_NAMED]))
    more = f"; and {len(refused) - MAX_NAMED} more" if len(refused) > MAX_NAMED else ""
    fields = [change.field for change in refused]
    if fields == ["run.seed"]:
        others = "--run.directory NEW, or all seeds with --run.new --seeds "
        others += f"{','.join(str(seed) for seed in sorted({refused[0].old, refused[0].new}))}"
    elif {"env.id", "env.kwargs", "env.wrappers"} & set(fields) or not any(
        field.startswith("network.") for field in fields
    ):
        others = f"--run.directory NEW, or from its weights with --init-from {directory} --run.new"
    else:
        others = "--run.directory NEW"
    return (
        f"{directory} holds a run with other settings ({named}{more}): a run keeps its settings. Begin another one: "
        f"--run.new ({free_directory(directory)}), {others}; or go on with its own: "
        f"--config {directory / 'config.yaml'} --run.directory {directory}"
    )


def _over(config: LearnerConfig, directory: Path) -> str:
    """Return why the run is over, with all of its results written; "" where a start has something to do."""
    progress = newest_progress(directory)
    if progress is None:
        return ""
    try:
        summary = json.loads((directory / SUMMARY).read_bytes())
        written = summary["updates"] == progress.updates and summary["steps"] == progress.steps
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return over_because(progress, config.run) if written else ""


def newest_progress(directory: Path) -> Progress | None:
    """Return the progress in the newest checkpoint whose document can be read; None where there is none."""
    return newest_state(directory / "checkpoints", lambda state: msgspec.convert(state["progress"], Progress))
