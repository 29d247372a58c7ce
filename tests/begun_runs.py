"""Run directories in which a run has begun, and commands that are refused there."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dppo.learner.storage.checkpoint_format import document_of
from dppo.learner.storage.progress import Progress
from dppo.local.run_comparison import Launch, stand
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import build
from dppo.settings.layers import dump_yaml

RUN = "run.directory"


def config(directory: Path, **values: Any) -> TrainConfig:
    return build(TrainConfig, {RUN: str(directory)} | values)


def begin(directory: Path, launch: Launch, progress: Progress | None = None, *, summary: bool = True) -> None:
    """A run of these settings that has come so far."""
    progress = progress or Progress(updates=3, version=4, steps=300)
    checkpoint = directory / "checkpoints" / f"{progress.updates:08d}"
    checkpoint.mkdir(parents=True)
    state = {"progress": dataclasses.asdict(progress)}
    (checkpoint / "state.json").write_bytes(document_of(progress.updates, b"", state))
    (checkpoint / "state.safetensors").write_bytes(b"")
    (directory / "config.yaml").write_text(dump_yaml(launch))
    if summary:
        (directory / "summary.json").write_text(json.dumps({"updates": progress.updates, "steps": progress.steps}))


def refused(launch: Launch) -> str:
    with pytest.raises(UsageError) as caught:
        stand(launch)
    text = str(caught.value)
    assert "\n" not in text
    return text
