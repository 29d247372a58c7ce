"""A policy's own arithmetic in PyTorch: row by row, and trainable. Knows no graphs.

What an actor acts on alone is trained on in a minibatch of hundreds, so no row may depend on the others.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dppo.learner.models.memory import StepwiseMemory
from dppo.learner.models.memory_check import check_memory
from dppo.learner.models.networks import PolicyNetwork
from dppo.learner.models.onnx_export import LISTED_LAYERS
from dppo.learner.own_code import in_a_line
from dppo.protocol.errors import UsageError

TOLERANCE = 1e-3  # times the log-prob, where that is above 1: a batch is rounded otherwise
ROUNDINGS = 256  # units in the last place of the terms that a log-prob is summed from
MOST_NAMED = 3  # parameters


def check_forward(policy: PolicyNetwork, inputs: Sequence[Tensor]) -> None:
    """Raise UsageError unless log-probs of rows are the same alone and move every trainable parameter.

    A memory of a user's must also remember something.
    inputs: leaves, mask, state, reset and noise, with a row for each of several observations.
    """
    *given, noise = inputs
    with torch.enable_grad():
        distribution = policy.distribution_of(given)
        rows = distribution.sample(noise).detach()
        log_prob = distribution.log_prob(rows)
    _check_finite(log_prob.detach())
    _check_repeated(policy, given, rows, log_prob.detach())
    _check_alone(policy, given, rows, log_prob.detach())
    if isinstance(policy.memory, StepwiseMemory):
        check_memory(policy.memory, policy.features)
    _check_trainable(policy, log_prob)


def _check_finite(log_prob: Tensor) -> None:
    if not bool(torch.isfinite(log_prob).all()):
        raise UsageError(
            f"the policy computes log-probs that are not finite ({log_prob[~torch.isfinite(log_prob)][0]:g}) before "
            "anything is trained: look for parameters that are not initialised (torch.empty), and for log, sqrt or a "
            "division of 0"
        )


def _check_repeated(policy: PolicyNetwork, given: Sequence[Tensor], rows: Tensor, expected: Tensor) -> None:
    with torch.no_grad():
        again = policy.distribution_of(given).log_prob(rows)
    if not torch.allclose(again, expected, rtol=TOLERANCE, atol=TOLERANCE):
        row = int((again - expected).abs().nan_to_num(torch.inf).argmax())
        raise UsageError(
            f"the policy computes another log-prob of the same observations when it is called again: {again[row]:.6g} "
            f"instead of {expected[row]:.6g}: look for something that a module keeps in itself between calls (what is "
            "remembered belongs into the state that is handed in and returned), or random numbers"
        )


def _check_alone(policy: PolicyNetwork, given: Sequence[Tensor], rows: Tensor, expected: Tensor) -> None:
    try:
        with torch.no_grad():
            distribution = policy.distribution_of([tensor[:1] for tensor in given])
            alone, terms = distribution.log_prob(rows[:1]), distribution.terms(rows[:1])
    except Exception as error:  # a user's own code
        raise UsageError(
            f"the policy cannot take one observation alone, as an actor gives it: {in_a_line(error)}: squeeze() "
            "without a dimension is a usual reason"
        ) from error
    rounding = ROUNDINGS * torch.finfo(torch.float32).eps * float(terms.flatten()[0])
    limit = max(TOLERANCE, TOLERANCE * abs(float(expected[0])), rounding)
    if alone.shape != (1,) or not abs(float(alone[0] - expected[0])) <= limit:
        raise UsageError(
            f"the policy computes another log-prob of one observation alone than in a batch of {len(expected)}: "
            f"{alone.flatten()[0]:.6g} instead of {expected[0]:.6g}: no row may depend on others; look for a mean, "
            "softmax or reshape over the first dimension, or random numbers"
        )


def _check_trainable(policy: PolicyNetwork, log_prob: Tensor) -> None:
    named = {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}
    _refuse_unregistered(policy, log_prob)
    if not named:
        return
    gradients: Sequence[Tensor | None] = [None] * len(named)
    if log_prob.requires_grad:
        gradients = torch.autograd.grad(log_prob.sum(), list(named.values()), allow_unused=True)
    still = [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
    if still:
        more = f" and {len(still) - MOST_NAMED} more" if len(still) > MOST_NAMED else ""
        raise UsageError(
            f"no gradient reaches {', '.join(still[:MOST_NAMED])}{more} of the policy, so training would leave them as "
            "they are: look for no_grad(), detach(), numpy() or a layer that is not used; what is meant to stay needs "
            "requires_grad_(False)"
        )


def _refuse_unregistered(policy: PolicyNetwork, log_prob: Tensor) -> None:
    """Raise UsageError where gradients reach tensors that are none of the policy's parameters."""
    own = {id(parameter) for parameter in policy.parameters()}
    nodes, seen = [log_prob.grad_fn], set[object]()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # of nodes that add up gradients
        if leaf is not None and id(leaf) not in own:
            raise UsageError(f"{LISTED_LAYERS}one of shape {tuple(leaf.shape)} is used")
        nodes += [further for further, _ in node.next_functions]
