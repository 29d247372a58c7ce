"""Layers of a GRU and of an LSTM over many sequences at once, forwards and backwards, written out. Knows the formulas
of PyTorch's layers; knows no modules.

Automatic differentiation spends most of its time on the bookkeeping of many small steps. Here products with inputs, and
those that make the weights' gradients, are done for all steps together; a step is left with one product with the
recurrent weights and a few operations in place.

Rows [n, ...] are packed: the first steps of all m sequences, the longest first, then the second steps of those that
have one, and so on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

FEW_INPUTS = 16  # below, oneMKL takes five times as long for a product with so few columns as for its transpose

Sizes = Sequence[int]  # how many sequences have each step: m of them the first, and never more than the step before


class Weights(NamedTuple):
    """Weights of a layer of width w with g gates in PyTorch's order, or their gradients."""

    of_inputs: Tensor  # [g w, f]
    of_outputs: Tensor  # [g w, w]
    input_bias: Tensor  # [g w]
    output_bias: Tensor  # [g w]


class Tape(NamedTuple):
    """A forward pass over n rows, as the backward pass needs it."""

    features: Tensor  # [n, f]
    sizes: list[int]
    gates: Tensor  # [n, g w], after their nonlinearities; the last of a GRU's is what its reset gate weighs
    squashed: Tensor  # [n, w] candidates of a GRU; the tanh of an LSTM's cells
    outputs_before: Tensor  # [n, w]
    outputs: Tensor  # [n, w]
    cells_before: Tensor  # [n, w] of an LSTM, [0] of a GRU
    cells: Tensor  # the same


def gru_forward(weights: Weights, features: Tensor, starts: Tensor, sizes: Sizes) -> Tape:
    """Run a GRU over features [n, f] from starts [m, w]. Cho et al. 2014, with the reset gate behind the product."""
    width, m = starts.shape[1], len(starts)
    both = 2 * width  # reset and update gate
    gates = features.new_empty(len(features), 3 * width)
    bias = weights.input_bias[:both] + weights.output_bias[:both]
    torch.addmm(bias, features, weights.of_inputs[:both].t(), out=gates[:, :both])
    gates[:, both:] = weights.output_bias[both:]
    candidates = torch.addmm(weights.input_bias[both:], features, weights.of_inputs[both:].t())
    kept = torch.cat([starts, torch.empty_like(candidates)])
    transposed, xp = weights.of_outputs.t(), _elementwise(features)
    gate, candidate, output = _array(gates), _array(candidates), _array(kept)
    reset, update, weighed = gate[:, :width], gate[:, width:both], gate[:, both:]
    room = _array(features.new_empty(m, width))
    at, before = 0, 0  # rows of the step, and of `kept` that it begins with
    products, sigmoids = gates.split_with_sizes(list(sizes)), gates[:, :both].split_with_sizes(list(sizes))
    for size, product, sigmoid in zip(sizes, products, sigmoids, strict=True):
        end, free = at + size, room[:size]
        product.addmm_(kept[before : before + size], transposed)
        sigmoid.sigmoid_()
        new, old = candidate[at:end], output[before : before + size]
        xp.multiply(reset[at:end], weighed[at:end], out=free)
        xp.add(new, free, out=new)
        xp.tanh(new, out=new)
        xp.subtract(old, new, out=free)
        xp.multiply(free, update[at:end], out=free)
        before = m + at
        xp.add(new, free, out=output[before : before + size])
        at = end
    none = features.new_empty(0)
    return Tape(features, list(sizes), gates, candidates, befores(kept, sizes), kept[m:], none, none)


def gru_backward(weights: Weights, tape: Tape, grad_outputs: Tensor, gradients: Weights) -> Tensor:
    """Write the gradients of a loss whose derivative by the outputs is `grad_outputs` [n, w], which is overwritten.

    Returns the derivative by features @ of_inputs.T, [n, 3 w].
    """
    (count, width), xp = grad_outputs.shape, _elementwise(grad_outputs)
    reset, update, weighed = tape.gates.chunk(3, 1)
    by_candidate = _by_tanh(torch.rsub(update, 1), tape.squashed)  # derivative of the output by what the tanh is of
    gates = grad_outputs.new_empty(count, 3, width)  # the same by what reset and update are of, and by `weighed`
    torch.mul(by_candidate, reset, out=gates[:, 2])
    _by_sigmoid(by_candidate * weighed, reset, out=gates[:, 0])
    _by_sigmoid(tape.outputs_before - tape.squashed, update, out=gates[:, 1])
    flat = gates.view(count, -1)  # of the loss by them, when the loop is over
    grad_output, made, kept = (_array(tensor) for tensor in (grad_outputs, gates, update))
    wide, room = grad_output[:, None], _array(grad_outputs.new_empty(tape.sizes[0], width))
    products, end = flat.split_with_sizes(tape.sizes), count
    for step in range(len(tape.sizes) - 1, -1, -1):
        size = tape.sizes[step]
        at, free = end - size, room[:size]
        xp.multiply(made[at:end], wide[at:end], out=made[at:end])
        if step:
            before = at - tape.sizes[step - 1]
            xp.multiply(grad_output[at:end], kept[at:end], out=free)
            earlier = grad_output[before : before + size]
            xp.add(earlier, free, out=earlier)
            grad_outputs[before : before + size].addmm_(products[step], weights.of_outputs)
        end = at
    _write(flat, tape.outputs_before, gradients.of_outputs, gradients.output_bias)
    torch.mul(grad_outputs, by_candidate, out=gates[:, 2])
    _write(flat, tape.features, gradients.of_inputs, gradients.input_bias)
    return flat


