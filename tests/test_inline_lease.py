"""A run in one process has no lease: an update or a step that takes longer is no silence."""

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from dppo.cli import main
from dppo.local import inline


def test_updates_longer_than_the_lease_lose_no_actor(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The learner's clock of this run makes 20 s of every look at it."""
    seconds = itertools.count(100.0, 20.0)
    clock = SimpleNamespace(monotonic=lambda: next(seconds), time=time.time)
    with mock.patch.object(inline, "time", clock), pytest.raises(SystemExit) as end:
        main(
            [
                *("train", "--preset", "none", "--env", "CartPole-v1", "--actors", "0"),
                *("--run.directory", str(tmp_path / "run"), "--run.total-steps", "256", "--collect.batch-steps", "64"),
                *("--ppo.minibatch-steps", "64", "--evaluation-episodes", "0", "--run.tensorboard", "false"),
            ]
        )
    said = "".join(capfd.readouterr())
    assert end.value.code == 0
    assert "of 256 steps are done" in said
    assert "has been silent" not in said
