"""The references and the checks of single questions, against facts that are known independently."""

import itertools
from collections import Counter

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.course import ASSIGNMENTS, points
from tinymtl.course.answers.groups import _as_groups, partition_problem, pass_counts, random_groups
from tinymtl.course.answers.moments import alternating_adam
from tinymtl.course.answers.order import backward_order, order_problem
from tinymtl.course.answers.representation import trunk_gradient, ub_weights, z_gradients
from tinymtl.course.answers.shapes import _matmul_by_differences, unbroadcast
from tinymtl.course.answers.tape import _recursion, sweep, two_losses
from tinymtl.course.answers.weights import is_stationary, two_task_weight, weights_problem
from tinymtl.course.marking import right_values

DIAMOND = [["input"], ["input"], ["mul", 0, 1], ["add", 2, 0], ["mul", 2, 3]]


def test_the_graph_of_lesson_1():
    assert sweep(DIAMOND, [2, 3, 6, 8, 48], 4) == [48, 28, 14, 6, 1]
    assert _recursion("first")(DIAMOND, [2, 3, 6, 8, 48], 4)[:2] == [72, 44]


def test_the_leak_of_lesson_3():
    tape = [["input"], ["input"], ["input"], ["mul", 0, 1], ["mul", 3, 3], ["mul", 2, 3]]
    assert two_losses(tape, [2, 3, 5, 6, 36, 30], [4, 5]) == [[36, 24, 0], [15, 10, 6]]


def test_sweeps_agree_with_the_library_s_engine():
    question = ASSIGNMENTS["A1"].question("reuse")
    for case in (case for group in ASSIGNMENTS["A1"].draw(question, 4) for case in group):
        tape, values, output = case.arguments
        nodes = []
        for entry, value in zip(tape, values, strict=True):
            if entry[0] == "input":
                nodes.append(tm.tensor(np.array(value), requires_grad=True))
            else:
                a, b = nodes[entry[1]], nodes[entry[2]]
                nodes.append(a + b if entry[0] == "add" else a * b)
        inputs = [i for i, entry in enumerate(tape) if entry[0] == "input"]
        engine = tm.grad(nodes[output], [nodes[i] for i in inputs])
        assert np.allclose([sweep(tape, values, output)[i] for i in inputs], engine, rtol=1e-12)


def test_every_order_of_a_small_graph_is_judged_as_by_its_definition():
    parents, root = [[], [0], [0, 1], [1], [2, 3], [0]], 4
    right = 0
    for size in range(1, 7):
        for order in itertools.permutations(range(6), size):
            users_first = all(order.index(n) < order.index(p) for n in order for p in parents[n] if p in order)
            good = set(order) == {0, 1, 2, 3, 4} and users_first
            assert (order_problem(list(order), parents, root) == "") == good
            right += good
    assert right == 2  # 4, then 2 and 3 in either order, then 1, 0
    assert order_problem(backward_order(parents, root), parents, root) == ""


@pytest.mark.parametrize("order", [None, 4, "4", [4, 2.5, 3, 1, 0], [4, 2, 3, 1, 0, 0], [True], [[4]], {}])
def test_an_order_that_is_none(order):
    assert order_problem(order, [[], [0], [0, 1], [1], [2, 3]], 4)


def test_unbroadcast_is_the_adjoint_of_broadcasting():
    rng = np.random.default_rng(0)
    for case in (case for g in ASSIGNMENTS["A1"].draw(ASSIGNMENTS["A1"].question("unbroadcast"), 1) for case in g):
        gradient, shape = case.arguments
        x = rng.normal(size=shape)
        inner = np.sum(np.broadcast_to(x, gradient.shape) * gradient)
        assert unbroadcast(gradient, shape).shape == tuple(shape)
        assert np.isclose(np.sum(x * unbroadcast(gradient, shape)), inner, rtol=1e-12)


