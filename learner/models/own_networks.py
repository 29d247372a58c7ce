"""Parts of a policy that a user's functions make: found by name, made, and tried on an example. Knows PyTorch, specs.

Each function draws from PyTorch's own generator, which is seeded for it: the same seed gives the same weights.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dppo.learner.models.action_layout import ActionLayout
from dppo.learner.models.distributions import Distribution
from dppo.learner.models.encoders import example_leaf
from dppo.learner.models.memory import StepwiseMemory
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.numerics import own_numerics
from dppo.learner.own_code import find_function, in_a_line
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Leaf, Spec

log = logging.getLogger(__name__)

ROWS = 2  # of the example that a part is tried on


class Encoder(Protocol):
    """Module that `network.encoder` names a function for; the function takes the observation's leaves.

    A LeafEncoder anywhere in it normalises its leaf as the built-in encoder does: the run keeps its statistics.
    """

    def __call__(self, *leaves: Tensor) -> Tensor:
        """Features [N, f] float32 of leaves [N, *shape] in their wire dtypes, in the order that the function got."""


class Memory(Protocol):
    """Module that `network.memory` names a function for; the function takes f, the features' width, and s, the numbers
    of a state, which are network.memory_width.
    """

    def __call__(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, w] for body and critic, and the next state [N, s], of features [N, f] and a state [N, s].

        All float32. The state is zeros where an episode begins.
        """


class Head(Protocol):
    """Module that `network.head` names a function for; the function takes the ActionLayout and h, the inputs' width."""

    def __call__(self, outputs: Tensor) -> Distribution:
        """The distribution over rows of actions (ActionLayout) of the last hidden layer's outputs [N, h]."""


def own_encoder(name: str, leaves: Sequence[Leaf], seed: int) -> tuple[nn.Module, int]:
    """Return the encoder of network.encoder=name, and how many features it makes. Raises UsageError."""
    setting = f"network.encoder={name}"
    encoder = _module(setting, _called(setting, _function("network.encoder", name), seed, tuple(leaves)))
    examples = [example_leaf(leaf, ROWS) for leaf in leaves]
    features = _tried(setting, encoder, examples)
    shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    if not isinstance(features, Tensor) or features.dim() != 2 or len(features) != ROWS or not features.shape[1]:
        raise UsageError(
            f"{setting}: for {ROWS} observations it returned {shape}, not features of shape ({ROWS}, f): flatten them"
        )
    if features.dtype != torch.float32:
        raise UsageError(f"{setting}: its features are {features.dtype}, not float32: convert them")
    return encoder, int(features.shape[1])


def own_memory(name: str, features: int, size: int, seed: int) -> StepwiseMemory:
    """Return the memory of network.memory=name, of features [N, features] and states [N, size]. Raises UsageError."""
    setting = f"network.memory={name}"
    memory = _module(setting, _called(setting, _function("network.memory", name), seed, features, size))
    made = _tried(setting, memory, [torch.zeros(ROWS, features), torch.zeros(ROWS, size)])
    is_pair = isinstance(made, tuple) and len(made) == 2 and all(isinstance(part, Tensor) for part in made)
    if not is_pair:
        raise UsageError(f"{setting}: it returned a {type(made).__name__}, not a tuple of features and the next state")
    output, state = made
    if output.dim() != 2 or len(output) != ROWS or not output.shape[1] or state.shape != (ROWS, size):
        raise UsageError(
            f"{setting}: for {ROWS} observations it returned features {tuple(output.shape)} and a state "
            f"{tuple(state.shape)}, not ({ROWS}, w) and ({ROWS}, {size}); network.memory_width is the state's size"
        )
    if output.dtype != torch.float32 or state.dtype != torch.float32:
        raise UsageError(f"{setting}: it returned {output.dtype} and {state.dtype}, not float32: convert them")
    return StepwiseMemory(memory, size, int(output.shape[1]))


def own_head(name: str, layout: ActionLayout, inputs: int, seed: int) -> nn.Module:
    """Return the head of network.head=name for outputs [N, inputs] of the last hidden layer. Raises UsageError."""
    setting = f"network.head={name}"
    head = _module(setting, _called(setting, _function("network.head", name), seed, layout, inputs))
    _check_distribution(setting, _tried(setting, head, [torch.zeros(ROWS, inputs)]), layout)
    return head


