"""Settings of PyTorch and NumPy that a user's code changes for its process leave the learner's arithmetic as it is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_training_loop import Both, trained
from torch import nn

from dppo.learner.models.own_networks import own_encoder
from dppo.learner.numerics import own_numerics
from dppo.protocol.leaves import Leaf

Looks = tuple[torch.dtype, str, bool, str]


def looks() -> Looks:
    return (
        torch.get_default_dtype(),
        torch.get_default_device().type,
        torch.is_grad_enabled(),
        np.geterr()["under"],
    )


@pytest.fixture
def changed() -> Iterator[Looks]:
    """Change all settings as a user's code may; put them back after the test."""
    before = np.geterr()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    np.seterr(all="raise")
    try:
        yield looks()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        np.seterr(**before)


def test_settings_are_those_of_a_fresh_process_inside_and_the_users_outside(changed: Looks) -> None:
    with own_numerics():
        assert looks() == (torch.float32, "cpu", True, "ignore")
        loss = nn.Linear(2, 1)(torch.zeros(1, 2)).sum()
        loss.backward()
        assert np.float32(1e-30) * np.float32(1e-30) == 0
    assert looks() == changed


def test_they_come_back_where_the_block_fails(changed: Looks) -> None:
    with pytest.raises(ZeroDivisionError), own_numerics():
        raise ZeroDivisionError
    assert looks() == changed


class Recorded(Both):
    """Writes down the settings under which each thing was called."""

    def __init__(self) -> None:
        super().__init__(1)
        self.seen: dict[str, Looks] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("next_batch", "update", "next_graph", "record", "save", "call_hooks"):
            self.seen[name] = looks()
        return found


def test_the_loop_trains_under_its_own_and_calls_users_code_under_theirs(changed: Looks) -> None:
    seen = trained(Recorded()).seen
    own = (torch.float32, "cpu", True, "ignore")
    assert seen == {
        "next_batch": changed,
        "update": own,
        "next_graph": own,
        "record": own,
        "save": own,
        "call_hooks": changed,
    }


def _names_doubles(leaves: Any) -> nn.Module:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return nn.Sequential(nn.Linear(2, 4).float(), nn.Tanh())


def test_what_the_function_of_a_network_changes_for_itself_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.learner.models.own_networks.find_function", lambda setting, name: _names_doubles)
    before = looks()
    encoder, features = own_encoder("nets:make", (Leaf("observation", "<f4", (2,), "box"),), 1)
    assert looks() == before
    assert features == 4
    assert encoder(torch.zeros(1, 2)).requires_grad
