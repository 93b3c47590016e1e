"""PyTorch, eager, written by hand for each strategy: separate heads, stacked heads, channels-last.

`heads="gram"` is stacked heads with MGDA-UB's Gram matrix from the rank structure of linear heads: the same
idea that the stacked floor uses, which autograd does not find by itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmark.floor_layers import Arrays
from tests.benchmark.solvers import simplex_weights
from tests.benchmark.workloads import (
    BETAS,
    EPSILON,
    LEARNING_RATE,
    MOMENTUM,
    STRATEGIES,
    Unsupported,
    Workload,
    batch,
    quadratics,
    start,
)

Step = Callable[[], Any]


class TorchNetwork:
    """Leaf tensors, the forward functions, and the five steps."""

    def __init__(self, workload: Workload, optimizer: str, heads: str, channels_last: bool) -> None:
        import torch
        import torch.nn.functional as functional

        self.torch, self.functional = torch, functional
        self.workload, self.optimizer = workload, optimizer
        self.stacked, self.gram = heads != "separate", heads == "gram"
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        initial, data = start(workload), batch(workload)
        self.trunk = [self._leaf(array) for array in initial.trunk]
        if self.stacked:
            weight = np.concatenate([head[0] for head in initial.heads], axis=1)
            self.heads = [[self._leaf(weight), self._leaf(np.concatenate([head[1] for head in initial.heads]))]]
        else:
            self.heads = [[self._leaf(array) for array in head] for head in initial.heads]
        self.x = torch.from_numpy(data.x)
        if data.x.ndim == 4:
            self.x = self.x.contiguous(memory_format=self.format)
        self.all_targets = torch.from_numpy(data.targets)
        self.targets = [
            self.all_targets[:, k : k + 1] if workload.binary else self.all_targets[:, k].contiguous()
            for k in range(workload.tasks)
        ]
        self.tasks = list(range(workload.tasks))

    def _leaf(self, array: np.ndarray) -> Any:
        """A leaf tensor; linear weights as (out, in), PyTorch's own order."""
        tensor = self.torch.from_numpy(np.ascontiguousarray(array.T) if array.ndim == 2 else array.copy())
        if tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=self.format)
        return tensor.requires_grad_()

    def parameters(self) -> Arrays:
        """Trunk, then head after head, in the order and layout of `workloads.start`."""

        def array(tensor: Any) -> np.ndarray:
            found: np.ndarray = tensor.detach().numpy()
            return found.T if found.ndim == 2 else found

        trunk = [array(tensor) for tensor in self.trunk]
        if not self.stacked:
            return trunk + [array(tensor) for head in self.heads for tensor in head]
        weight, bias = (array(tensor) for tensor in self.heads[0])
        c = self.workload.head[-1]
        split = []
        for first in range(0, len(bias), c):
            split += [weight[:, first : first + c], bias[first : first + c]]
        return trunk + split

    def _rule(self, tensors: list[Any]) -> Callable[[list[Any]], None]:
        """The update of some tensors from their gradients, with a memory of its own."""
        optim, rate = self.torch.optim, LEARNING_RATE[self.optimizer]
        # fused: the fastest of PyTorch's three on a CPU. Its SGD goes wrong without a word where a parameter
        # is channels-last and the gradient is not (torch 2.13), hence `foreach` there.
        fast = {"foreach": True} if self.format is self.torch.channels_last else {"fused": True}
        if self.optimizer == "adam":
            rule = optim.Adam(tensors, lr=rate, betas=BETAS, eps=EPSILON, **fast)
        else:
            rule = optim.SGD(tensors, lr=rate, momentum=MOMENTUM[self.optimizer], **fast)

        def update(gradients: list[Any]) -> None:
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = gradient
            rule.step()

        return update

    def _represent(self) -> Any:
        linear = self.functional.linear
        if self.workload.kind == "mlp":
            hidden = self.x
            for weight, bias in zip(self.trunk[::2], self.trunk[1::2], strict=True):
                hidden = linear(hidden, weight, bias).relu_()
            return hidden
        conv, pool = self.functional.conv2d, self.functional.max_pool2d
        first, first_bias, second, second_bias, weight, bias = self.trunk
        hidden = pool(conv(self.x, first, first_bias), 2).relu_()
        hidden = pool(conv(hidden, second, second_bias), 2).relu_()
        return linear(hidden.flatten(1), weight, bias).relu_()

    def _loss(self, k: int, z: Any) -> Any:
        """The loss of one task, separate heads."""
        head = self.heads[k]
        for layer in range(0, len(head), 2):
            z = self.functional.linear(z, head[layer], head[layer + 1])
            if layer + 2 < len(head):
                z = z.relu_()
        if self.workload.binary:
            return self.functional.binary_cross_entropy_with_logits(z, self.targets[k])
        return self.functional.cross_entropy(z, self.targets[k])

    def _stacked_losses(self, logits: Any, tasks: list[int]) -> Any:
        """Losses (K,) from the logits (N, K · C) of the tasks, stacked heads."""
        targets = self.all_targets[:, tasks[0] : tasks[-1] + 1]
        if self.workload.binary:
            loss = self.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        else:
            classes = logits.reshape(-1, self.workload.head[-1])
            loss = self.functional.cross_entropy(classes, targets.reshape(-1), reduction="none")
            loss = loss.reshape(len(logits), -1)
        return loss.mean(0)

    def _mean_loss(self, tasks: list[int], z: Any) -> tuple[Any, list[Any]]:
        """The mean loss of some tasks, and the head tensors that it reaches (stacked: slices of them)."""
        if not self.stacked:
            losses = [self._loss(k, z) for k in tasks]
            total = losses[0] if len(losses) == 1 else self.torch.stack(losses).mean()
            return total, [tensor for k in tasks for tensor in self.heads[k]]
        weight, bias = self.heads[0]
        return self._stacked_losses(self.functional.linear(z, weight, bias), tasks).mean(), [weight, bias]

    def _all_tensors(self) -> list[Any]:
        return self.trunk + [tensor for head in self.heads for tensor in head]

    def averaged(self) -> Step:
        """The mean of the losses."""
        update = self._rule(self._all_tensors())

        def step() -> Any:
            loss, heads = self._mean_loss(self.tasks, self._represent())
            update(self.torch.autograd.grad(loss, self.trunk + heads))
            return loss

        return step

    def _weights(self, rows: Any) -> Any:
        """Min-norm weights (K,) of the rows of a matrix."""
        return self.torch.from_numpy(simplex_weights((rows @ rows.T).numpy()))

    def mgda_ub(self) -> Step:
        """Min-norm weights of the gradients at the representation, one trunk sweep."""
        if self.gram:
            return self._mgda_ub_from_logits()
        torch, grad, count = self.torch, self.torch.autograd.grad, len(self.tasks)
        heads = [tensor for head in self.heads for tensor in head]
        update = self._rule(self._all_tensors())

        def step() -> Any:
            z = self._represent()
            if self.stacked:
                # K copies of z along a task axis: one sweep then gives every task's gradient
                copies = z.detach().expand(count, *z.shape).requires_grad_()
                weight, bias = heads
                per_task = weight.reshape(count, -1, weight.shape[1])
                logits = torch.baddbmm(bias.reshape(count, 1, -1), copies, per_task.transpose(1, 2))
                logits = logits.transpose(0, 1).reshape(len(z), -1)
                losses = self._stacked_losses(logits, self.tasks)
                at_z, *at_heads = grad(losses.sum(), [copies, *heads])
                rows = at_z.reshape(count, -1)
            else:
                copies = [z.detach().requires_grad_() for _ in self.tasks]
                losses = torch.stack([self._loss(k, copies[k]) for k in self.tasks])
                found = grad(losses.sum(), copies + heads)
                rows = torch.stack(found[:count]).reshape(count, -1)
                at_heads = list(found[count:])
            at_trunk = grad(z, self.trunk, (self._weights(rows) @ rows).reshape(z.shape))
            update([*at_trunk, *at_heads])
            return losses

        return step

    def _mgda_ub_from_logits(self) -> Step:
        """As `floor_stacked`: the Gram matrix from the gradients at the logits and the weights."""
        torch, count, c = self.torch, len(self.tasks), self.workload.head[-1]
        weight, bias = self.heads[0]
        update = self._rule(self._all_tensors())

        def step() -> Any:
            z = self._represent()
            with torch.no_grad():
                logits = self.functional.linear(z, weight, bias)
            logits.requires_grad_()
            losses = self._stacked_losses(logits, self.tasks)
            (at_logits,) = torch.autograd.grad(losses.sum(), [logits])
            with torch.no_grad():
                products = (at_logits.T @ at_logits) * (weight @ weight.T)
                gram = products.reshape(count, c, count, c).sum((1, 3))
                alpha = torch.from_numpy(simplex_weights(gram.numpy()))
                at_z = (at_logits * alpha.repeat_interleave(c)) @ weight
                at_heads = [at_logits.T @ z, at_logits.sum(0)]
            update([*torch.autograd.grad(z, self.trunk, at_z), *at_heads])
            return losses

        return step

    def mgda(self) -> Step:
        """Min-norm weights of the trunk gradients, a trunk sweep per task."""
        torch, grad = self.torch, self.torch.autograd.grad
        update = self._rule(self._all_tensors())
        shapes = [tensor.shape for tensor in self.trunk]
        sizes = [tensor.numel() for tensor in self.trunk]

        def step() -> Any:
            z = self._represent()
            if self.stacked:
                heads = self.heads[0]
                losses = self._stacked_losses(self.functional.linear(z, *heads), self.tasks)
                rows = []
                at_heads: list[Any] = []
                for loss in losses.unbind():
                    found = grad(loss, self.trunk + heads, retain_graph=True)
                    rows.append(torch.cat([array.reshape(-1) for array in found[: len(shapes)]]))
                    own = found[len(shapes) :]
                    if at_heads:
                        torch._foreach_add_(at_heads, own)
                    else:
                        at_heads = list(own)
            else:
                losses, rows, at_heads = [], [], []
                for k in self.tasks:
                    loss = self._loss(k, z)
                    found = grad(loss, self.trunk + self.heads[k], retain_graph=True)
                    rows.append(torch.cat([array.reshape(-1) for array in found[: len(shapes)]]))
                    at_heads += found[len(shapes) :]
                    losses.append(loss)
            matrix = torch.stack(rows)
            direction = (self._weights(matrix) @ matrix).split(sizes)
            at_trunk = [part.reshape(shape) for part, shape in zip(direction, shapes, strict=True)]
            update([*at_trunk, *at_heads])
            return losses

        return step

    def alternating(self) -> Step:
        """Task after task, each with a fresh forward pass and memories of its own."""
        return self._in_turn([[k] for k in self.tasks])

    def grouped(self) -> Step:
        """Group after group, each with its mean loss, a fresh forward pass and memories of its own."""
        return self._in_turn(self.workload.groups())

    def _in_turn(self, groups: list[list[int]]) -> Step:
        tensors = [self.trunk + [tensor for k in tasks for tensor in self.heads[k]] for tasks in groups]
        updates = [self._rule(found) for found in tensors]

        def step() -> Any:
            losses = []
            for tasks, reached, update in zip(groups, tensors, updates, strict=True):
                loss, _ = self._mean_loss(tasks, self._represent())
                update(self.torch.autograd.grad(loss, reached))
                losses.append(loss)
            return losses

        return step


