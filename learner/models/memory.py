"""Memory of a policy: features and state to features and the next state. Knows PyTorch; knows no training.

One step is what is exported; over whole sequences the built-in layers are written out (`recurrent_layers`), with the
same weights and the same result but for rounding. The state is zeros where an episode begins.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dppo.learner.models.recurrent_layers import (
    Sizes,
    Tape,
    Weights,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
)

Kind = Literal["gru", "lstm"]


class Memory(nn.Module):
    """GRU or LSTM of one layer or more. The state [N, size] has, layer by layer, its outputs and an LSTM's cells."""

    def __init__(
        self, kind: Kind, features: int, width: int, generator: torch.Generator | None = None, *, layers: int = 1
    ) -> None:
        """Orthogonal weights of gain 1 and biases of 0, as Huang et al. 2022 (37 details of PPO) have them."""
        super().__init__()
        self.kind, self.width = kind, width
        self.size = layers * (width if kind == "gru" else 2 * width)
        self.layer: nn.GRU | nn.LSTM = (nn.GRU if kind == "gru" else nn.LSTM)(features, width, layers)
        for name, parameter in self.layer.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)

    @property
    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Parameters of each layer, in the order of recurrent_layers.Weights."""
        parameters = list(self.layer.parameters())
        return [parameters[first : first + len(Weights._fields)] for first in range(0, len(parameters), 4)]

    def forward(self, features: Tensor, state: Tensor, resets: Tensor) -> tuple[Tensor, Tensor]:
        """One step: features [N, f] and state [N, size] to features [N, width] and the next state.

        resets [N] bool: where the state counts as zeros.
        """
        state = state.masked_fill(resets.unsqueeze(1), 0.0)
        layers = self.parameters_by_layer
        after = []
        for weights, before in zip(layers, state.chunk(len(layers), 1), strict=True):
            features, *states = (_gru_step if self.kind == "gru" else _lstm_step)(Weights(*weights), features, before)
            after += states
        return features, torch.cat(after, 1)

    def over(self, features: Tensor, starts: Tensor, sizes: Sizes) -> Tensor:
        """Features [n, width] of packed rows [n, f], as recurrent_layers has them; gradients flow.

        starts: states [m, size] before the first steps, through which none flows.
        """
        layers = self.parameters_by_layer
        for weights, before in zip(layers, starts.chunk(len(layers), 1), strict=True):
            apply: Any = _Layer.apply  # which PyTorch has left without annotations
            features = apply(self.kind, list(sizes), before, features, *weights)
        return features

    @torch.no_grad()
    def states_over(self, features: Tensor, starts: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        """Features [n, width] as of `over`, and states [n, size] after each row; no gradient flows."""
        states = []
        for tape in run_layers(
            self, [Weights(*weights) for weights in self.parameters_by_layer], features, starts, sizes
        ):
            states += [tape.outputs] if self.kind == "gru" else [tape.outputs, tape.cells]
        return tape.outputs, torch.cat(states, 1)


class StepwiseMemory(nn.Module):
    """Module of a user's that knows a single step: training runs it step by step."""

    def __init__(self, module: nn.Module, size: int, width: int) -> None:
        """module: features [N, f] and state [N, size] to features [N, width] and the next state [N, size]."""
        super().__init__()
        self.module, self.size, self.width = module, size, width

    def forward(self, features: Tensor, state: Tensor, resets: Tensor) -> tuple[Tensor, Tensor]:
        """See Memory."""
        after: tuple[Tensor, Tensor] = self.module(features, state.masked_fill(resets.unsqueeze(1), 0.0))
        return after

    def over(self, features: Tensor, starts: Tensor, sizes: Sizes) -> Tensor:
        """See Memory."""
        return self._over(features, starts, sizes)[0]

    @torch.no_grad()
    def states_over(self, features: Tensor, starts: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        """See Memory."""
        return self._over(features, starts, sizes)

    def _over(self, features: Tensor, state: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        outputs, states = [], []
        for part in features.split_with_sizes(list(sizes)):
            output, state = self.module(part, state[: len(part)])
            outputs.append(output)
            states.append(state)
        return torch.cat(outputs), torch.cat(states)


AnyMemory = Memory | StepwiseMemory


def run_layers(memory: Memory, layers: Sequence[Weights], features: Tensor, starts: Tensor, sizes: Sizes) -> list[Tape]:
    """Run layers of a memory's kind over packed rows, each over what the one before made; no gradient may be needed."""
    run = gru_forward if memory.kind == "gru" else lstm_forward
    tapes: list[Tape] = []
    for weights, before in zip(layers, starts.chunk(len(layers), 1), strict=True):
        tapes.append(run(weights, tapes[-1].outputs if tapes else features, before, sizes))
    return tapes


def layer_backward(kind: Kind, weights: Weights, tape: Tape, grad_outputs: Tensor, gradients: Weights) -> Tensor:
    """See recurrent_layers."""
    return (gru_backward if kind == "gru" else lstm_backward)(weights, tape, grad_outputs, gradients)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: Kind, sizes: list[int], starts: Tensor, features: Tensor, *weights: Tensor) -> Tensor:
        own = Weights(*weights)
        tape = (gru_forward if kind == "gru" else lstm_forward)(own, features, starts, sizes)
        ctx.kind, ctx.tape, ctx.weights = kind, tape, own
        return tape.outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> Any:
        gradients = Weights(*(torch.empty_like(weight) for weight in ctx.weights))
        products = layer_backward(ctx.kind, ctx.weights, ctx.tape, grad_outputs.clone(), gradients)
        inputs = products @ ctx.weights.of_inputs if ctx.needs_input_grad[3] else None
        return None, None, None, inputs, *gradients


def _gru_step(weights: Weights, features: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    reset, update, new = nn.functional.linear(features, weights.of_inputs, weights.input_bias).chunk(3, 1)
    kept = nn.functional.linear(before, weights.of_outputs, weights.output_bias)
    kept_reset, kept_update, kept_new = kept.chunk(3, 1)
    share = (update + kept_update).sigmoid()
    candidate = (new + (reset + kept_reset).sigmoid() * kept_new).tanh()
    output = (1 - share) * candidate + share * before
    return output, output


def _lstm_step(weights: Weights, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    before, cell_before = state.chunk(2, 1)
    given = nn.functional.linear(features, weights.of_inputs, weights.input_bias)
    kept = nn.functional.linear(before, weights.of_outputs, weights.output_bias)
    enter, forget, new, show = (given + kept).chunk(4, 1)
    cell = forget.sigmoid() * cell_before + enter.sigmoid() * new.tanh()
    output = show.sigmoid() * cell.tanh()
    return output, output, cell
