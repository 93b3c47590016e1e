"""TorchJD, driven through `mtl_backward` and `jac_to_grad`, with the same min-norm weights as every side."""

from collections.abc import Callable
from typing import Any

from tests.benchmark.floor_layers import Arrays
from tests.benchmark.solvers import simplex_weights
from tests.benchmark.torch_side import Step, TorchNetwork
from tests.benchmark.workloads import LEARNING_RATE, STRATEGIES, Unsupported, Workload, quadratics, start


def aggregator(strategy: str) -> Any:
    """The mean, or the min-norm vector with this benchmark's solver in the place of TorchJD's."""
    import torch
    from torchjd.aggregation import GramianWeightedAggregator, Mean, Weighting

    if strategy == "averaged":
        return Mean()

    class MinNorm(Weighting):
        def forward(self, gramian: Any, /) -> Any:
            return torch.from_numpy(simplex_weights(gramian.numpy()))

    return GramianWeightedAggregator(MinNorm())


def quadratic_step(workload: Workload, strategy: str) -> tuple[Step, Callable[[], Arrays]]:
    """The strategies on two quadratics."""
    import torch
    from torchjd.autojac import backward, jac_to_grad

    bowls = quadratics(workload)
    tasks = list(zip(map(torch.from_numpy, bowls.curvatures), map(torch.from_numpy, bowls.centers), strict=True))
    theta = torch.from_numpy(start(workload).trunk[0].copy()).requires_grad_()
    combine = aggregator(strategy)

    def step() -> Any:
        theta.grad = None
        losses = []
        for curvature, center in tasks:
            away = theta - center
            losses.append(0.5 * (away @ (curvature @ away)))
        backward(losses)
        jac_to_grad([theta], combine)
        gradient: Any = theta.grad
        with torch.no_grad():
            theta.sub_(gradient, alpha=LEARNING_RATE["plain"])
        return losses

    return step, lambda: [theta.detach().numpy()]


def build(workload: Workload, strategy: str, optimizer: str) -> tuple[Step, Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if strategy not in STRATEGIES[:3]:
        raise Unsupported
    if workload.kind == "quadratics":
        return quadratic_step(workload, strategy)
    return step_with(aggregator(strategy), workload, optimizer, strategy)


def step_with(
    combine: Any, workload: Workload, optimizer: str, strategy: str = ""
) -> tuple[Step, Callable[[], Arrays]]:
    """The step that combines the trunk's gradients by an aggregator: at Z for "mgda-ub", else at θ."""
    import torch
    from torchjd.autojac import jac_to_grad, mtl_backward

    # channels-last is the faster form for images, and makes no difference without them
    network = TorchNetwork(workload, optimizer, heads="separate", channels_last=workload.kind == "lenet")
    heads = [tensor for head in network.heads for tensor in head]
    tensors = network.trunk + heads
    update = network._rule(tensors)

    def step() -> Any:
        for tensor in tensors:
            tensor.grad = None
        z = network._represent()
        if strategy == "mgda-ub":
            leaf = z.detach().requires_grad_()
            losses = [network._loss(k, leaf) for k in network.tasks]
            mtl_backward(losses, features=[leaf], shared_params=[leaf], tasks_params=network.heads)
            jac_to_grad([leaf], combine)
            z.backward(leaf.grad)
        else:
            losses = [network._loss(k, z) for k in network.tasks]
            mtl_backward(losses, features=[z], shared_params=network.trunk, tasks_params=network.heads)
            jac_to_grad(network.trunk, combine)
        if strategy == "averaged":  # TorchJD averages the trunk's gradients alone
            torch._foreach_div_([tensor.grad for tensor in heads], len(losses))
        update([tensor.grad for tensor in tensors])
        return losses

    return step, network.parameters