def own_policy(name: str, spec: Spec, seed: int) -> PolicyNetwork:
    """Return the policy of network.policy=name. Raises UsageError."""
    setting = f"network.policy={name}"
    policy = _module(setting, _called(setting, _function("network.policy", name), seed, spec))
    if not isinstance(policy, PolicyNetwork):
        raise UsageError(f"{setting} returned a {type(policy).__name__}: return a PolicyNetwork of dppo.networks")
    examples = [example_leaf(leaf, ROWS) for leaf in spec.observation]
    features = _tried(setting, policy.encoder, examples)
    if tuple(features.shape) != (ROWS, policy.features):
        raise UsageError(
            f"{setting}: its encoder's features for {ROWS} observations have shape {tuple(features.shape)}, and it was "
            f"made with features={policy.features}"
        )
    masks = [policy.mask(torch.ones((ROWS, *leaf.shape), dtype=torch.bool)) for leaf in spec.mask if policy.mask]
    _check_distribution(setting, _tried(setting, policy.distribution, [features, *masks]), policy.layout)
    return policy


def inert_layers(made: nn.Module) -> list[str]:
    """Return a line for each kind of layer that does nothing, because modules stay in eval mode."""
    modules = list(made.modules())
    dropouts = [module for module in modules if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0]
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm) and _is_fresh(module)]
    lines = []
    if dropouts:
        lines.append(f"{type(dropouts[0]).__name__} in it does nothing: actors and learner compute the same")
    if norms:
        lines.append(
            f"{type(norms[0]).__name__} in it normalises nothing: it keeps its first statistics, mean 0 and "
            "variance 1; LayerNorm, or LeafEncoder(leaf, normalise=True), does"
        )
    return lines


def _is_fresh(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    return mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())


def _function(setting: str, name: str) -> Callable[..., Any]:
    """Return the function of that name. Its module may change what a process shares when it is imported."""
    with own_numerics():
        return find_function(setting, name)


def _called(setting: str, function: Callable[..., Any], seed: int, *arguments: object) -> Any:
    with torch.random.fork_rng(devices=[]), own_numerics():
        torch.manual_seed(seed)
        with _reported(f"{setting}: making it"):
            return function(*arguments)


def _module(setting: str, made: object) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise UsageError(f"{setting} returned an object of {type(made).__name__}: return a torch.nn.Module")
    for name, parameter in made.named_parameters():
        if parameter.dtype != torch.float32:
            raise UsageError(f"{setting}: its parameter {name} is {parameter.dtype}, not float32")
    for line in inert_layers(made):
        log.warning("%s: %s", setting, line)
    return made.eval()


@torch.no_grad()
def _tried(setting: str, module: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    shapes = ", ".join(f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in inputs)
    with _reported(f"{setting}: calling it with {shapes}"):
        return module(*inputs)


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into a UsageError."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what} failed: {in_a_line(error)}") from error


def _check_distribution(setting: str, distribution: Distribution, layout: ActionLayout) -> None:
    """Raise UsageError unless it samples rows of actions, and their log-probs, as the layout has them."""
    missing = [name for name in ("sample", "log_prob", "entropy", "kl_from") if not hasattr(distribution, name)]
    if missing:
        raise UsageError(
            f"{setting} gave a {type(distribution).__name__} without {', '.join(missing)}: return a distribution of "
            "dppo.networks, such as Gaussian or Categorical"
        )
    with torch.no_grad(), _reported(f"{setting}: sampling"):
        action = distribution.sample(torch.zeros(ROWS, layout.noise_size))
        log_prob = distribution.log_prob(action)
    numbers = layout.numbers + len(layout.choices)
    expected = (ROWS,) if layout.kind == "categorical" else (ROWS, numbers)
    if tuple(action.shape) != expected or tuple(log_prob.shape) != (ROWS,):
        raise UsageError(
            f"{setting}: for {ROWS} observations its distribution sampled actions of shape {tuple(action.shape)} with "
            f"log-probs of shape {tuple(log_prob.shape)}, not {expected} and ({ROWS},)"
        )