def quadratic_step(workload: Workload, strategy: str) -> tuple[Step, Callable[[], Arrays]]:
    """The strategies on two quadratics, where θ itself is the representation."""
    import torch

    bowls = quadratics(workload)
    tasks = list(zip(map(torch.from_numpy, bowls.curvatures), map(torch.from_numpy, bowls.centers), strict=True))
    theta = torch.from_numpy(start(workload).trunk[0].copy()).requires_grad_()
    rate, grad = LEARNING_RATE["plain"], torch.autograd.grad

    def loss(k: int) -> Any:
        curvature, center = tasks[k]
        away = theta - center
        return 0.5 * (away @ (curvature @ away))

    def move(gradient: Any) -> None:
        with torch.no_grad():
            theta.sub_(gradient, alpha=rate)

    def averaged() -> Any:
        losses = loss(0), loss(1)
        move(grad(0.5 * (losses[0] + losses[1]), [theta])[0])
        return losses

    def mgda() -> Any:
        losses = loss(0), loss(1)
        rows = torch.stack([grad(found, [theta])[0] for found in losses])
        move(torch.from_numpy(simplex_weights((rows @ rows.T).numpy())) @ rows)
        return losses

    def alternating() -> Any:
        losses = []
        for k in (0, 1):
            losses.append(loss(k))
            move(grad(losses[k], [theta])[0])
        return losses

    steps = {"averaged": averaged, "mgda-ub": mgda, "mgda": mgda, "alternating": alternating}
    return steps[strategy], lambda: [theta.detach().numpy()]


def build(
    workload: Workload, strategy: str, optimizer: str, heads: str = "separate", channels_last: bool = False
) -> tuple[Step, Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    stackable = len(workload.head) == 2 and strategy in STRATEGIES[:3]
    if heads != "separate" and not stackable:
        raise Unsupported
    if heads == "gram" and strategy != "mgda-ub":
        raise Unsupported
    if channels_last and workload.kind != "lenet":
        raise Unsupported
    if workload.kind == "quadratics":
        return quadratic_step(workload, strategy)
    network = TorchNetwork(workload, optimizer, heads, channels_last)
    step: Step = getattr(network, strategy.replace("-", "_"))()
    return step, network.parameters