def lstm_forward(weights: Weights, features: Tensor, starts: Tensor, sizes: Sizes) -> Tape:
    """Run an LSTM over features [n, f] from starts [m, 2 w], outputs and cells. Gers et al. 2000, without peepholes."""
    width, m, xp = starts.shape[1] // 2, len(starts), _elementwise(features)
    gates = torch.addmm(weights.input_bias + weights.output_bias, features, weights.of_inputs.t())
    squashed = features.new_empty(len(features), width)
    kept, cells = (torch.cat([part, torch.empty_like(squashed)]) for part in starts.chunk(2, 1))
    transposed, sizes = weights.of_outputs.t(), list(sizes)
    gate, output, cell, tanh = (_array(tensor) for tensor in (gates, kept, cells, squashed))
    enter, forget, new, show = (gate[:, first : first + width] for first in range(0, 4 * width, width))
    room = _array(features.new_empty(m, width))
    products, sigmoids = gates.split_with_sizes(sizes), gates[:, : 2 * width].split_with_sizes(sizes)
    shown, at, before = gates[:, 3 * width :].split_with_sizes(sizes), 0, 0
    for step, size in enumerate(sizes):
        end, free, after = at + size, room[:size], m + at
        products[step].addmm_(kept[before : before + size], transposed)
        sigmoids[step].sigmoid_()
        shown[step].sigmoid_()
        xp.tanh(new[at:end], out=new[at:end])
        made = cell[after : after + size]
        xp.multiply(forget[at:end], cell[before : before + size], out=made)
        xp.multiply(enter[at:end], new[at:end], out=free)
        xp.add(made, free, out=made)
        xp.tanh(made, out=tanh[at:end])
        xp.multiply(show[at:end], tanh[at:end], out=output[after : after + size])
        at, before = end, after
    return Tape(features, sizes, gates, squashed, befores(kept, sizes), kept[m:], befores(cells, sizes), cells[m:])


def lstm_backward(weights: Weights, tape: Tape, grad_outputs: Tensor, gradients: Weights) -> Tensor:
    """Write the gradients of a loss whose derivative by the outputs is `grad_outputs` [n, w], which is overwritten.

    Returns the derivative by features @ of_inputs.T, [n, 4 w].
    """
    (count, width), xp = grad_outputs.shape, _elementwise(grad_outputs)
    enter, forget, new, show = tape.gates.chunk(4, 1)
    by_cell = _by_tanh(show, tape.squashed)  # derivative of the output by the cell
    gates = grad_outputs.new_empty(
        count, 4, width
    )  # of the cell by what the first gates are of, of the output by the last
    _by_sigmoid(new, enter, out=gates[:, 0])
    _by_sigmoid(tape.cells_before, forget, out=gates[:, 1])
    torch.ops.aten.tanh_backward.grad_input(enter, new, grad_input=gates[:, 2])
    _by_sigmoid(tape.squashed, show, out=gates[:, 3])
    of_cells, flat = torch.zeros_like(grad_outputs), gates.view(count, -1)  # of the loss by both, when the loop is over
    grad_output, of_cell, made, through, kept = (
        _array(tensor) for tensor in (grad_outputs, of_cells, gates, by_cell, forget)
    )
    wide, room = of_cell[:, None], _array(grad_outputs.new_empty(tape.sizes[0], width))
    products, end = flat.split_with_sizes(tape.sizes), count
    for step in range(len(tape.sizes) - 1, -1, -1):
        size = tape.sizes[step]
        at, free = end - size, room[:size]
        xp.multiply(grad_output[at:end], through[at:end], out=free)
        xp.add(of_cell[at:end], free, out=of_cell[at:end])
        xp.multiply(made[at:end, :3], wide[at:end], out=made[at:end, :3])
        xp.multiply(made[at:end, 3], grad_output[at:end], out=made[at:end, 3])
        if step:
            before = at - tape.sizes[step - 1]
            xp.multiply(of_cell[at:end], kept[at:end], out=of_cell[before : before + size])
            grad_outputs[before : before + size].addmm_(products[step], weights.of_outputs)
        end = at
    _write(flat, tape.outputs_before, gradients.of_outputs, gradients.output_bias)
    _write(flat, tape.features, gradients.of_inputs, gradients.input_bias)
    return flat


def befores(kept: Tensor, sizes: Sizes) -> Tensor:
    """Outputs or cells that each row's step began with, [n, w]. kept: [m + n, w], starts of m sequences, then rows."""
    first, count = sizes[0], len(kept) - sizes[0]
    if sizes[-1] == first:
        return kept[:count]
    behind = np.repeat([0, *(first - size for size in sizes[:-1])], sizes)
    return kept.index_select(0, torch.from_numpy(np.arange(count) + behind).to(kept.device))


def _by_tanh(grad_output: Tensor, output: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten.tanh_backward(grad_output, output)
    return product


def _by_sigmoid(grad_output: Tensor, output: Tensor, *, out: Tensor) -> None:
    torch.ops.aten.sigmoid_backward.grad_input(grad_output, output, grad_input=out)


def _write(grad_outputs: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor) -> None:
    if inputs.shape[1] < FEW_INPUTS:
        weight.copy_(torch.mm(inputs.t(), grad_outputs).t())
    else:
        torch.mm(grad_outputs.t(), inputs, out=weight)
    torch.sum(grad_outputs, 0, out=bias)


def _elementwise(like: Tensor) -> Any:
    """Module for arithmetic on small arrays: on a CPU numpy's operations and views cost a third of PyTorch's."""
    return np if like.is_cpu else torch


def _array(tensor: Tensor) -> Any:
    """The same memory as an array of that module."""
    return tensor.numpy() if tensor.is_cpu else tensor
