"""What goes into a model: dtypes, gradients that pass the door, and labels that are missing."""

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.autodiff import grad

ROWS = 6
nan = np.nan


def x(dtype="f8"):
    return np.random.default_rng(0).standard_normal((ROWS, 4)).astype(dtype)


def network(loss=tm.mse_loss, outputs=1, tasks=3, missing=None, head=tm.nn.Linear):
    heads = [tm.Task(f"t{k}", head(5, outputs, rng=k), loss, missing=missing) for k in range(tasks)]
    return tm.SharedBottom(tm.nn.MLP([4, 5], rng=9), heads).to("float64")


class Apart(tm.nn.Linear):
    """Not stacked."""


# ------------------------------------------------------------ the input


@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_float64_input_keeps_its_gradient(requires_grad):
    model = network().to("float32")
    wide = tm.tensor(x(), requires_grad=requires_grad)
    batch = model.read(wide, np.zeros((ROWS, 3)))
    assert batch.x.dtype == np.float32 and batch.x.requires_grad is requires_grad
    if requires_grad:
        (g,) = grad(model.represent(wide).sum(), wide)
        narrow = tm.tensor(x("f4"), requires_grad=True)
        (h,) = grad(model.represent(narrow).sum(), narrow)
        assert g.dtype == np.float64 and g.any()
        np.testing.assert_array_equal(g, h)


def test_an_input_that_fits_is_not_copied():
    values = x()
    assert network().read(values, np.zeros((ROWS, 3))).x.data is values


@pytest.mark.parametrize("dtype", ["f2", "g", ">f4", "i2", ">u2", "?"])
def test_an_input_of_any_width_is_brought_to_the_models(dtype):
    values = x().astype(dtype)
    found = network().read(values, np.zeros((ROWS, 3))).x
    assert found.dtype == np.float64 and found.dtype.isnative
    np.testing.assert_array_equal(found.data, values.astype("f8"))


