import numpy as np
import pytest

import tinymtl as tm
from tests.gpu.conftest import cupy  # noqa: F401  (the fake device)
from tests.lab.conftest import with_dropout
from tinymtl.data import Split
from tinymtl.lab import accuracy, conflicting_pairs, cosines, evaluate, inner_products, mean_delta, r2, task_gradients
from tinymtl.lab.measure import generators, undisturbed
from tinymtl.lab.statistics import Interval, mean_interval, t_quantile

# ------------------------------------------------------------ by hand


def test_accuracy():
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 0.0, 5.0], [9.0, 0.0, 0.0]])
    assert accuracy(logits, np.array([0, 1, 2, 1])) == 0.75
    yes = np.array([[-0.1], [0.1], [4.0], [-4.0]])
    assert accuracy(yes, np.array([0.0, 1.0, 0.0, 0.0])) == 0.75
    assert accuracy(yes[:, 0], np.array([0.0, 1.0, 0.0, 0.0])) == 0.75


def test_r2():
    target = np.array([1.0, 2.0, 3.0, 6.0])  # mean 3, squares 4 + 1 + 0 + 9 = 14
    prediction = np.array([[1.0], [2.0], [3.0], [5.0]])
    assert r2(prediction, target) == pytest.approx(1 - 1 / 14, abs=1e-15)
    assert r2(np.full(4, 3.0), target) == 0.0
    with pytest.raises(ValueError, match="all 3 targets are 2"):
        r2(np.zeros(3), np.full(3, 2.0))


def test_mean_delta_is_positive_where_the_tasks_are_better():
    # accuracy 0.5 → 0.6 (+20 %), error 2 → 1 (better by 50 %): (0.2 + 0.5) / 2
    assert mean_delta([0.6, 1.0], [0.5, 2.0], [False, True]) == pytest.approx(0.35, abs=1e-15)
    assert mean_delta([0.4, 3.0], [0.5, 2.0], [False, True]) == pytest.approx(-0.35, abs=1e-15)
    assert mean_delta([0.7, 0.7], [0.7, 0.7]) == 0.0
    with pytest.raises(ValueError, match="one of them is 0"):
        mean_delta([1.0], [0.0])
    with pytest.raises(ValueError, match="K numbers each"):
        mean_delta([1.0, 2.0], [1.0])


def test_gradients_by_hand():
    g = np.array([[2.0, 2.0], [0.0, -1.0], [3.0, 0.0], [0.0, 0.0]])
    h = 1 / np.sqrt(2)
    expected = [[1, -h, h, 0], [-h, 1, 0, 0], [h, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(cosines(g), expected, atol=1e-15)
    assert conflicting_pairs(g) == 1
    assert conflicting_pairs(np.array([[1.0, 0], [-1.0, 0.1], [0.1, -1.0]])) == 2
    np.testing.assert_allclose(inner_products(g, np.array([6.0, -4.0]) / 13), [4 / 13, 4 / 13, 18 / 13, 0], atol=1e-15)


def test_students_t():
    """Quantiles from the tables, to their three decimals."""
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 19: 2.093, 30: 2.042, 120: 1.980}
    assert {n: round(t_quantile(n), 3) for n in table} == table
    assert t_quantile(1, 0.5) == pytest.approx(1.0, abs=1e-9)  # Cauchy: half the mass within ±1
    assert t_quantile(2) == pytest.approx(0.95 * np.sqrt(2 / (1 - 0.95**2)), abs=1e-9)  # closed form for two
    with pytest.raises(ValueError, match="at least one degree"):
        t_quantile(0)


def test_interval_by_hand():
    found = mean_interval([0.02, -0.01, 0.03, 0.01, 0.0])  # mean 0.01, s 0.0158, t 2.776: ± 0.0196
    assert found.mean == pytest.approx(0.01) and found.half_width == pytest.approx(0.01963, abs=1e-5)
    assert found.holds_zero and not Interval(0.03, 0.02).holds_zero and not Interval(-0.03, 0.02).holds_zero
    assert mean_interval([0.5]) == (0.5, None) and mean_interval([0.5]).holds_zero
    with pytest.raises(ValueError, match="list of numbers"):
        mean_interval([])


# ------------------------------------------------------------ on networks


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "separate"])
def test_task_gradients_are_those_of_each_loss_alone(pair, mixed, stacked):
    data = pair if stacked else mixed
    model = tm.lab.build(data, [4, 3]).to(dtype="float64")
    assert (model.separate_because is None) == stacked
    found = task_gradients(model, data.train.x, data.train.targets)
    for k in range(len(data.tasks)):
        batch = model.read(data.train.x, data.train.targets)
        loss = model.losses(model.represent(batch.x), batch, [k])
        parts = tm.grad(loss, model.shared_parameters(), [[1.0]])
        np.testing.assert_allclose(found[k], np.concatenate([g.ravel() for g in parts]), rtol=1e-12, atol=1e-15)


