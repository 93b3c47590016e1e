"""The floor's parts: flat parameter vectors, update rules in place, trunks and heads with workspaces.

Hand-written NumPy with every gradient spelled out and no array made inside a step that matters in size:
the yardstick for what an autodiff engine costs.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tests.benchmark.workloads import BETAS, EPSILON, KERNEL, LEARNING_RATE, LENET_CHANNELS, MOMENTUM, Workload

Arrays = list[np.ndarray]


def views(flat: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> Arrays:
    """Arrays of the given shapes that share the memory of one vector."""
    found, offset = [], 0
    for shape in shapes:
        size = math.prod(shape)
        found.append(flat[offset : offset + size].reshape(shape))
        offset += size
    return found


class Momentum:
    """SGD with momentum on one flat vector; the learning rate is folded into the velocity."""

    def __init__(self, size: int, optimizer: str, dtype: str) -> None:
        self.rate, self.momentum = LEARNING_RATE[optimizer], MOMENTUM[optimizer]
        self.velocity = np.zeros(size, dtype)

    def update(self, values: np.ndarray, gradient: np.ndarray) -> None:
        """Move `values`; `gradient` is used up."""
        gradient *= self.rate
        self.velocity *= self.momentum
        self.velocity += gradient
        values -= self.velocity


class Adam:
    """Adam on one flat vector."""

    def __init__(self, size: int, optimizer: str, dtype: str) -> None:
        self.rate = LEARNING_RATE[optimizer]
        self.mean, self.square = np.zeros(size, dtype), np.zeros(size, dtype)
        self.scratch = np.empty(size, dtype)
        self.steps = 0

    def update(self, values: np.ndarray, gradient: np.ndarray) -> None:
        """Move `values`; `gradient` is used up."""
        self.steps += 1
        beta1, beta2 = BETAS
        scratch = self.scratch
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - beta2
        self.square *= beta2
        self.square += scratch
        gradient *= 1.0 - beta1
        self.mean *= beta1
        self.mean += gradient
        np.sqrt(self.square, out=scratch)
        scratch *= 1.0 / math.sqrt(1.0 - beta2**self.steps)
        scratch += EPSILON
        np.divide(self.mean, scratch, out=scratch)
        scratch *= self.rate / (1.0 - beta1**self.steps)
        values -= scratch


def memory(size: int, optimizer: str, dtype: str) -> Momentum | Adam:
    """The update rule with a fresh memory for `size` numbers."""
    return Adam(size, optimizer, dtype) if optimizer == "adam" else Momentum(size, optimizer, dtype)


class MLPTrunk:
    """Linear + ReLU after every layer. The input needs no gradient."""

    def __init__(self, workload: Workload) -> None:
        n, widths, dtype = workload.batch, workload.trunk[1:], workload.dtype
        self.outputs = [np.empty((n, width), dtype) for width in widths]
        self.masks = [np.empty((n, width), dtype) for width in widths]
        self.gradients = [np.empty((n, width), dtype) for width in widths]
        self.ones = np.ones(n, dtype)

    def forward(self, x: np.ndarray, values: Arrays) -> np.ndarray:
        """The representation (N, width)."""
        self.x = hidden = x
        for layer, (output, mask) in enumerate(zip(self.outputs, self.masks, strict=True)):
            weight, bias = values[2 * layer : 2 * layer + 2]
            np.matmul(hidden, weight, out=output)
            output += bias
            np.maximum(output, 0, out=output)
            np.greater(output, 0, out=mask, casting="unsafe")  # as floats: multiplying bools is slower
            hidden = output
        return hidden

    def backward(self, gradient: np.ndarray, values: Arrays, out: Arrays) -> None:
        """Write the parameters' gradients to `out`, from the gradient at the representation."""
        for layer in reversed(range(len(self.outputs))):
            at_output = np.multiply(gradient, self.masks[layer], out=self.gradients[layer])
            below = self.outputs[layer - 1] if layer else self.x
            np.matmul(below.T, at_output, out=out[2 * layer])
            np.matmul(self.ones, at_output, out=out[2 * layer + 1])
            if layer:
                gradient = np.matmul(at_output, values[2 * layer].T, out=self.gradients[layer - 1])


