"""Bad input gets one clear sentence, and nothing moves: not a parameter, not an optimizer memory, to the bit."""

import warnings

import numpy as np
import pytest

import tinymtl as tm

pytestmark = pytest.mark.filterwarnings("error")  # the sentence alone: no warning beside it


def assert_bad_input_moves_nothing(step, good, bad, error, sentence, bits):
    """After good steps (so that the memories hold something), `bad` raises and leaves everything as it is."""
    for _ in range(2):
        step(*good)
    before = bits(step)
    with pytest.raises(error, match=sentence) as caught:
        step(*bad)
    assert bits(step) == before
    assert "\n" not in str(caught.value)
    if np.isfinite(step.model.vector.data).all():  # and the step still works
        step(*good)
        assert bits(step) != before


# ------------------------------------------------------------ batches that do not fit the model


def empty_batch(x, labels, last):
    return x[:0], {name: y[:0] for name, y in labels.items()}


def wrong_rows_of_one_target(x, labels, last):
    return x, labels | {last: labels[last][:-1]}


def wrong_rows_of_x(x, labels, last):
    return x[:-2], labels


def missing_task(x, labels, last):
    return x, {name: y for name, y in labels.items() if name != last}


def unknown_task(x, labels, last):
    return x, {name: y for name, y in labels.items() if name != last} | {last + "x": labels[last]}


def unlike_any_task(x, labels, last):
    return x, labels | {"weather": labels[last]}


def too_many_columns(x, labels, last):
    return x, np.stack([*labels.values(), labels[last]], axis=1)


def two_labels_per_row(x, labels, last):
    return x, labels | {last: np.stack([labels[last]] * 2, axis=1)}


def labels_too_large(x, labels, last):
    return x, labels | {last: labels[last] + 1}


def labels_negative(x, labels, last):
    return x, labels | {last: labels[last] - 1}


def labels_not_integers(x, labels, last):
    return x, labels | {last: labels[last] + 0.5}


def too_few_features(x, labels, last):
    return x[:, :-1], labels


def no_rows_at_all(x, labels, last):
    return 1.0, labels


def nan_in_x(x, labels, last):
    x = x.copy()
    x[3, 1] = np.nan
    return x, labels


