"""Settings that do nothing without another one: refused where they are given by hand."""

import re
from pathlib import Path

import pytest

from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of
from dppo.settings.layers import resolve

IDLE = {
    "ppo.divergence": ("kl", {"ppo.surrogate": "divergence_mask"}),
    "ppo.divergence_limit": (0.1, {"ppo.surrogate": "divergence_mask"}),
    "ppo.target_kl": (0.02, {"ppo.learning_rate_schedule": "kl"}),
    "ppo.correction": ("vtrace", {"collect.max_staleness": 1}),
    "ppo.entropy_schedule": ("linear", {"ppo.entropy_coefficient": 0.01}),
    "network.bptt_steps": (8, {"network.memory": "gru"}),
}


@pytest.mark.parametrize("name", IDLE)
def test_what_does_nothing_without_another_setting_is_refused_by_hand_and_taken_from_files(
    name: str, tmp_path: Path
) -> None:
    value, needed = IDLE[name]
    with pytest.raises(UsageError, match=re.escape(f"{name}={value} ")) as caught:
        resolve(TrainConfig, flags={name: value}, environ={})
    assert all(other in str(caught.value) for other in needed)
    resolve(TrainConfig, flags={name: value, **needed}, environ={})
    spelled_out = values_of(resolve(TrainConfig, flags={}, environ={}).config)
    resolve(TrainConfig, flags=spelled_out, preset="none", environ={})
    section, _, own = name.partition(".")
    file = tmp_path / "settings.yaml"
    file.write_text(f"{section}: {{{own}: {spelled_out[name]}}}")
    resolve(TrainConfig, flags={}, file=str(file), environ={})