def test_looking_disturbs_nothing(mixed):
    model = with_dropout(mixed)
    step = tm.Averaged(model, tm.Adam())
    step(mixed.train.x, mixed.train.targets)
    before = (model.vector.data.copy(), model.passes.now(), [g.bit_generator.state for g in generators(model)])
    memory = step.state() | model.state()
    first = task_gradients(model, mixed.train.x, mixed.train.targets)
    evaluate(model, mixed.test)
    np.testing.assert_array_equal(task_gradients(model, mixed.train.x, mixed.train.targets), first)
    np.testing.assert_array_equal(model.vector.data, before[0])
    assert (model.passes.now(), [g.bit_generator.state for g in generators(model)]) == before[1:]
    assert all(np.array_equal(value, memory[key]) for key, value in (step.state() | model.state()).items())
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        model.represent(mixed.train.x)
        _ = 1 / 0
    assert model.passes.now() == before[1]
    assert all(np.array_equal(value, memory[key]) for key, value in model.state().items())


def test_generators_are_found_wherever_they_sit(mixed):
    assert len(generators(with_dropout(mixed))) == 3  # one in the trunk, two in heads
    assert len(list(tm.nn.LeNet(dropout=0.5).generators())) == 1
    assert list(tm.nn.MLP([3, 4]).generators()) == []


def test_evaluate_by_hand(mixed):
    model = tm.lab.build(mixed, [4]).to(dtype="float64")
    whole = evaluate(model, mixed.test)
    predictions = model.predict(mixed.test.x)
    logits, size, yes = (predictions[name] for name in ("kind", "size", "yes"))
    y = mixed.test.targets
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert whole["kind"]["loss"] == pytest.approx(-log_p[np.arange(40), y["kind"]].mean(), rel=1e-12)
    assert whole["kind"]["metric"] == np.mean(logits.argmax(axis=1) == y["kind"])
    errors = size[:, 0] - y["size"].astype(float)
    assert whole["size"]["loss"] == pytest.approx(np.mean(errors**2), rel=1e-12)
    spread = y["size"].astype(float) - y["size"].astype(float).mean()
    assert whole["size"]["metric"] == pytest.approx(1 - (errors**2).sum() / (spread**2).sum(), rel=1e-12)
    assert whole["yes"]["metric"] == np.mean((yes[:, 0] > 0) == (y["yes"] == 1))
    in_parts = evaluate(model, mixed.test, rows_at_once=7)
    for name, scores in whole.items():
        assert in_parts[name] == pytest.approx(scores, rel=1e-12)


def gappy(split, every=3):
    """The same rows; of task k the labels of rows k, k + 3, … are missing."""
    targets = {}
    for k, (name, column) in enumerate(split.targets.items()):
        targets[name] = column.astype(float)
        targets[name][k::every] = np.nan
    return Split(split.x, targets, split.tasks)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_evaluate_counts_what_is_labelled(mixed, device, cupy):  # noqa: F811
    model = tm.lab.build(mixed, [4]).to(dtype="float64")
    whole, split = mixed.test, gappy(mixed.test)
    expected = {}
    for k, task in enumerate(whole.tasks):
        rows = np.arange(len(whole)) % 3 != k
        only = Split(whole.x[rows], {name: y[rows] for name, y in whole.targets.items()}, whole.tasks)
        expected[task.name] = evaluate(model, only)[task.name]
    found = evaluate(model.to(device=device), split.to(device))
    assert {name: scores["labelled"] for name, scores in found.items()} == {"kind": 26, "size": 27, "yes": 27}
    for name, scores in found.items():
        assert scores == pytest.approx(expected[name], rel=1e-12)
    assert evaluate(model, whole.to(device))["kind"]["labelled"] == 40


def test_own_losses_and_metrics_get_the_labelled_rows(mixed):
    model = tm.lab.build(mixed, [4])
    sizes = []

    def loss(prediction, target):
        sizes.append((len(prediction), len(target)))
        return tm.mse_loss(prediction, target)

    tasks = [tm.Task("size", model.tasks[1].head, loss, metric=lambda p, y: len(p) + len(y) / 100)]
    scores = evaluate(tm.SharedBottom(model.trunk, tasks), gappy(mixed.test))
    assert sizes == [(27, 27)] and scores["size"]["metric"] == 27.27


