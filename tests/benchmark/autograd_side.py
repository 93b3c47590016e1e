"""HIPS autograd: the averaged loss only, and no convolution (its own is 60 times the floor)."""

from collections.abc import Callable
from typing import Any

from tests.benchmark.floor_layers import Arrays, memory
from tests.benchmark.workloads import Unsupported, Workload, batch, quadratics, start


def build(workload: Workload, strategy: str, optimizer: str) -> tuple[Callable[[], Any], Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if strategy != "averaged" or workload.kind == "lenet":
        raise Unsupported
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.misc.flatten import flatten

    if workload.kind == "quadratics":
        bowls = quadratics(workload)

        def loss(parameters: Any) -> Any:
            total = 0.0
            for curvature, center in zip(bowls.curvatures, bowls.centers, strict=True):
                away = parameters[0][0] - center
                total = total + 0.5 * anp.dot(away, anp.dot(curvature, away))
            return total / workload.tasks

    else:
        data = batch(workload)

        def loss(parameters: Any) -> Any:
            trunk, *heads = parameters
            z = data.x
            for weight, bias in zip(trunk[::2], trunk[1::2], strict=True):
                z = anp.maximum(anp.dot(z, weight) + bias, 0)
            total = 0.0
            for k, (weight, bias) in enumerate(heads):
                logits = anp.dot(z, weight) + bias
                if workload.binary:
                    losses = anp.logaddexp(0, logits[:, 0]) - logits[:, 0] * data.targets[:, k]
                else:
                    logits = logits - anp.max(logits, 1, keepdims=True)
                    picked = logits[anp.arange(len(logits)), data.targets[:, k]]
                    losses = anp.log(anp.sum(anp.exp(logits), 1)) - picked
                total = total + anp.mean(losses)
            return total / workload.tasks

    initial = start(workload)
    values, unflatten = flatten([initial.trunk, *initial.heads])
    values = values.astype(workload.dtype)
    rule = memory(values.size, optimizer, workload.dtype)
    gradient = value_and_grad(lambda values: loss(unflatten(values)))

    def step() -> Any:
        found, at_values = gradient(values)
        rule.update(values, at_values.astype(workload.dtype))
        return found

    return step, lambda: [array for block in unflatten(values) for array in block]