class ConvPoolReLU:
    """A 5 x 5 convolution, 2 x 2 max-pooling and ReLU as one matrix product each way.

    The four outputs of a pooling window are four channels of a stride-2 convolution whose 6 x 6 kernel
    holds the 5 x 5 kernel in one of its four corners; pooling is then a maximum over four slabs. The batch
    is the last axis: (channels, rows, columns, N), so every copy moves long runs.
    """

    def __init__(self, channels: int, side: int, outputs: int, batch: int, dtype: str) -> None:
        self.channels, self.side, self.kernels = channels, side, outputs
        self.pooled = pooled = (side - KERNEL + 1) // 2
        window = KERNEL + 1
        self.kernel = np.zeros((2, 2, outputs, channels, window, window), dtype)
        self.columns = np.empty((channels, window, window, pooled, pooled, batch), dtype)
        self.slabs = np.empty((4, outputs, pooled * pooled * batch), dtype)
        self.masks = np.empty_like(self.slabs)
        self.top = np.empty((outputs, pooled * pooled * batch), dtype)
        self.output = np.empty_like(self.top)
        self.gradient = np.empty_like(self.top)
        self.column_gradients = np.empty_like(self.columns) if channels > 1 else None
        self.input_gradient = np.empty((channels, side, side, batch), dtype) if channels > 1 else None
        self.ones = np.ones(self.top.shape[1], dtype)

    def _pairs(self, image: np.ndarray) -> np.ndarray:
        """(channels, side, side, N) as (channels, pairs of rows, 2, pairs of columns, 2, N)."""
        return image.reshape(self.channels, self.side // 2, 2, self.side // 2, 2, -1)

    def forward(self, image: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """(channels, side, side, N) to (outputs, pooled · pooled · N)."""
        pairs, n = self._pairs(image), self.pooled
        for row in range(3):
            for column in range(3):
                window = pairs[:, row : row + n, :, column : column + n]
                self.columns[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = window.transpose(
                    0, 2, 4, 1, 3, 5
                )
        for i in (0, 1):
            for j in (0, 1):
                self.kernel[i, j, :, :, i : i + KERNEL, j : j + KERNEL] = weight
        slabs, top = self.slabs, self.top
        np.matmul(
            self.kernel.reshape(4 * self.kernels, -1),
            self.columns.reshape(-1, top.shape[1]),
            out=slabs.reshape(4 * self.kernels, -1),
        )
        np.maximum(slabs[0], slabs[1], out=top)
        np.maximum(top, slabs[2], out=top)
        np.maximum(top, slabs[3], out=top)
        np.add(top, bias[:, None], out=self.output)
        np.maximum(self.output, 0, out=self.output)
        return self.output

    def route(self) -> None:
        """Remember which slab won; the data has no ties."""
        np.equal(self.slabs, self.top, out=self.masks, casting="unsafe")

    def backward(self, gradient: np.ndarray, out_weight: np.ndarray, out_bias: np.ndarray) -> np.ndarray | None:
        """Write the gradients of weight and bias; return that of the image where one is needed."""
        at_top = np.multiply(gradient, self.output > 0, out=self.gradient)
        np.dot(at_top, self.ones, out=out_bias)
        at_slabs = np.multiply(self.masks, at_top, out=self.slabs).reshape(4 * self.kernels, -1)
        columns = self.columns.reshape(-1, at_slabs.shape[1])
        window = KERNEL + 1
        kernel = np.dot(columns, at_slabs.T).reshape(self.channels, window, window, 2, 2, self.kernels)
        kernel = kernel.transpose(3, 4, 5, 0, 1, 2)
        out_weight[...] = kernel[0, 0, :, :, :KERNEL, :KERNEL]
        for i, j in ((0, 1), (1, 0), (1, 1)):
            out_weight += kernel[i, j, :, :, i : i + KERNEL, j : j + KERNEL]
        if self.input_gradient is None or self.column_gradients is None:
            return None
        np.matmul(
            self.kernel.reshape(4 * self.kernels, -1).T,
            at_slabs,
            out=self.column_gradients.reshape(-1, at_slabs.shape[1]),
        )
        self.input_gradient.fill(0)
        pairs, n = self._pairs(self.input_gradient), self.pooled
        for row in range(3):
            for column in range(3):
                block = self.column_gradients[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                pairs[:, row : row + n, :, column : column + n] += block.transpose(0, 3, 1, 4, 2, 5)
        return self.input_gradient


class LeNetTrunk:
    """conv 5 → pool 2 → ReLU → conv 5 → pool 2 → ReLU → linear → ReLU, batch last until the linear layer."""

    def __init__(self, workload: Workload) -> None:
        n, side, dtype = workload.batch, workload.image, workload.dtype
        self.image = np.empty((LENET_CHANNELS[0], side, side, n), dtype)
        self.convolutions = []
        for inputs, outputs in pairwise(LENET_CHANNELS):
            self.convolutions.append(ConvPoolReLU(inputs, side, outputs, n, dtype))
            side = (side - KERNEL + 1) // 2
        self.representation = np.empty((n, workload.width), dtype)
        self.gradient = np.empty_like(self.representation)
        self.features_gradient = np.empty((workload.flat_image, n), dtype)
        self.ones = np.ones(n, dtype)

    def forward(self, x: np.ndarray, values: Arrays) -> np.ndarray:
        """The representation (N, width), from images (N, 1, side, side)."""
        np.copyto(self.image, x.transpose(1, 2, 3, 0))
        first, second = self.convolutions
        hidden = first.forward(self.image, values[0], values[1])
        hidden = second.forward(hidden.reshape(second.channels, second.side, second.side, -1), *values[2:4])
        self.features = hidden.reshape(-1, len(x))
        np.dot(self.features.T, values[4], out=self.representation)
        self.representation += values[5]
        np.maximum(self.representation, 0, out=self.representation)
        first.route()
        second.route()
        return self.representation

    def backward(self, gradient: np.ndarray, values: Arrays, out: Arrays) -> None:
        """Write the parameters' gradients to `out`, from the gradient at the representation."""
        at_linear = np.multiply(gradient, self.representation > 0, out=self.gradient)
        np.dot(self.features, at_linear, out=out[4])
        np.dot(self.ones, at_linear, out=out[5])
        np.matmul(values[4], at_linear.T, out=self.features_gradient)
        first, second = self.convolutions
        below = second.backward(self.features_gradient.reshape(second.output.shape), out[2], out[3])
        assert below is not None
        first.backward(below.reshape(first.output.shape), out[0], out[1])


def trunk_of(workload: Workload) -> MLPTrunk | LeNetTrunk:
    """The trunk with its workspaces."""
    return LeNetTrunk(workload) if workload.kind == "lenet" else MLPTrunk(workload)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, scale: float) -> float:
    """Mean cross-entropy; turns `logits` (N, C) into `scale` times its gradient. `labels`: flat positions."""
    logits -= np.ascontiguousarray(logits.T).max(0)[:, None]  # a maximum over a short last axis is slow
    flat = logits.reshape(-1)
    picked = flat.take(labels).sum()
    np.exp(logits, out=logits)
    total = np.dot(logits, np.ones(logits.shape[1], logits.dtype))
    loss = (float(np.log(total).sum()) - float(picked)) / len(logits)
    factor = scale / len(logits)
    logits *= (factor / total)[:, None]
    flat[labels] -= factor
    return loss


def binary_cross_entropy(logits: np.ndarray, targets: np.ndarray, scale: float) -> float:
    """Mean binary cross-entropy; turns `logits` into `scale` times its gradient. σ(x) = ½ + ½ tanh(x/2)."""
    decay = np.abs(logits)
    np.negative(decay, out=decay)
    np.exp(decay, out=decay)
    np.log1p(decay, out=decay)
    loss = float(decay.sum()) + float(np.maximum(logits, 0).sum()) - float(np.vdot(logits, targets))
    loss /= logits.size
    logits *= 0.5
    np.tanh(logits, out=logits)
    logits += 1.0
    logits *= 0.5
    logits -= targets
    logits *= scale / len(logits)
    return loss


class Head:
    """Linear layers with ReLU between them, and the task's loss."""

    def __init__(self, workload: Workload, targets: np.ndarray) -> None:
        n, widths, dtype = workload.batch, workload.head, workload.dtype
        self.binary = workload.binary
        rows = np.arange(n) * widths[-1]
        self.targets = targets[:, None] if self.binary else rows + targets
        self.outputs = [np.empty((n, width), dtype) for width in widths[1:]]
        self.gradients = [np.empty((n, width), dtype) for width in widths[1:-1]]
        self.ones = np.ones(n, dtype)

    def forward(self, z: np.ndarray, values: Arrays, scale: float) -> float:
        """The loss; the last output then holds `scale` times the gradient at the logits."""
        hidden = z
        for layer, output in enumerate(self.outputs):
            np.dot(hidden, values[2 * layer], out=output)
            output += values[2 * layer + 1]
            if layer + 1 < len(self.outputs):
                np.maximum(output, 0, out=output)
            hidden = output
        loss = binary_cross_entropy if self.binary else cross_entropy
        return loss(hidden, self.targets, scale)

    def backward(self, z: np.ndarray, values: Arrays, out: Arrays, at_z: np.ndarray) -> None:
        """Write the parameters' gradients to `out` and the representation's to `at_z`."""
        gradient = self.outputs[-1]
        for layer in reversed(range(len(self.outputs))):
            below = self.outputs[layer - 1] if layer else z
            np.dot(below.T, gradient, out=out[2 * layer])
            np.dot(self.ones, gradient, out=out[2 * layer + 1])
            # np.dot, not matmul: matmul has no fast path for a product of inner width one
            gradient = np.dot(gradient, values[2 * layer].T, out=self.gradients[layer - 1] if layer else at_z)
            if layer:
                gradient *= below > 0
