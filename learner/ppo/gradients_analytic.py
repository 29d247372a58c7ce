"""The gradient of PPO's loss for perceptrons, written out by hand. Knows the loss and the layers; knows no optimizer.

At 64 rows automatic differentiation spends most of its time on bookkeeping. Here every product is written into a buffer
that is used again, and gradients go straight to their place in the flat gradient. The formulas are those of
`AutogradGradients`, which the tests compare it to.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dppo.learner.models.activations import Tanh, tanh_in_place
from dppo.learner.models.heads import ActionHead, GaussianHead
from dppo.learner.models.memory import Memory, layer_backward, run_layers
from dppo.learner.models.networks import CriticNetwork, PolicyNetwork
from dppo.learner.models.recurrent_layers import Tape, Weights
from dppo.learner.ppo.gradients import KlPenalty, Outputs
from dppo.learner.ppo.head_gradients import (
    CategoricalGradient,
    FreeGaussianGradient,
    HeadGradient,
    StateGaussianGradient,
)
from dppo.learner.ppo.losses import is_value_clipped
from dppo.learner.ppo.rows import Rows
from dppo.learner.ppo.sequences import Pack

KEPT_SIZES = 64  # minibatches of one batch have at most two sizes, but of whole sequences many

Activate = Callable[[], object]  # replaces a tensor by its activation


class _Buffers(NamedTuple):
    """Views of a network's buffers for one number of rows, with what is done to them in every minibatch."""

    outputs: list[Tensor]  # [rows, width] of each layer
    activate: list[Activate]  # of each hidden layer's outputs
    grad_outputs: list[Tensor]  # [rows, width] of each hidden layer
    transposed: list[Tensor]  # the grad_outputs, [width, rows]


def _tanh_backward(grad_output: Tensor, output: Tensor) -> None:
    torch.ops.aten.tanh_backward.grad_input(grad_output, output, grad_input=grad_output)


