"""JAX: the whole step compiled, heads one by one or stacked along a task axis."""

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


def updater(optimizer: str) -> tuple[Callable, Callable]:
    """(parameters → fresh memory) and (parameters, gradients, memory → parameters, memory)."""
    import jax
    import jax.numpy as jnp

    rate = LEARNING_RATE[optimizer]

    def zeros(parameters: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, parameters)

    if optimizer == "adam":
        beta1, beta2 = BETAS

        def adam(parameters: Any, gradients: Any, memory: Any) -> Any:
            mean, square, steps = memory
            steps = steps + 1
            mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, gradients)
            square = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, square, gradients)
            scale, root = rate / (1 - beta1**steps), jnp.sqrt(1 - beta2**steps)
            moved = jax.tree.map(
                lambda p, m, v: p - scale * m / (jnp.sqrt(v) / root + EPSILON), parameters, mean, square
            )
            return moved, (mean, square, steps)

        return lambda parameters: (zeros(parameters), zeros(parameters), jnp.zeros(())), adam

    def sgd(parameters: Any, gradients: Any, velocity: Any) -> Any:
        velocity = jax.tree.map(lambda v, g: MOMENTUM[optimizer] * v + g, velocity, gradients)
        return jax.tree.map(lambda p, v: p - rate * v, parameters, velocity), velocity

    return zeros, sgd


