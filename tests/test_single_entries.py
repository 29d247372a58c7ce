"""One entry where a list is meant, and a choice where there is nothing to choose from."""

from pathlib import Path
from typing import get_origin

import pytest
from test_settings import yaml_file

from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import from_value, settings_of
from dppo.settings.layers import Layer, load_config_file, merge


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("run: {metrics: distance}", "run.metrics", ("distance",)),
        ("run: {step_metrics: 'distance to go'}", "run.step_metrics", ("distance to go",)),
        ("run: {metrics: 'distance, speed'}", "run.metrics", ("distance", "speed")),
        ("network: {policy_hidden: 64}", "network.policy_hidden", (64,)),
        ("network: {critic_hidden: '64, 32'}", "network.critic_hidden", (64, 32)),
        ("env: {wrappers: 'a:B'}", "env.wrappers", ["a:B"]),
        ("env: {wrappers: {'a:B': {c: 1}}}", "env.wrappers", [{"a:B": {"c": 1}}]),
    ],
)
def test_one_entry_may_stand_for_a_list(tmp_path: Path, text: str, path: str, value: object) -> None:
    assert load_config_file(yaml_file(tmp_path, text)) == {path: value}


def test_every_list_takes_one_entry() -> None:
    for path, setting in settings_of(TrainConfig).items():
        if get_origin(setting.type) in (tuple, list):
            assert len(from_value(setting.type, "8")) == 1, path


@pytest.mark.parametrize(("source", "value"), [("flag", "newest"), ("environment", "newest"), ("file", "best")])
def test_a_checkpoint_of_no_run_is_refused(source: str, value: str) -> None:
    asked = {"run.init_checkpoint": value}
    with pytest.raises(UsageError, match=r"chooses the checkpoint of run\.init_from, which is not set: .*--init-from"):
        merge(TrainConfig, [Layer(source, asked)])
    assert merge(TrainConfig, [Layer("file", {"run.init_checkpoint": "newest"})])
    assert merge(TrainConfig, [Layer(source, {**asked, "run.init_from": "runs/x"})])
    assert merge(TrainConfig, [Layer(source, {"run.init_checkpoint": "newest", "run.init_from": ""})])  # all by hand
