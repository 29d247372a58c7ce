"""Whether a checkpoint is one of the networks and counters of this run. Knows tensors by name; knows no files."""

from collections.abc import Collection, Mapping

from torch import Tensor

from dppo.learner.ppo.reward_scaling import CARRIED
from dppo.protocol.errors import CheckpointError

LATER = "rewards."  # group of tensors that checkpoints have since this release only


def refuse_other_networks(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    counters: Collection[str],
    expected_counters: Collection[str],
) -> None:
    """Raise CheckpointError where tensors are missing, unknown or of other shapes, or counters are missing."""
    later = {name for name in expected if name.startswith(LATER)}
    problems = [f"{name} is missing" for name in expected.keys() - tensors.keys() - later]
    problems += [f"{name} is unknown" for name in tensors.keys() - expected.keys()]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape and not name.startswith(CARRIED)
    ]
    problems += [f"{name} is missing" for name in expected_counters if name not in counters]
    if problems:
        raise CheckpointError(
            f"the checkpoint does not fit this run: {'; '.join(sorted(problems))}. "
            "Use the settings of networks, surrogate and critic and the environment that it was written with, "
            "and the same code of functions of your own."
        )
