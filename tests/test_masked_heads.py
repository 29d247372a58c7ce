"""Masks on what heads of users give, and in the check of the exported graph."""

import pytest
from test_masked_distributions import SPACES, close, features, masks, networks, spec_for
from torch import Tensor

from dppo.learner.models.distributions import Gaussian
from dppo.learner.models.graph_check import check_export
from dppo.learner.models.masking import MaskLayout, masked
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.protocol.errors import UsageError


@pytest.mark.parametrize("name", ["discrete", "ragged", "joint"])
def test_what_a_head_of_the_users_gives_is_masked_as_logits_are(name: str) -> None:
    policy, _ = networks(SPACES[name])
    assert policy.mask is not None
    legal = policy.mask(masks(SPACES[name]))
    outputs = policy.body(features())
    ours, theirs = policy.head(outputs, legal), masked(policy.head(outputs), legal)
    close(ours.rows(), theirs.rows())
    with pytest.raises(UsageError, match=r"network\.head gave a Gaussian"):
        masked(Gaussian(outputs, outputs), legal)


def test_the_check_of_the_exported_graph_looks_at_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_for(SPACES["joint"])
    policy, _ = networks(SPACES["joint"])
    check_export(PolicyExporter(policy, spec), policy, spec)
    exporter = PolicyExporter(policy, spec)
    monkeypatch.setattr(MaskLayout, "forward", lambda self, mask: ~masks_of_all(self, mask))
    with pytest.raises(UsageError, match="the exported policy"):
        check_export(exporter, policy, spec)


def masks_of_all(layout: MaskLayout, mask: Tensor) -> Tensor:
    assert layout.place is not None
    return mask.index_select(1, layout.place).reshape(-1, *layout.shape)
