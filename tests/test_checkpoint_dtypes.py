"""Checkpoints of networks of the user's own, whose tensors may have any type."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from dppo.learner.storage import checkpoint


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"])
def test_tensors_of_a_network_of_the_users_are_saved_whatever_their_type(tmp_path: Path, dtype: str) -> None:
    tensors = {"mixed": torch.tensor([0, 1, 1]).to(getattr(torch, dtype)), "float": torch.tensor([0.1])}
    checkpoint.save(tmp_path, 1, tensors, {})
    found = checkpoint.read(tmp_path / "00000001").tensors
    assert {name: tensor.dtype for name, tensor in found.items()} == {n: t.dtype for n, t in tensors.items()}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert checkpoint.blob_of(tensors) == safetensors.torch.save(tensors)