def test_central_differences_of_a_product_are_its_gradients():
    rng = np.random.default_rng(0)
    g, a, b = rng.normal(size=(2, 4)), rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
    for_a, for_b = _matmul_by_differences(g, a, b)
    assert np.allclose(for_a, g @ b.T, atol=1e-8) and np.allclose(for_b, a.T @ g, atol=1e-8)


def test_a_right_answer_written_another_way_is_right():
    namespace = {
        "matmul_vjp": lambda g, a, b: [np.einsum("nm,km->nk", g, b), np.einsum("nk,nm->km", a, g)],
        "tanh_vjp": lambda g, a: g / np.cosh(a) ** 2,
    }
    assert points("A1", "derivatives", namespace, seed=3) == 4


def test_the_three_regimes_by_hand():
    assert two_task_weight(np.array([6.0, 2.0]), np.array([-2.0, 2.0])) == 1 / 4
    assert two_task_weight(np.array([1.0, 2.0, 2.0]), np.array([2.0, 4.0, 4.0])) == 1
    assert two_task_weight(np.array([3.0, 1.0]), np.array([1.0, 0.0])) == 0


def test_the_worksheet_by_hand():
    reference = right_values(ASSIGNMENTS["A2"].question("worksheet"))
    g = np.array([[6.0, 2.0], [-2.0, 2.0]])
    found = tm.min_norm(g)
    assert np.isclose(found.weights[0], reference["answer_a"]) and np.isclose(found.squared_norm, reference["answer_b"])
    assert np.isclose(tm.min_norm([[1.0, 2, 2], [2, 4, 4]]).weights[0], reference["answer_c"])
    assert np.allclose(tm.min_norm(gram=np.diag([1.0, 4, 16])).weights, reference["answer_d"])
    v = found.weights @ g
    assert np.allclose(-0.3 * (g @ v), reference["answer_e"])


def test_min_norm_accepts_the_library_s_solution_and_little_else():
    for case in (case for g in ASSIGNMENTS["A2"].draw(ASSIGNMENTS["A2"].question("k_tasks"), 2) for case in g):
        gram = case.arguments[0]
        weights = tm.min_norm(gram=gram).weights
        assert not weights_problem(weights, gram)
        moved = weights + 0.01 * (np.eye(len(gram))[gram.diagonal().argmax()] - weights)
        assert weights_problem(moved, gram)
        assert weights_problem(weights[::-1][:-1], gram) and weights_problem(2 * weights, gram)
        assert weights_problem(-weights, gram) and weights_problem(weights * np.nan, gram)


def test_negative_weights_are_no_solution_even_with_a_gap_of_zero():
    g = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.5, 1.5, 0.1]])
    gram = g @ g.T
    weights = np.linalg.solve(gram, np.ones(3))
    weights /= weights.sum()
    assert weights.min() < -0.1 and abs(weights @ gram @ weights - (gram @ weights).min()) < 1e-9
    assert weights_problem(weights, gram)


def test_where_the_weights_are_not_unique_all_of_them_count():
    gram = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for share in (0.0, 0.2, 0.5):
        assert not weights_problem([share, 0.5 - share, 0.5], gram)
    assert weights_problem([0.4, 0.4, 0.2], gram)


def test_stationarity_by_hand():
    g = np.array([[1.0, 0.0], [-1.0, 1e-4]])
    assert is_stationary(g, np.array([0.5, 0.5]), 1e-4) and not is_stationary(g, np.array([0.5, 0.5]), 1e-5)


def test_gradients_at_the_representation_agree_with_the_library_s_engine():
    for case in (case for g in ASSIGNMENTS["A3"].draw(ASSIGNMENTS["A3"].question("z_gradients"), 2) for case in g):
        Z, heads, targets = case.arguments
        z = tm.tensor(Z, requires_grad=True)
        for head, target, found in zip(heads, targets, z_gradients(Z, heads, targets), strict=True):
            residual = z @ head - target
            engine = tm.grad((residual * residual).sum() / (2 * len(Z)), [z])[0]
            assert np.allclose(engine, found, rtol=1e-12, atol=1e-14)