class JaxNetwork:
    """Pure functions of (trunk, heads), and the five compiled steps."""

    def __init__(self, workload: Workload, optimizer: str, stacked: bool) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp, self.workload, self.stacked = jax, jnp, workload, stacked
        self.init, self.update = updater(optimizer)
        initial, data = start(workload), batch(workload)
        self.trunk = [jnp.array(array) for array in initial.trunk]
        heads = [[jnp.array(array) for array in head] for head in initial.heads]
        # stacked: one array per layer with a leading task axis; else a list per task
        self.heads = [jnp.stack(arrays) for arrays in zip(*heads, strict=True)] if stacked else heads
        self.x = jnp.array(data.x)
        targets = data.targets.T if workload.binary else data.targets.T.astype(np.int32)
        self.targets = jnp.array(targets)
        self.tasks = list(range(workload.tasks))

    def parameters(self) -> Arrays:
        """Trunk, then head after head."""
        heads = [[a[k] for a in self.heads] for k in self.tasks] if self.stacked else self.heads
        return [np.asarray(array) for array in self.trunk] + [np.asarray(a) for head in heads for a in head]

    def represent(self, trunk: Any, x: Any) -> Any:
        """The trunk."""
        jax, jnp = self.jax, self.jnp
        if self.workload.kind == "lenet":
            x = x.transpose(0, 2, 3, 1)
            for weight, bias in (trunk[:2], trunk[2:4]):
                kernel = weight.transpose(2, 3, 1, 0)
                x = jax.lax.conv_general_dilated(
                    x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                n, rows, columns, channels = x.shape
                x = (x + bias).reshape(n, rows // 2, 2, columns // 2, 2, channels).max((2, 4))
                x = jnp.maximum(x, 0)
            x, trunk = x.transpose(0, 3, 1, 2).reshape(len(x), -1), trunk[4:]
        for weight, bias in zip(trunk[::2], trunk[1::2], strict=True):
            x = jnp.maximum(x @ weight + bias, 0)
        return x

    def loss(self, head: Any, z: Any, targets: Any) -> Any:
        """The loss of one task."""
        jax, jnp = self.jax, self.jnp
        for layer in range(0, len(head), 2):
            z = z @ head[layer] + head[layer + 1]
            if layer + 2 < len(head):
                z = jnp.maximum(z, 0)
        if self.workload.binary:
            z = z[:, 0]
            return (jax.nn.softplus(z) - z * targets).mean()
        z = jax.nn.log_softmax(z)
        return -jnp.take_along_axis(z, targets[:, None], 1).mean()

    def losses(self, heads: Any, z: Any, targets: Any) -> Any:
        """The losses (K,) of all tasks."""
        if self.stacked:
            return self.jax.vmap(self.loss, (0, None, 0))(heads, z, targets)
        return self.jnp.stack([self.loss(head, z, t) for head, t in zip(heads, targets, strict=True)])

    def heads_backward(self, heads: Any, z: Any, targets: Any) -> tuple[Any, Any, Any]:
        """Losses (K,), each head's own gradient, and the gradients at z (K, N, d)."""
        one = self.jax.value_and_grad(self.loss, (0, 1))
        if self.stacked:
            losses, (at_heads, at_z) = self.jax.vmap(one, (0, None, 0))(heads, z, targets)
            return losses, at_heads, at_z
        found = [one(head, z, t) for head, t in zip(heads, targets, strict=True)]
        losses = self.jnp.stack([loss for loss, _ in found])
        return losses, [own for _, (own, _) in found], self.jnp.stack([at_z for _, (_, at_z) in found])

    def _run(self, compiled: Callable) -> Step:
        """A step that feeds a compiled function its own results."""
        state = (self.trunk, self.heads)
        memory = self.init(state)

        def step() -> Any:
            nonlocal memory
            losses, (self.trunk, self.heads), memory = compiled(
                (self.trunk, self.heads), memory, self.x, self.targets
            )
            return self.jax.block_until_ready(losses), self.jax.block_until_ready(self.trunk)

        return step

    def averaged(self) -> Step:
        """The mean of the losses."""

        def compiled(state: Any, memory: Any, x: Any, targets: Any) -> Any:
            def mean(state: Any) -> Any:
                losses = self.losses(state[1], self.represent(state[0], x), targets)
                return losses.mean(), losses

            (_, losses), gradients = self.jax.value_and_grad(mean, has_aux=True)(state)
            return losses, *self.update(state, gradients, memory)

        return self._run(self.jax.jit(compiled, donate_argnums=(0, 1)))

    def _pair_weights(self, gram: Any) -> Any:
        """The closed form for two gradients, compiled with the step."""
        jnp = self.jnp
        square_1, product, square_2 = gram[0, 0], gram[0, 1], gram[1, 1]
        between = (square_2 - product) / (square_1 + square_2 - 2 * product)
        first = jnp.where(product >= square_1, 1.0, jnp.where(product >= square_2, 0.0, between))
        return jnp.stack([first, 1 - first])

    def _solved_between(self, before: Callable, after: Callable) -> Step:
        """One compiled function for two tasks; else two, with the solver on the host between them."""
        if len(self.tasks) == 2:

            def compiled(state: Any, memory: Any, x: Any, targets: Any) -> Any:
                losses, gram, rest = before(state, x, targets)
                return losses, *after(state, memory, self._pair_weights(gram), rest)

            return self._run(self.jax.jit(compiled, donate_argnums=(0, 1)))
        before, after = self.jax.jit(before), self.jax.jit(after, donate_argnums=(1,))

        def in_two(state: Any, memory: Any, x: Any, targets: Any) -> Any:
            losses, gram, rest = before(state, x, targets)
            return losses, *after(state, memory, simplex_weights(np.asarray(gram)), rest)

        return self._run(in_two)

    def mgda_ub(self) -> Step:
        """Min-norm weights of the gradients at the representation, one trunk sweep."""

        def before(state: Any, x: Any, targets: Any) -> Any:
            trunk, heads = state
            z, pullback = self.jax.vjp(lambda trunk: self.represent(trunk, x), trunk)
            losses, at_heads, at_z = self.heads_backward(heads, z, targets)
            rows = at_z.reshape(len(at_z), -1)
            return losses, rows @ rows.T, (at_z, at_heads, pullback)

        def after(state: Any, memory: Any, weights: Any, rest: Any) -> Any:
            at_z, at_heads, pullback = rest
            (at_trunk,) = pullback(self.jnp.tensordot(weights, at_z, 1))
            return self.update(state, (at_trunk, at_heads), memory)

        return self._solved_between(before, after)

    def mgda(self) -> Step:
        """Min-norm weights of the trunk gradients, a trunk sweep per task."""

        def before(state: Any, x: Any, targets: Any) -> Any:
            trunk, heads = state
            z, pullback = self.jax.vjp(lambda trunk: self.represent(trunk, x), trunk)
            losses, at_heads, at_z = self.heads_backward(heads, z, targets)
            if self.stacked:
                per_task = self.jax.vmap(pullback)(at_z)[0]
            else:
                swept = [pullback(gradient)[0] for gradient in at_z]
                per_task = [self.jnp.stack(arrays) for arrays in zip(*swept, strict=True)]
            flat = [array.reshape(len(array), -1) for array in per_task]
            gram = sum(rows @ rows.T for rows in flat)
            return losses, gram, (per_task, at_heads)

        def after(state: Any, memory: Any, weights: Any, rest: Any) -> Any:
            per_task, at_heads = rest
            at_trunk = [self.jnp.tensordot(weights, array, 1) for array in per_task]
            return self.update(state, (at_trunk, at_heads), memory)

        return self._solved_between(before, after)

    def alternating(self) -> Step:
        """Task after task, each with a fresh forward pass and memories of its own."""
        return self._in_turn([[k] for k in self.tasks])

    def grouped(self) -> Step:
        """Group after group, each with its mean loss, a fresh forward pass and memories of its own."""
        return self._in_turn(self.workload.groups())

    def _in_turn(self, groups: list[list[int]]) -> Step:
        def turn(state: Any, memory: Any, x: Any, targets: Any) -> Any:
            def mean(state: Any) -> Any:
                losses = self.losses(state[1], self.represent(state[0], x), targets)
                return losses.mean(), losses

            (_, losses), gradients = self.jax.value_and_grad(mean, has_aux=True)(state)
            return losses, *self.update(state, gradients, memory)

        compiled = self.jax.jit(turn, donate_argnums=(0, 1))
        memories = [self.init((self.trunk, [self.heads[k] for k in tasks])) for tasks in groups]
        targets = [self.targets[tasks[0] : tasks[-1] + 1] for tasks in groups]

        def step() -> Any:
            losses = []
            for number, tasks in enumerate(groups):
                state = (self.trunk, [self.heads[k] for k in tasks])
                found, (self.trunk, heads), memories[number] = compiled(
                    state, memories[number], self.x, targets[number]
                )
                losses.append(found)
                for k, head in zip(tasks, heads, strict=True):
                    self.heads[k] = head
            return self.jax.block_until_ready(losses), self.jax.block_until_ready(self.trunk)

        return step


def quadratic_step(workload: Workload, strategy: str) -> tuple[Step, Callable[[], Arrays]]:
    """The strategies on two quadratics, where θ itself is the representation."""
    import jax
    import jax.numpy as jnp

    bowls = quadratics(workload)
    curvatures, centers = jnp.array(bowls.curvatures), jnp.array(bowls.centers)
    theta = jnp.array(start(workload).trunk[0])
    rate = LEARNING_RATE["plain"]
    network = JaxNetwork.__new__(JaxNetwork)  # for its closed form alone
    network.jnp = jnp

    def losses(theta: Any) -> Any:
        away = theta - centers
        return 0.5 * jnp.einsum("ki,kij,kj->k", away, curvatures, away)

    def averaged(theta: Any) -> Any:
        found, gradient = jax.value_and_grad(lambda theta: losses(theta).mean())(theta)
        return theta - rate * gradient, found

    def mgda(theta: Any) -> Any:
        rows = jax.jacrev(losses)(theta)
        return theta - rate * network._pair_weights(rows @ rows.T) @ rows, losses(theta)

    def alternating(theta: Any) -> Any:
        found = []
        for k in (0, 1):
            loss, gradient = jax.value_and_grad(lambda theta, k=k: losses(theta)[k])(theta)
            theta = theta - rate * gradient
            found.append(loss)
        return theta, found

    steps = {"averaged": averaged, "mgda-ub": mgda, "mgda": mgda, "alternating": alternating}
    compiled = jax.jit(steps[strategy])

    def step() -> Any:
        nonlocal theta
        theta, found = compiled(theta)
        return found, jax.block_until_ready(theta)

    return step, lambda: [np.asarray(theta)]


def build(
    workload: Workload, strategy: str, optimizer: str, stacked: bool = False
) -> tuple[Step, Callable[[], Arrays]]:
    """The step of one strategy, and the parameters it moves."""
    if stacked and (workload.kind == "quadratics" or strategy not in STRATEGIES[:3]):
        raise Unsupported
    if workload.kind == "quadratics":
        return quadratic_step(workload, strategy)
    network = JaxNetwork(workload, optimizer, stacked)
    step: Step = getattr(network, strategy.replace("-", "_"))()
    return step, network.parameters
