"""MyGrad: the averaged loss only, and no LeNet."""

from collections.abc import Callable
from typing import Any

from tests.benchmark.floor_layers import Arrays, memory
from tests.benchmark.workloads import Unsupported, Workload, batch, quadratics, start


def build(workload: Workload, strategy: str, optimizer: str) -> tuple[Callable[[], Any], Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if strategy != "averaged" or workload.kind == "lenet":
        raise Unsupported
    import mygrad as mg
    from mygrad.nnet import softmax_crossentropy

    mg.turn_memory_guarding_off()  # its documented switch for speed

    initial = start(workload)
    trunk = [mg.tensor(array.copy()) for array in initial.trunk]
    heads = [[mg.tensor(array.copy()) for array in head] for head in initial.heads]
    tensors = trunk + [tensor for head in heads for tensor in head]
    rules = [memory(tensor.size, optimizer, workload.dtype) for tensor in tensors]

    if workload.kind == "quadratics":
        bowls = quadratics(workload)

        def mean_loss() -> Any:
            total = 0.0
            for curvature, center in zip(bowls.curvatures, bowls.centers, strict=True):
                away = trunk[0] - center
                total = total + 0.5 * mg.matmul(away, mg.matmul(curvature, away))
            return total / workload.tasks

    else:
        data = batch(workload)

        def mean_loss() -> Any:
            z = data.x
            for weight, bias in zip(trunk[::2], trunk[1::2], strict=True):
                z = mg.maximum(mg.matmul(z, weight) + bias, 0)
            total = 0.0
            for k, (weight, bias) in enumerate(heads):
                logits = mg.matmul(z, weight) + bias
                if workload.binary:
                    loss = mg.mean(mg.logaddexp(0, logits[:, 0]) - logits[:, 0] * data.targets[:, k])
                else:
                    loss = softmax_crossentropy(logits, data.targets[:, k])
                total = total + loss
            return total / workload.tasks

    def step() -> Any:
        loss = mean_loss()
        loss.backward()
        for tensor, rule in zip(tensors, rules, strict=True):
            rule.update(tensor.data.reshape(-1), tensor.grad.astype(workload.dtype).reshape(-1))
            tensor.null_grad()
        return loss

    return step, lambda: [tensor.data for tensor in tensors]