LAYOUTS = {
    "columns first": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "a transposed view": lambda a: np.ascontiguousarray(a.T).T,
    "not aligned": lambda a: np.frombuffer(b"!" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "broadcast from itself": lambda a: np.broadcast_to(a, (1, *a.shape))[0],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("head", [tm.nn.Linear, type("Apart", (tm.nn.Linear,), {})], ids=["stacked", "separate"])
def test_a_step_does_not_depend_on_the_layout(layout, head):
    """In memory: order, stride, direction, alignment, byte order; nor on whether it may be written to."""
    y = np.random.default_rng(1).standard_normal((ROWS, 3))
    ends = []
    for values, targets in ((x(), y), (layout(x()), layout(y))):
        values.flags.writeable = targets.flags.writeable = False
        model = network(head=head)
        for make in (tm.Averaged, tm.MGDA, tm.Alternating):
            make(model, tm.SGD(0.1))(values, targets)
        ends.append(model.vector.data)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12, atol=1e-14)


def test_a_target_that_wants_a_gradient_is_refused():
    y = tm.tensor(np.zeros(ROWS), requires_grad=True)
    with pytest.raises(ValueError, match="task .t1.: the target requires a gradient, but a target is a constant"):
        network().read(x(), {"t0": np.zeros(ROWS), "t1": y, "t2": np.zeros(ROWS)})


# ------------------------------------------------------------ labels that are missing


LABELS = np.array([[0, 1, 1], [1, 0, 2], [2, 2, 0], [0, 1, 1], [1, 2, 0], [2, 0, 2]])
GONE = np.zeros((ROWS, 3), bool)
GONE[[0, 3], 0] = GONE[4, 2] = True


def with_gaps():
    return np.where(GONE, nan, LABELS)


def ways():
    """The same labels missing, said in every way."""
    y = with_gaps()
    yield None, y
    yield None, y.astype("f4")
    yield None, np.ma.masked_array(LABELS, GONE)
    yield None, [[None if value != value else int(value) for value in row] for row in y.tolist()]
    yield None, {f"t{k}": y[:, k] for k in range(3)}
    yield None, {f"t{k}": np.ma.masked_array(LABELS[:, k], GONE[:, k]) for k in range(3)}
    yield None, {f"t{k}": y[:, k : k + 1] for k in range(3)}
    yield -1, np.where(GONE, -1, LABELS)
    yield -1, {f"t{k}": np.where(GONE, -1, LABELS)[:, k] for k in range(3)}
    yield 255, np.where(GONE, 255, LABELS).astype("u1")


@pytest.mark.parametrize("head", [tm.nn.Linear, Apart], ids=["stacked", "separate"])
@pytest.mark.parametrize("loss", [tm.cross_entropy, tm.mse_loss, tm.binary_cross_entropy_with_logits])
def test_each_loss_is_the_mean_over_its_own_labels(head, loss):
    outputs = 3 if loss is tm.cross_entropy else 1
    for missing, targets in ways():
        if loss is tm.binary_cross_entropy_with_logits:
            if missing is not None or isinstance(targets, list | dict):
                continue
            targets = targets * 0.5
        model = network(loss, outputs, missing=missing, head=head)
        batch = model.read(x(), targets)
        assert batch.group == [0, 1, 2]
        losses = model.losses(model.represent(batch.x), batch)
        z = model.represent(x())
        for k, task in enumerate(model.tasks):
            rows = np.flatnonzero(~GONE[:, k])
            y = LABELS[rows, k] * (0.5 if loss is tm.binary_cross_entropy_with_logits else 1)
            expected = loss(task.head(z)[rows], y)
            assert losses.data[k] == pytest.approx(expected.item(), rel=1e-13)
            for g, h in zip(
                grad(losses[k], model.shared_parameters()), grad(expected, model.shared_parameters()), strict=True
            ):
                np.testing.assert_allclose(g, h, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("head", [tm.nn.Linear, Apart], ids=["stacked", "separate"])
def test_the_losses_of_some_tasks(head):
    model = network(tm.cross_entropy, 3, head=head)
    batch = model.read(x(), with_gaps())
    z = model.represent(batch.x)
    both, some = model.losses(z, batch), model.losses(z, batch, [2, 0])
    np.testing.assert_allclose(some.data, both.data[[2, 0]], rtol=1e-14)


def test_a_loss_of_ones_own_sees_labelled_rows_alone():
    seen = []

    def own(prediction, target):
        seen.append((prediction.shape, target.tolist()))
        return tm.mse_loss(prediction, target)

    model = network(own)
    batch = model.read(x(), with_gaps())
    model.losses(model.represent(batch.x), batch)
    assert seen == [((4, 1), [1, 2, 1, 2]), ((6, 1), [1, 0, 2, 1, 2, 0]), ((5, 1), [1, 2, 0, 1, 2])]


def test_which_tasks_are_there():
    model = network(tm.cross_entropy, 3)
    y = with_gaps()
    y[:, 1] = nan
    for targets in (y, {f"t{k}": y[:, k] for k in range(3)}):
        batch = model.read(x(), targets)
        assert batch.labelled == [4, 0, 5] and batch.group == [0, 2]
    whole = model.read(x(), LABELS)
    assert whole.weights is None and whole.labelled is None and whole.group == [0, 1, 2]


def test_a_batch_without_any_label_is_refused():
    model = network()
    with pytest.raises(ValueError, match="no task has a label in this batch: leave its rows out"):
        model.read(x(), np.full((ROWS, 3), nan))


def test_what_stands_under_a_gap_is_not_checked():
    model = network(tm.cross_entropy, 3)
    odd = np.ma.masked_array(np.where(GONE, 77, LABELS), GONE)
    expected = model.losses(model.represent(x()), model.read(x(), with_gaps()))
    found = model.losses(model.represent(x()), model.read(x(), odd))
    np.testing.assert_array_equal(found.data, expected.data)


def test_the_number_for_missing_is_a_tasks_own():
    tasks = [
        tm.Task("a", tm.nn.Linear(5, 1), tm.mse_loss, missing=-1),
        tm.Task("b", tm.nn.Linear(5, 1), tm.mse_loss),
    ]
    y = np.full((ROWS, 2), -1.0)
    y[0] = 2.0
    batch = tm.SharedBottom(tm.nn.MLP([4, 5]), tasks).read(x(), y)
    assert batch.weights[0].tolist() == [1, 0, 0, 0, 0, 0] and batch.weights[1] is None


def test_labels_out_of_range_are_still_found_beside_a_gap():
    model = network(tm.cross_entropy, 3)
    y = with_gaps()
    y[1, 1] = 3
    with pytest.raises(ValueError, match="task 't1': labels must lie in 0 … 2 for 3 classes; found 3"):
        model.losses(model.represent(x()), model.read(x(), y))
    y[1, 1] = 0.5
    with pytest.raises(TypeError, match="task 't1': labels must be integers, these are float64, such as 0.5"):
        model.losses(model.represent(x()), model.read(x(), y))


def test_mixed_kinds_of_integers_and_booleans():
    model = network(tm.cross_entropy, 3)
    expected = model.losses(model.represent(x()), model.read(x(), LABELS)).data
    y = {"t0": LABELS[:, 0].astype("u8"), "t1": LABELS[:, 1].astype("i1"), "t2": LABELS[:, 2].astype(">i4")}
    np.testing.assert_array_equal(model.losses(model.represent(x()), model.read(x(), y)).data, expected)
    yes = {name: labels > 0 for name, labels in y.items()}
    found = model.losses(model.represent(x()), model.read(x(), yes | {"t0": (LABELS[:, 0] > 0).astype("u8")})).data
    np.testing.assert_array_equal(found, model.losses(model.represent(x()), model.read(x(), LABELS > 0)).data)


@pytest.mark.parametrize("bad", [["a"] * ROWS, np.zeros(ROWS, complex), {"t0": 1}, np.zeros(ROWS, "M8[s]")])
def test_a_target_that_is_no_number_names_its_task(bad):
    with pytest.raises(TypeError, match="task 't1': the target (holds|is)"):
        network().read(x(), {"t0": np.zeros(ROWS), "t1": bad, "t2": np.zeros(ROWS)})
