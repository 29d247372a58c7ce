"""Outputs of networks on fixed observations, few numbers of each, to tell whether other code computes the same.

Knows networks; knows no files. Weights are not compared here: both sides must have the same ones.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dppo.learner.models.graph_check import random_inputs
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.models.onnx_export import output_names

TOLERANCE = 1e-4  # of the sum of what a number was made of: devices and releases of PyTorch round otherwise
LEAST = 1e-6

Outputs = dict[str, Any]  # as JSON: "inputs", a checksum, and "outputs", by name [ROWS][2]


@torch.no_grad()
def fixed_outputs(policy: PolicyNetwork, critic: CriticNetwork) -> Outputs:
    """Return what the networks compute now: of each output and row a weighted sum, and how large its terms are.

    Outputs that are no floats, such as choices, are left out: rounding may decide them, and log_prob shows them.
    """
    given = random_inputs(policy, policy.spec, np.random.default_rng(0))
    device = next((tensor.device for tensor in policy.state_dict().values()), torch.device("cpu"))
    inputs = [tensor.to(device) for tensor in given]
    leaves = policy.seen(dict(zip(policy.inputs, inputs, strict=True))).values()
    found = {"encoder": policy.encoder(*leaves)}
    if critic.encoder is not None:
        found["critic's encoder"] = critic.encoder(*leaves)
    found |= dict(zip(output_names(policy.spec), policy(*inputs), strict=True))
    checksum = zlib.crc32(b"".join(tensor.numpy().tobytes() for tensor in given))
    return {
        "inputs": checksum,
        "outputs": {name: _sums(tensor) for name, tensor in found.items() if tensor.is_floating_point()},
    }


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return which output differs, and how, in a few words; "" where none does.

    Also where the observations themselves are others, as another release of NumPy may draw them.
    """
    if then["inputs"] != now["inputs"]:
        return ""
    for name in [*now["outputs"], *then["outputs"]]:
        if name not in now["outputs"] or name not in then["outputs"]:
            return f"its {name} is {'new' if name in now['outputs'] else 'gone'}"
        (old, old_size), (new, new_size) = (np.array(side["outputs"][name]).T for side in (then, now))
        wrong = np.abs(old - new) > TOLERANCE * np.maximum(old_size, new_size) + LEAST
        if wrong.any():
            row = int(wrong.argmax())
            return f"its {name} gives {new[row]:.6g} instead of {old[row]:.6g}"
    return ""


def _sums(tensor: Tensor) -> list[list[float]]:
    """[rows][2] of [rows, ...]."""
    numbers = np.nan_to_num(tensor.cpu().numpy().astype(np.float64).reshape(len(tensor), -1))
    weights = np.cos(np.arange(numbers.shape[1]))  # so that two numbers that change places show
    sums: list[list[float]] = np.stack([numbers @ weights, np.abs(numbers).sum(axis=1)], axis=1).tolist()
    return sums