def test_a_task_without_a_label_has_no_score(mixed):
    split = Split(mixed.test.x, mixed.test.targets | {"size": np.full(40, np.nan)}, mixed.test.tasks)
    scores = evaluate(tm.lab.build(mixed, [4]), split)
    assert np.isnan(scores["size"]["loss"]) and np.isnan(scores["size"]["metric"]) and scores["size"]["labelled"] == 0
    assert scores["kind"]["labelled"] == 40 and np.isfinite(scores["kind"]["loss"])


def test_a_number_that_means_missing_is_missing_for_evaluate(mixed):
    y = mixed.test.targets["size"].copy()
    y[:10] = -1
    split = Split(mixed.test.x, mixed.test.targets | {"size": y}, mixed.test.tasks)
    head = tm.lab.build(mixed, [4])
    tasks = [tm.Task("size", head.tasks[1].head, tm.mse_loss, missing=-1)]
    assert evaluate(tm.SharedBottom(head.trunk, tasks), split)["size"]["labelled"] == 30


def test_metrics_leave_out_what_is_missing():
    logits, y = np.array([[2.0, 1], [1, 2], [0, 3], [1, 0]]), np.array([0, np.nan, 0, 0])
    for target in (y, np.ma.masked_invalid(y), [0, None, 0, 0], y[:, None]):
        if np.ndim(target) == 1:
            assert accuracy(logits, target) == 2 / 3
        assert accuracy(logits[:, 1] - logits[:, 0], target) == 2 / 3
    p, t = np.array([1.0, 50.0, 2.0, 2.0]), np.array([1.0, np.nan, 2.0, 3.0])
    assert r2(p, t) == r2(p[:, None], t) == 0.5
    assert np.isnan(accuracy(p, np.full(4, np.nan))) and np.isnan(r2(p, np.full(4, np.nan)))


def test_dropout_is_off_when_evaluating(mixed):
    model = with_dropout(mixed)
    assert evaluate(model, mixed.test) == evaluate(model, mixed.test)


def test_a_metric_of_ones_own(pair):
    model = tm.lab.build(pair, [4])
    tasks = [tm.Task(t.name, t.head, t.loss, metric=lambda p, y: p.shape[0] + y[0] / 10) for t in model.tasks]
    found = evaluate(tm.SharedBottom(model.trunk, tasks), pair.test)
    assert found["first"]["metric"] == 40 + pair.test.targets["first"][0] / 10


# ------------------------------------------------------------ networks for data sets


def test_single_task_nets_start_like_the_shared_one(mixed):
    shared = tm.lab.build(mixed, [6, 4], rng=3)
    for task in mixed.tasks:
        alone = tm.lab.build(mixed, [6, 4], rng=3, tasks=[task.name])
        assert alone.task_names == [task.name]
        pairs = [
            *zip(alone.shared_parameters(), shared.shared_parameters(), strict=True),
            *zip(alone.task_parameters(task.name), shared.task_parameters(task.name), strict=True),
        ]
        for mine, theirs in pairs:
            np.testing.assert_array_equal(mine.data, theirs.data)


def test_a_head_and_a_loss_for_each_kind(mixed):
    model = tm.lab.build(mixed, [6])
    assert [t.loss for t in model.tasks] == [tm.cross_entropy, tm.mse_loss, tm.binary_cross_entropy_with_logits]
    assert [p.shape for p in model.predict(mixed.test.x).values()] == [(40, 3), (40, 1), (40, 1)]


def test_no_unit_starts_dead_on_pixels():
    """Each unit of the first layer sees the mean training image at exactly its kink."""
    data = tm.data.load("multidigits", pairs=(500, 10, 10))
    for seed in range(5):
        first = tm.lab.build(data, [8], rng=seed).trunk.layers[0]
        before_relu = data.train.x @ first.weight.data + first.bias.data
        np.testing.assert_allclose(before_relu.mean(axis=0), 0, atol=1e-5)
        assert ((before_relu > 0).mean(axis=0) > 0.2).all()


def test_images_get_a_flat_mlp_or_a_lenet():
    data = tm.data.load("multidigits", pairs=(20, 10, 10), flat=False, offset=8)
    mlp, lenet = tm.lab.build(data, [8]), tm.lab.build(data, "lenet")
    assert mlp.represent(data.test.x).shape == (10, 8) and lenet.represent(data.test.x).shape == (10, 50)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trunk": "lenet"}, "square images, but one input of made is"),
        ({"trunk": "resnet"}, "trunk is 'lenet' or the widths"),
        ({"trunk": []}, "trunk is 'lenet' or the widths"),
        ({"trunk": [0]}, "a width of the trunk is 0"),
        ({"tasks": ["third"]}, "made has no task 'third': use 'first' or 'second'"),
    ],
)
def test_networks_that_cannot_be(pair, options, words):
    with pytest.raises(ValueError, match=words):
        tm.lab.build(pair, **options)