def _relu_backward(grad_output: Tensor, output: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(grad_output, output, 0.0, grad_input=grad_output)


def _elu_backward(grad_output: Tensor, output: Tensor) -> None:
    torch.ops.aten.elu_backward.grad_input(grad_output, 1.0, 1.0, 1.0, True, output, grad_input=grad_output)


# what makes the activation of a tensor in place, and the in-place product of a grad_output with the derivative, from
# the activation's output
_ACTIVATIONS: dict[type[nn.Module], tuple[Callable[[Tensor], Activate], Callable[[Tensor, Tensor], None]]] = {
    Tanh: (tanh_in_place, _tanh_backward),
    nn.ReLU: (lambda tensor: partial(torch.relu_, tensor), _relu_backward),
    nn.ELU: (lambda tensor: partial(nn.functional.elu_, tensor), _elu_backward),
}


def applies_to(policy: PolicyNetwork, critic: CriticNetwork) -> bool:
    """Whether these gradients cover both networks: encoders without parameters, perceptrons, plain heads."""
    simple = policy.layout.kind in ("gaussian", "categorical") and type(policy.head) is ActionHead
    simple = simple and policy.head.squashed is None and isinstance(policy.head.of_numbers, GaussianHead)
    simple = simple and isinstance(policy.memory, Memory | None)
    return simple and policy.encodes_once and _is_perceptron(policy.body) and _is_perceptron(critic.body)


def _is_perceptron(body: nn.Module) -> bool:
    """Whether linear layers alternate with one kind of known activation."""
    layers = list(body) if isinstance(body, nn.Sequential) else []
    activations = {type(layer) for layer in layers[1::2]}
    linear = all(type(layer) is nn.Linear for layer in layers[::2])
    return len(layers) % 2 == 1 and linear and len(activations) <= 1 and activations <= _ACTIVATIONS.keys()


class WrittenMlp:
    """Forward and backward pass of an `nn.Sequential` of linear layers with one kind of activation between them."""

    def __init__(self, body: nn.Module) -> None:
        assert isinstance(body, nn.Sequential), "applies_to says so"
        linears = [layer for layer in body if isinstance(layer, nn.Linear)]
        self._weights = [layer.weight.detach() for layer in linears]  # [outputs, inputs], views of the flat parameters
        self._transposed = [weight.t() for weight in self._weights]
        self._biases = [layer.bias.detach() for layer in linears]
        self._weight_gradients = [_gradient(layer.weight) for layer in linears]
        self._bias_gradients = [_gradient(layer.bias) for layer in linears]
        self._activation, self._deactivate = _ACTIVATIONS[type(body[1]) if len(body) > 1 else Tanh]
        self._most, self._outputs, self._grad_outputs = 0, list[Tensor](), list[Tensor]()
        self._buffers: dict[int, _Buffers] = {}  # their first rows, by how many

    def forward(self, features: Tensor) -> Tensor:
        """Outputs [n, o] of features [n, f]; valid until the next call with as many rows."""
        buffers = self._buffers_for(features.size(0))
        inputs, last = features, len(buffers.activate)
        for index, output in enumerate(buffers.outputs):
            torch.addmm(self._biases[index], inputs, self._transposed[index], out=output)
            if index < last:
                buffers.activate[index]()
            inputs = output
        return inputs

    def backward(self, features: Tensor, grad_output: Tensor, into: Tensor | None = None) -> None:
        """Write the parameters' gradients for a loss whose derivative by the last outputs is grad_output [n, o].

        into [n, f]: the derivative by the features is added to it.
        """
        buffers = self._buffers_for(features.size(0))
        transposed = grad_output.t()
        for index in range(len(buffers.outputs) - 1, -1, -1):
            inputs = buffers.outputs[index - 1] if index else features
            torch.mm(transposed, inputs, out=self._weight_gradients[index])
            torch.sum(grad_output, 0, out=self._bias_gradients[index])
            if index:
                below, transposed = buffers.grad_outputs[index - 1], buffers.transposed[index - 1]
                torch.mm(grad_output, self._weights[index], out=below)
                grad_output = below
                self._deactivate(grad_output, inputs)
        if into is not None:
            into.addmm_(grad_output, self._weights[0])

    def _buffers_for(self, rows: int) -> _Buffers:
        if rows not in self._buffers:
            if len(self._buffers) >= KEPT_SIZES:
                self._buffers.clear()
            if rows > self._most:
                self._most = rows
                self._outputs = [weight.new_empty(rows, len(weight)) for weight in self._weights]
                self._grad_outputs = [torch.empty_like(output) for output in self._outputs[:-1]]
                self._buffers.clear()
            outputs, grad_outputs = (
                [whole[:rows] for whole in wholes] for wholes in (self._outputs, self._grad_outputs)
            )
            activate = [self._activation(output) for output in outputs[:-1]]
            self._buffers[rows] = _Buffers(
                outputs, activate, grad_outputs, [grad_output.t() for grad_output in grad_outputs]
            )
        return self._buffers[rows]


class WrittenMemory:
    """Forward and backward pass of a memory over a minibatch."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        layers = memory.parameters_by_layer
        self._weights = [Weights(*(parameter.detach() for parameter in layer)) for layer in layers]
        self._gradients = [Weights(*map(_gradient, layer)) for layer in layers]
        self._tapes: list[Tape] = []

    def forward(self, features: Tensor, pack: Pack) -> Tensor:
        """Features [n, width] of features [n, f]."""
        self._tapes = run_layers(self._memory, self._weights, features, pack.starts, pack.sizes)
        return self._tapes[-1].outputs

    def backward(self, grad_outputs: Tensor) -> None:
        """Write the parameters' gradients for a loss whose derivative by the outputs is grad_outputs [n, width]."""
        for index in range(len(self._tapes) - 1, -1, -1):
            weights = self._weights[index]
            products = layer_backward(
                self._memory.kind, weights, self._tapes[index], grad_outputs, self._gradients[index]
            )
            if index:
                grad_outputs = products @ weights.of_inputs
        self._tapes = []


class AnalyticGradients:
    """See gradients.Gradients. Make it after FlatAdam has moved the parameters to their final place."""

    def __init__(
        self,
        policy: PolicyNetwork,
        critic: CriticNetwork,
        *,
        value_coefficient: float,
        entropy_coefficient: float,
        value_clip_range: float = 0.0,
    ) -> None:
        self._policy, self._critic = WrittenMlp(policy.body), WrittenMlp(critic.body)
        self._encode, self._value_coefficient = policy.encode, value_coefficient
        self._value_clip_range = value_clip_range
        self._memory = WrittenMemory(policy.memory) if isinstance(policy.memory, Memory) else None
        self._head_gradient = _head_gradient(policy, entropy_coefficient)

    @property
    def entropy_coefficient(self) -> float:
        """See gradients.Gradients."""
        return self._head_gradient.entropy_coefficient

    @entropy_coefficient.setter
    def entropy_coefficient(self, coefficient: float) -> None:
        self._head_gradient.entropy_coefficient = coefficient

    @torch.no_grad()
    def both(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """See gradients.Gradients."""
        features, into = self._seen(rows)
        self._critic_part(features, rows, outputs, into)
        self._policy_part(features, rows, outputs, penalty, into)
        self._remember(into)

    @torch.no_grad()
    def policy(self, rows: Rows, outputs: Outputs, penalty: KlPenalty | None) -> None:
        """See gradients.Gradients."""
        features, into = self._seen(rows)
        self._policy_part(features, rows, outputs, penalty, into)
        self._remember(into)

    @torch.no_grad()
    def critic(self, rows: Rows, outputs: Outputs) -> None:
        """See gradients.Gradients."""
        features, _ = self._seen(rows)
        self._critic_part(features, rows, outputs, None)

    def _seen(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Features of the rows, and with a memory room for the loss's derivative by them."""
        features = rows.encoded(self._encode)
        if self._memory is None:
            return features, None
        features = self._memory.forward(features, rows.pack)
        return features, torch.zeros_like(features)

    def _remember(self, grad_outputs: Tensor | None) -> None:
        if self._memory is not None and grad_outputs is not None:
            self._memory.backward(grad_outputs)

    def _policy_part(
        self, features: Tensor, rows: Rows, outputs: Outputs, penalty: KlPenalty | None, into: Tensor | None
    ) -> None:
        heads = self._policy.forward(features)
        self._policy.backward(features, self._head_gradient(heads, rows, outputs, penalty), into)

    def _critic_part(self, features: Tensor, rows: Rows, outputs: Outputs, into: Tensor | None) -> None:
        values = self._critic.forward(features)
        outputs.values.copy_(values.squeeze(-1))
        grad_output = (outputs.values - rows.targets).mul_(self._value_coefficient / rows.targets.size(0))
        if rows.old_values is not None:
            grad_output.masked_fill_(
                is_value_clipped(outputs.values, rows.targets, rows.old_values, self._value_clip_range), 0.0
            )
        self._critic.backward(features, grad_output.unsqueeze(-1), into)


def _head_gradient(policy: PolicyNetwork, entropy_coefficient: float) -> HeadGradient:
    assert isinstance(policy.head, ActionHead), "applies_to says so"
    gaussian, log_std = policy.head.of_numbers, policy.log_std
    if policy.layout.kind == "categorical":
        return CategoricalGradient(entropy_coefficient)
    assert isinstance(gaussian, GaussianHead), "applies_to says so"
    if log_std is None:
        return StateGaussianGradient(gaussian, entropy_coefficient)
    return FreeGaussianGradient(gaussian, log_std.detach(), _gradient(log_std), entropy_coefficient)


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("the parameters have no gradients to write to: make FlatAdam of the networks first")
    return parameter.grad
