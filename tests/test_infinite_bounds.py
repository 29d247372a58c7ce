"""Spaces without bounds, or with some: what is written of them is JSON and is read back as it was."""

import json
import math
from pathlib import Path

import gymnasium as gym
import msgspec
import numpy as np
import pytest

from dppo.learner.storage.checkpoint_format import STATE_FILE, document_of, read_document
from dppo.learner.storage.run_directory import RunDirectory
from dppo.protocol.specs import Spec, spec_of

OBSERVED = gym.spaces.Box(-np.inf, np.inf, (1,))


def refuse(constant: str) -> None:
    raise ValueError(constant)


@pytest.mark.parametrize(
    ("low", "high"), [(-np.inf, np.inf), (0, np.inf), (-np.inf, 0), ([-1, -np.inf], [np.inf, 2]), (-1, 1)], ids=str
)
def test_a_checkpoint_keeps_bounds_that_are_infinite(tmp_path: Path, low: object, high: object) -> None:
    space = gym.spaces.Box(np.float32(np.broadcast_to(low, 2)), np.float32(np.broadcast_to(high, 2)))
    spec = spec_of(OBSERVED, space)
    raw = document_of(1, b"", {"spec": msgspec.to_builtins(spec), "deep": [{"best": -math.inf}]})
    json.loads(raw, parse_constant=refuse)
    (tmp_path / STATE_FILE).write_bytes(raw)
    state = read_document(tmp_path)[0]["state"]
    assert msgspec.convert(state["spec"], Spec) == spec
    assert state["deep"] == [{"best": -math.inf}]


def test_what_is_written_as_json_into_a_run_directory_can_be_read_by_every_reader(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "run") as directory:
        directory.write_json("summary.json", {"target": math.inf, "mean": math.nan, "steps": 2**53, "list": [1.5]})
    read = json.loads((tmp_path / "run" / "summary.json").read_bytes(), parse_constant=refuse)
    assert read == {"target": None, "mean": None, "steps": 2**53, "list": [1.5]}