def test_stacking_by_hand():
    assert np.allclose(ub_weights(np.array([[[1.0, 0], [-1, 0]], [[0, 2.0], [0, 2]]])), [0.8, 0.2])


def test_one_pass_by_hand():
    seeds = []
    found = trunk_gradient(np.ones((2, 3, 1)), np.array([0.25, 0.75]), lambda seed: seeds.append(seed) or seed.sum())
    assert found == 3 and len(seeds) == 1


def test_adam_s_numbers_of_lesson_7():
    shared = alternating_adam([100.0, -1.0], 0.1, 6, False)
    assert np.allclose(shared, [-0.1, -0.166258, -0.2476495, -0.3139075, -0.3911360, -0.4573940], atol=1e-6)
    assert np.allclose(alternating_adam([100.0, -1.0], 0.1, 6, True), [-0.1, 0, -0.1, 0, -0.1, 0], atol=1e-7)


def test_the_reference_s_groups_are_uniform():
    counts = Counter(_as_groups(random_groups(4, 2, seed)) for seed in range(3000))
    assert len(counts) == 3 and all(abs(count - 1000) < 4.5 * (3000 * 2 / 9) ** 0.5 for count in counts.values())


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        [],
        [[0, 1], [2]],
        [[0, 1], [2, 3], []],
        [[0, 1], [1, 2]],
        [[0, 1, 2], [3]],
        [[0.5, 1], [2, 3]],
        [0, 1, 2, 3],
    ],
)
def test_what_is_no_partition(value):
    assert partition_problem(value, 4, 2)


def test_a_biased_sampler_loses_the_points_for_uniformity():
    def rotated(tasks, size, seed):
        order = np.roll(np.arange(tasks), seed % tasks).tolist()
        return [order[i : i + size] for i in range(0, tasks, size)]

    def sometimes(tasks, size, seed):
        rng = np.random.default_rng(seed)
        order = rng.permutation(tasks).tolist() if rng.random() < 0.7 else list(range(tasks))
        return [order[i : i + size] for i in range(0, tasks, size)]

    def unseeded(tasks, size, seed, rng=np.random.default_rng(0)):  # noqa: B008
        order = rng.permutation(tasks).tolist()
        return [order[i : i + size] for i in range(0, tasks, size)]

    assert points("A3", "partitions", {"random_groups": rotated}) == 2
    assert points("A3", "partitions", {"random_groups": sometimes}) == 2
    assert points("A3", "partitions", {"random_groups": unseeded}) == 3


def test_passes_are_those_that_the_library_counts():
    tasks = [tm.Task(f"t{k}", tm.nn.Linear(3, 1, rng=k), tm.mse_loss) for k in range(5)]
    model = tm.SharedBottom(tm.nn.MLP([2, 3], rng=0), tasks)
    x, targets = np.ones((4, 2)), {f"t{k}": np.full((4, 1), 1.0 + k) for k in range(5)}
    steps = {
        "averaged": tm.Averaged(model, tm.SGD(0.01)),
        "mgda": tm.MGDA(model, tm.SGD(0.01)),
        "mgda-ub": tm.MGDAUB(model, tm.SGD(0.01)),
        "alternating": tm.Alternating(model, tm.SGD(0.01)),
        "grouped": tm.RandomGrouped(model, tm.SGD(0.01), group_size=2),
    }
    for strategy, step in steps.items():
        report = step(x, targets)
        counted = [report.trunk_forwards, report.trunk_backwards, report.head_backwards]
        assert counted == pass_counts(strategy, 5, 2), strategy


def test_a_remote_trunk_counts_and_explains_itself(submit, grade):
    code = "def trunk_gradient(g, w, back):\n    return back(g)"
    mark = grade("A3", [submit("ana", "A3", {"one_pass": code})])[0].marks["one_pass"]
    assert mark.points == 0 and mark.hint == "trunk_gradient raised ValueError"