def infinity_in_x(x, labels, last):
    x = x.copy()
    x[3, 1] = -np.inf
    return x, labels


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (empty_batch, ValueError, r"the batch is empty: x has shape \(0, 4\)"),
        (wrong_rows_of_one_target, ValueError, r"task '{last}': targets of shape \(6,\) for a batch of 7 rows"),
        (wrong_rows_of_x, ValueError, r"task 't0': targets of shape \(7,\) for a batch of 5 rows"),
        (missing_task, ValueError, "targets miss the task '{last}'"),
        (unknown_task, ValueError, "unknown task '{last}x': did you mean '{last}'"),
        (unlike_any_task, ValueError, "unknown task 'weather': use 't0'"),
        (too_many_columns, ValueError, r"one array \(N, {K}\) with a column per task; got .*\(7, {more}\)"),
        (two_labels_per_row, ValueError, r"task '{last}': .*\(7, 2\)"),
        (labels_too_large, ValueError, r"task '{last}': labels must lie in 0 … 2 for 3 classes; found 3"),
        (labels_negative, ValueError, r"task '{last}': labels must lie in 0 … 2 for 3 classes; found -1"),
        (labels_not_integers, TypeError, r"(task '{last}': )?labels must be integers, these are float64"),
        (too_few_features, ValueError, r"a linear layer for 4 features got an input of shape \(7, 3\)"),
        (no_rows_at_all, ValueError, "x has no rows"),
        (nan_in_x, FloatingPointError, "task 't[0-4]': its loss is nan; nothing was updated"),
        (infinity_in_x, FloatingPointError, "task 't[0-4]': its loss is nan; nothing was updated"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_batches(strategy, network, batch, bits, spoil, error, sentence):
    for tasks in (1, 2, 5):
        x, labels = batch(tasks)
        bad = spoil(x, labels, f"t{tasks - 1}")
        expected = sentence.format(last=f"t{tasks - 1}", K=tasks, more=tasks + 1)
        for stacked in (True, False):
            step = strategy(network(tasks, stacked))
            assert_bad_input_moves_nothing(step, (x, labels), bad, error, expected, bits)


# ------------------------------------------------------------ one task goes wrong, after others have had their turn


def test_infinity_in_one_target(strategy, tasks, stacked, network, batch, bits):
    x, _ = batch(tasks)
    model = network(tasks, stacked, tm.binary_cross_entropy_with_logits, classes=1)
    good = np.random.default_rng(0).integers(2, size=(len(x), tasks)).astype(float)
    bad = good.copy()
    bad[4, -1] = np.inf
    sentence = rf"task 't{tasks - 1}': binary targets must lie in \[0, 1\]; found inf"
    assert_bad_input_moves_nothing(strategy(model), (x, good), (x, bad), ValueError, sentence, bits)


def test_the_infinite_loss_of_one_task_is_named(strategy, tasks, stacked, network, batch, bits):
    """A logit of −∞ for a class that occurs: an infinite loss with finite gradients."""
    step = strategy(network(tasks, stacked))
    x, labels = batch(tasks)
    step(x, labels)
    step.model.task_parameters(f"t{tasks - 1}")[1].data[0] = -np.inf
    before = bits(step)
    with pytest.raises(FloatingPointError, match=f"task 't{tasks - 1}': its loss is inf; nothing was updated"):
        step(x, labels)
    assert bits(step) == before


class Switched(tm.nn.Linear):
    """A head that raises once it is told to."""

    raises = None

    def forward(self, z):
        if self.raises is not None:
            raise self.raises
        return super().forward(z)


@pytest.mark.parametrize("error", [RuntimeError("the head broke"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_head_that_raises_after_other_turns(strategy, tasks, network, batch, bits, error):
    step = strategy(network(tasks, stacked=False, head=Switched))
    good = batch(tasks)
    for _ in range(2):
        step(*good)
    before = bits(step)
    step.model.tasks[-1].head.raises = error
    with pytest.raises(type(error)):
        step(*good)
    assert bits(step) == before
    step.model.tasks[-1].head.raises = None
    step(*good)
    assert bits(step) != before


class Root(tm.nn.Linear):
    """Adds √s with s = 0: finite, with an infinite derivative."""

    def __init__(self, *sizes, rng=0):
        super().__init__(*sizes, rng=rng)
        self.scale = tm.nn.Parameter(np.zeros(1))

    def forward(self, x):
        return super().forward(x) + tm.sqrt(self.scale)


def assert_refuses_the_gradient(step, good, bits):
    before = bits(step)
    with pytest.raises(FloatingPointError, match="gradient .*nothing was updated"):
        step(*good)
    assert bits(step) == before


def test_an_infinite_gradient_in_one_head(strategy, tasks, network, batch, bits):
    names = [f"t{k}" for k in range(tasks)]
    heads = [tm.nn.Linear(5, 3, rng=k) for k in range(tasks - 1)] + [Root(5, 3)]
    plain = network(tasks)
    tasks_ = [tm.Task(name, head, tm.cross_entropy) for name, head in zip(names, heads, strict=True)]
    model = tm.SharedBottom(plain.trunk, tasks_).to("float64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = strategy(model)
    assert_refuses_the_gradient(step, batch(tasks), bits)


def test_an_infinite_gradient_in_the_trunk(strategy, tasks, stacked, network, batch, bits):
    """MGDA-UB does not see it in its Gram matrix, which is made at Z."""
    model = network(tasks, stacked, trunk=tm.nn.Sequential(Root(4, 5), tm.nn.ReLU()))
    assert_refuses_the_gradient(strategy(model), batch(tasks), bits)


def test_mgda_names_the_task_of_a_nan_gradient(network, batch, bits):
    """Each task's gradient is seen on its own only by MGDA: 0 · ∞ in the second head's derivative at Z."""

    class RootOfZ(tm.nn.Linear):
        def forward(self, z):
            return super().forward(z) + tm.sqrt(z * 0.0).sum(axis=1, keepdims=True)

    heads = [tm.nn.Linear(5, 3), RootOfZ(5, 3), tm.nn.Linear(5, 3, rng=2)]
    tasks = [tm.Task(f"t{k}", head, tm.cross_entropy) for k, head in enumerate(heads)]
    for strategy in (tm.MGDA, tm.MGDAUB):
        step = strategy(tm.SharedBottom(network(3).trunk, tasks).to("float64"), tm.Adam())
        before = bits(step)
        with pytest.raises(FloatingPointError, match="task 't1': its squared gradient norm is nan"):
            step(*batch(3))
        assert bits(step) == before


def test_a_loss_that_is_no_scalar(strategy, tasks, network, batch, bits):
    def elementwise(prediction, target):
        return prediction * prediction

    heads = [tm.Task(f"t{k}", tm.nn.Linear(5, 3, rng=k), tm.cross_entropy) for k in range(tasks - 1)]
    heads.append(tm.Task("odd", tm.nn.Linear(5, 3), elementwise))
    step = strategy(tm.SharedBottom(network(tasks).trunk, heads).to("float64"))
    x, labels = batch(tasks)
    before = bits(step)
    with pytest.raises(TypeError, match="task 'odd': its loss must return a scalar"):
        step(x, np.stack(list(labels.values()), axis=1))
    assert bits(step) == before


# ------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda m: tm.Averaged(m, tm.SGD(1.0), reduction="men"), "reduction 'men': did you mean 'mean'"),
        (lambda m: tm.MGDA(m, tm.SGD(1.0), normalize="los"), "normalize 'los': did you mean 'loss'"),
        (lambda m: tm.MGDAUB(m, tm.SGD(1.0), head_weighting="x"), "head_weighting 'x': use 'own' or 'alpha'"),
        (lambda m: tm.Alternating(m, tm.SGD(1.0), moments="per task"), "moments 'per task': did you mean 'per-task'"),
        (lambda m: tm.Alternating(m, tm.SGD(1.0), order="random"), "order 'random': use 'fixed' or 'shuffled'"),
        (lambda m: tm.RandomGrouped(m, tm.SGD(1.0), 2, redraw="steps"), "redraw 'steps': did you mean 'step'"),
        (lambda m: tm.RandomGrouped(m, tm.SGD(1.0), 2, moments="group"), "moments 'group': did you mean 'per-group'"),
        (lambda m: tm.RandomGrouped(m, tm.SGD(1.0), 2, reduction="max"), "reduction 'max': use 'mean' or 'sum'"),
        *[
            (lambda m, size=size: tm.RandomGrouped(m, tm.SGD(1.0), size), f"group_size is {size!r}: .* from 1 to 3")
            for size in (0, -1, 4, 1.0, "2", None)
        ],
    ],
)
def test_options(network, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(network(3))


def test_a_trunk_without_parameters(batch):
    tasks = [tm.Task(f"t{k}", tm.nn.Linear(4, 3, rng=k), tm.cross_entropy) for k in range(2)]
    x, labels = batch(2)

    def model():
        return tm.SharedBottom(tm.nn.Flatten(), tasks).to("float64")

    needs_a_trunk = [
        lambda m: tm.MGDA(m, tm.SGD(0.1)),
        lambda m: tm.MGDAUB(m, tm.SGD(0.1)),
        lambda m: tm.Alternating(m, tm.SGD(0.1), moments="shared"),
        lambda m: tm.RandomGrouped(m, tm.SGD(0.1), 2, moments="shared"),
    ]
    for make in needs_a_trunk:
        with pytest.raises(ValueError, match="this trunk has no parameters: use"):
            make(model())
    for make in (tm.Averaged, tm.Alternating, lambda m, rule: tm.RandomGrouped(m, rule, 1)):
        step = make(model(), tm.SGD(0.1))
        assert (step(x, labels).losses > step(x, labels).losses).all()


def test_an_analytic_problem_takes_no_data(strategy):
    problem = tm.problems.Quadratics([1.0, 2.0], [[0.0], [1.0]], start=[3.0])
    step = strategy(problem)
    with pytest.raises(ValueError, match="takes no data: call the step without x and targets"):
        step(np.ones((2, 1)), None)
    assert problem.theta.data == [3.0]


# ------------------------------------------------------------ a saved state that is another step's


def two_classes(batch):
    x, labels = batch
    return x, {name: y % 2 for name, y in labels.items()}


def test_a_state_that_does_not_fit_changes_nothing(network, batch, bits):
    step = tm.Alternating(network(2), tm.Adam())
    step(*batch(2))
    before = bits(step)
    others = [
        (tm.Averaged(network(2), tm.Adam()), "another step's: '.*' is in only one of the two"),
        (tm.Alternating(network(2), tm.SGD(0.1, momentum=0.5)), "another step's"),
        (tm.Alternating(network(2, classes=2), tm.Adam()), r"'head of t0/m/0' was saved with shape \(12,\)"),
    ]
    for other, sentence in others:
        other(*(batch(2) if other.model.tasks[0].head.bias.size == 3 else two_classes(batch(2))))
        with pytest.raises(ValueError, match=sentence):
            step.load_state(other.state())
        assert bits(step) == before


# ------------------------------------------------------------ what is no mistake


@pytest.mark.parametrize("stacked", [True, False])
def test_targets_as_columns_are_as_good_as_vectors(strategy, stacked, network, batch):
    x, labels = batch(3)
    columns = {name: y[:, None] for name, y in labels.items()}
    one, other = strategy(network(3, stacked=stacked)), strategy(network(3, stacked=stacked))
    np.testing.assert_array_equal(one(x, labels).losses, other(x, columns).losses)
    np.testing.assert_array_equal(one.model.vector.data, other.model.vector.data)


def test_a_refused_step_leaves_what_an_exchanged_layer_draws():
    """A layer without parameters may be exchanged: the undo is of the new one's generator."""
    trunk = tm.nn.Sequential(tm.nn.Linear(3, 4), tm.nn.Dropout(0.5, rng=1))
    model = tm.SharedBottom(trunk, [tm.Task("t", tm.nn.Linear(4, 1), tm.mse_loss)])
    x, targets = np.random.default_rng(0).normal(size=(8, 3)), {"t": np.zeros((8, 1))}
    step = tm.Averaged(model, tm.SGD(0.1))
    model.trunk.layers[1] = layer = tm.nn.Dropout(0.3, rng=7)
    step(x, targets)
    (generator,) = layer.generators()
    before = generator.bit_generator.state
    with pytest.raises(FloatingPointError):
        step(np.where(x > 1, np.nan, x), targets)
    assert generator.bit_generator.state == before
