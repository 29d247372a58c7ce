"""Spaces that the environment of a command must have: those that its run, or the run it begins from, was trained on.

Reads checkpoints; makes an environment only to find the cause of a refusal.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dppo.learner.config import LearnerConfig
from dppo.learner.storage.checkpoint_format import newest_state, read_document
from dppo.learner.storage.initial_weights import Source, difference, find_source
from dppo.learner.storage.settings_history import has_begun
from dppo.local.env_probe import probe
from dppo.local.known_spaces import needs_no_probe
from dppo.protocol.env_wrappers import differ_by_environment, read_wrappers
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.placeholders import has_placeholder
from dppo.protocol.specs import Spec

LOOK_SECONDS = 30.0

Check = Callable[[Spec], None]  # raises UsageError for other spaces than those expected


def expected_spaces(config: LearnerConfig, env: EnvSettings) -> Check | None:
    """Return the check for the environment's spaces; None where the run may have any, or can have no others.

    env: of the run. Raises UsageError where the weights to begin from are not there.
    """
    directory, run = config.run_directory, config.run
    if differ_within_a_run(env):
        return None
    trained = trained_spaces(directory)
    if trained is not None:
        return None if needs_no_probe(env) else lambda spec: refuse_changed(directory, spec, trained)
    if not run.init_from or has_begun(directory):
        return None
    source = find_source(run.init_from, run.init_checkpoint)
    return None if _is_same_and_known(source, env) else lambda spec: refuse_source(source, spec)


def differ_within_a_run(env: EnvSettings) -> bool:
    """Whether placeholders may give each environment spaces of its own, so that one does not show those of all."""
    # by Python's own reader, which knows NaN and infinity
    return has_placeholder(json.loads(env.kwargs_json)) or differ_by_environment(read_wrappers(env.wrappers_json))


def refuse_changed(directory: Path, spec: Spec, trained: Spec) -> None:
    """Raise UsageError where the run in `directory` was trained on other spaces than the environment has here."""
    if spec != trained:
        from dppo.learner.session.run_spaces import difference as difference_here

        raise UsageError(
            f"the environment's spaces differ from those that the run in {directory} was trained on: "
            f"{difference_here(spec, trained)}. Install the environment's former version, or begin another run: "
            "--run.new"
        )


def refuse_source(source: Source, spec: Spec) -> None:
    """Raise UsageError where the run to begin from was trained on other spaces than the environment has here."""
    theirs = _spaces_of(source)
    problem = "" if theirs is None else difference(theirs, spec)
    if problem:
        raise UsageError(
            f"run.init_from={source.run} is a run with other spaces: {problem}. Its weights are of no use here: "
            "name a run of an environment with the same spaces, or leave --init-from out"
        )


def refuse_source_of_other_spaces(source: Source, env: EnvSettings) -> None:
    """Make the environment once, and refuse as `refuse_source`; nothing where it cannot be made here."""
    if _is_same_and_known(source, env) or differ_within_a_run(env):
        return
    found: list[Spec] = []
    limit = min(env.step_timeout_seconds or LOOK_SECONDS, LOOK_SECONDS)
    with contextlib.suppress(DppoError):
        probe(msgspec.structs.replace(env, step_timeout_seconds=limit), lambda text: None, found=found.append)
    for spec in found:
        refuse_source(source, spec)


def trained_spaces(directory: Path) -> Spec | None:
    """Return the spaces in the newest readable checkpoint; None where nothing was trained."""
    is_trained, spec = newest_state(
        directory / "checkpoints",
        lambda state: (bool(state["progress"]["updates"]), msgspec.convert(state["spec"], Spec)),
    ) or (False, None)
    return spec if is_trained else None


def _is_same_and_known(source: Source, env: EnvSettings) -> bool:
    return needs_no_probe(env) and _state(source).get("env") == env.id


def _spaces_of(source: Source) -> Spec | None:
    spec = _state(source).get("spec")
    return None if spec is None else msgspec.convert(spec, Spec)


def _state(source: Source) -> Mapping[str, Any]:
    """Return what the checkpoint says of its run; nothing where it cannot be read, which its reader reports."""
    try:
        state: Mapping[str, Any] = read_document(source.checkpoint)[0]["state"]
    except (OSError, ValueError, KeyError, TypeError, DppoError):
        return {}
    return state
