"""The model: its flat vectors, what it takes in and gives out, and what it refuses."""

import numpy as np
import pytest

from tinymtl import SharedBottom, Task, nn
from tinymtl.autodiff import grad, sweep
from tinymtl.autodiff.tensor import tensor

NAMES = ["left", "right", "both"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def network(stacked=True, loss=nn.cross_entropy, outputs=3, names=NAMES, dtype=None):
    """A trunk 5-6-4 and a linear head for each name; wrapped in two Sequentials a head cannot be stacked."""
    tasks = []
    for k, name in enumerate(names):
        head = nn.Linear(4, outputs, rng=10 + k)
        tasks.append(Task(name, head if stacked else nn.Sequential(head, nn.Sequential()), loss))
    model = SharedBottom(nn.MLP([5, 6, 4], rng=1), tasks)
    assert (model.separate_because is None) == (stacked and len(names) > 1)
    return model.to(dtype) if dtype else model


def everything(model):
    return [*model.shared_parameters(), *(p for name in model.task_names for p in model.task_parameters(name))]


both_kinds = pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "separate"])

# ---------------------------------------------------------------- flat vectors


@both_kinds
def test_parameters_are_views_of_one_vector(stacked):
    model = network(stacked)
    assert [p.shape for p in model.shared_parameters()] == [(5, 6), (6,), (6, 4), (4,)]
    assert [p.shape for p in model.task_parameters("right")] == [(4, 3), (3,)]
    whole = model.vector.data
    assert whole.shape == (5 * 6 + 6 + 6 * 4 + 4 + 3 * (4 * 3 + 3),)
    np.testing.assert_array_equal(whole, np.concatenate([p.data.ravel() for p in everything(model)]))
    start = 0
    for p in everything(model):
        assert p.data.base is whole or np.shares_memory(p.data, whole[start : start + p.size])
        start += p.size
    if stacked:
        assert np.shares_memory(model.heads.rows.data, whole) and model.heads.rows.shape == (3, 15)


@both_kinds
def test_initial_values_are_those_of_the_layers(stacked):
    model = network(stacked)
    fresh = [*nn.MLP([5, 6, 4], rng=1).parameters()]
    for k in range(3):
        fresh += nn.Linear(4, 3, rng=10 + k).parameters()
    for p, q in zip(everything(model), fresh, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@both_kinds
def test_writing_to_the_vector_changes_the_layers(stacked):
    model = network(stacked)
    x = normal(7, 5)
    before = model.predict(x)
    model.vector.data *= 2.0
    model.trunk.layers[0].weight.data[:] = 0.0
    after = model.predict(x)
    assert not any(np.allclose(before[name], after[name]) for name in NAMES)
    model.vector.data[:] = 0.0
    model.task_parameters("right")[1].data = [1, 2, 3]
    assert {name: p[0].tolist() for name, p in model.predict(x).items()} == {
        "left": [0, 0, 0],
        "right": [1, 2, 3],
        "both": [0, 0, 0],
    }


@both_kinds
def test_assigning_a_parameter_keeps_the_views(stacked):
    model = network(stacked)
    weight = model.task_parameters("both")[0]
    weight.data = np.arange(12).reshape(4, 3)
    assert model.vector.data[-15:-3].tolist() == list(range(12))
    with pytest.raises(ValueError, match=r"shape \(3, 4\) do not fit a parameter of shape \(4, 3\)"):
        weight.data = np.zeros((3, 4))
    assert weight.data.tolist() == np.arange(12).reshape(4, 3).tolist()


@both_kinds
def test_to_changes_dtype_and_keeps_values_and_views(stacked):
    model = network(stacked)
    before = [p.data.copy() for p in everything(model)]
    old = model.vector.data
    assert model.to("float64") is model
    for p, values in zip(everything(model), before, strict=True):
        assert p.dtype == np.float64
        np.testing.assert_array_equal(p.data, values)
        assert np.shares_memory(p.data, model.vector.data)
        assert not np.shares_memory(p.data, old)
    assert model.vector.dtype == np.float64 and (not stacked or model.heads.rows.dtype == np.float64)
    assert model.predict(normal(2, 5))["left"].dtype == np.float64
    model.vector.data[:] = 0.0
    assert not model.trunk.layers[0].weight.data.any()
    assert model.to("float32", "cpu").vector.dtype == np.float32


def test_to_a_device_that_is_not_there_leaves_the_model_alone():
    model = network()
    before = model.vector.data
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        model.to(device="gpu")
    assert model.vector.data is before
    assert np.shares_memory(model.shared_parameters()[0].data, before)


def test_a_part_of_a_model_cannot_move_alone():
    model = network()
    for part in (model.trunk, model.tasks[1].head):
        with pytest.raises(ValueError, match="part of a SharedBottom: call `to` of the whole model"):
            part.to("float64")
    assert {p.dtype for p in everything(model)} == {np.dtype(np.float32)}


def test_mixed_dtypes_become_the_wider_one():
    trunk = nn.MLP([5, 4]).to("float64")
    assert SharedBottom(trunk, [Task("a", nn.Linear(4, 3), nn.cross_entropy)]).vector.dtype == np.float64


def test_blocks_without_parameters_are_empty():
    flat = nn.Flatten()
    model = SharedBottom(flat, [Task("a", nn.Linear(4, 3), nn.cross_entropy), Task("b", nn.ReLU(), nn.mse_loss)])
    assert (model.layout.trunk, model.layout.heads) == (slice(0, 0), [slice(0, 15), slice(15, 15)])
    assert model.shared_parameters() == model.task_parameters("b") == []
    assert {k: v.shape for k, v in model.predict(np.ones((2, 2, 2))).items()} == {"a": (2, 3), "b": (2, 4)}


def test_a_model_without_any_parameters():
    model = SharedBottom(nn.Flatten(), [Task("a", nn.ReLU(), nn.mse_loss)])
    assert model.vector.shape == (0,)
    for x in (np.array([[-1.0, 2.0]]), np.array([[-1, 2]]), [[-1, 2]]):
        assert model.predict(x)["a"].tolist() == [[0.0, 2.0]]
    assert model.predict(np.array([[0.1]]))["a"].dtype == np.float64
    assert model.predict([[1]])["a"].dtype == np.float32


# ---------------------------------------------------------------- building one


def test_names_must_differ():
    with pytest.raises(ValueError, match=r"task names must be different, got \['left', 'right', 'left'\]"):
        network(names=["left", "right", "left"])


def test_no_tasks_no_model():
    with pytest.raises(ValueError, match="needs at least one task"):
        SharedBottom(nn.MLP([5, 4]), [])


def shared_parameter_pairs():
    head, trunk = nn.Linear(4, 4), nn.MLP([4, 4])
    loss = nn.mse_loss
    return {
        "two tasks, one head": lambda: SharedBottom(trunk, [Task("a", head, loss), Task("b", head, loss)]),
        "the trunk as head": lambda: SharedBottom(trunk, [Task("a", trunk, loss)]),
        "a layer of the trunk in a head": lambda: SharedBottom(
            trunk, [Task("a", nn.Sequential(trunk.layers[0], nn.ReLU()), loss)]
        ),
    }


@pytest.mark.parametrize("build", shared_parameter_pairs().values(), ids=shared_parameter_pairs())
def test_shared_parameters_are_refused(build):
    with pytest.raises(ValueError, match="are one parameter"):
        build()


@pytest.mark.parametrize(
    ("heads", "losses", "stacked"),
    [
        ([nn.Linear(4, 3), nn.Linear(4, 3)], [nn.cross_entropy] * 2, True),
        ([nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3))], [nn.cross_entropy] * 2, True),
        ([nn.Linear(4, 1), nn.Linear(4, 1)], [nn.binary_cross_entropy_with_logits] * 2, True),
        ([nn.Linear(4, 2), nn.Linear(4, 2)], [nn.binary_cross_entropy_with_logits] * 2, False),
        ([nn.Linear(4, 3), nn.Linear(4, 2)], [nn.cross_entropy] * 2, False),
        ([nn.Linear(4, 3), nn.MLP([4, 3])], [nn.cross_entropy] * 2, False),
        ([nn.Linear(4, 1), nn.Linear(4, 1)], [nn.cross_entropy, nn.binary_cross_entropy_with_logits], False),
        ([nn.Linear(4, 3), nn.Linear(4, 3)], [nn.mse_loss] * 2, False),
        ([nn.Linear(4, 3), nn.Linear(4, 3)], [lambda p, t: nn.cross_entropy(p, t)] * 2, False),
        ([nn.Linear(4, 3)], [nn.cross_entropy], False),
    ],
)
def test_which_heads_are_stacked(heads, losses, stacked):
    tasks = [Task(f"t{k}", head, loss) for k, (head, loss) in enumerate(zip(heads, losses, strict=True))]
    assert (SharedBottom(nn.MLP([5, 4]), tasks).separate_because is None) is stacked


@both_kinds
def test_an_unknown_task_is_named(stacked):
    model = network(stacked)
    with pytest.raises(KeyError, match="unknown task 'rigth': did you mean 'right'"):
        model.task_parameters("rigth")


# ---------------------------------------------------------------- running it


@both_kinds
def test_predict_by_hand(stacked):
    model = network(stacked, dtype="float64")
    x = normal(6, 5)
    w1, b1, w2, b2 = (p.data for p in model.shared_parameters())
    z = np.maximum(np.maximum(x @ w1 + b1, 0) @ w2 + b2, 0)
    np.testing.assert_allclose(model.represent(x).data, z, rtol=1e-13)
    predictions = model.predict(x)
    assert list(predictions) == NAMES
    for name in NAMES:
        v, c = (p.data for p in model.task_parameters(name))
        np.testing.assert_allclose(predictions[name], z @ v + c, rtol=1e-13)
        assert isinstance(predictions[name], np.ndarray)


def test_predict_records_nothing_and_drops_nothing():
    model = SharedBottom(
        nn.Sequential(nn.MLP([5, 6]), nn.Dropout(0.5, rng=0)), [Task("a", nn.Linear(6, 3), nn.cross_entropy)]
    )
    x = normal(8, 5)
    np.testing.assert_array_equal(model.predict(x)["a"], model.predict(x)["a"])
    assert not np.array_equal(model.represent(x).data, model.represent(x).data)
    assert model.predict(np.zeros((0, 5)))["a"].shape == (0, 3)


def test_predict_takes_integers_lists_and_tensors_in_the_models_dtype():
    for dtype in ("float32", "float64"):
        model = network(dtype=dtype)
        x = np.array([[1, 2, 3, 4, 5]])
        expected = model.predict(x.astype(dtype))["left"]
        for same in (x, x.tolist(), x.astype("float32"), x.astype("float64"), x.astype("uint8"), tensor(x)):
            out = model.predict(same)["left"]
            assert out.dtype == dtype
            np.testing.assert_array_equal(out, expected)
    model = network(dtype="float64")
    tenths = np.full((1, 5), 0.1)
    np.testing.assert_array_equal(model.predict(tenths.tolist())["left"], model.predict(tenths)["left"])


@pytest.mark.parametrize(("shape", "message"), [((7, 4), "5 features got an input of shape"), ((), "x has no rows")])
def test_x_of_another_shape_is_refused(shape, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        model.predict(np.ones(shape))


# ---------------------------------------------------------------- counts, by the operations themselves


def targets(rows=7, tasks=3):
    return np.random.default_rng(5).integers(0, 3, (rows, tasks))


@both_kinds
def test_passes_are_counted_where_they_happen(stacked):
    model = network(stacked, dtype="float64")
    batch = model.read(normal(7, 5), targets())
    z = model.represent(batch.x)
    losses = model.losses(z, batch)
    assert model.passes == type(model.passes)(1, 0, 0)
    before = model.passes.now()
    sweep([losses], [np.ones(3)])
    assert model.passes.since(before) == type(model.passes)(0, 1, 3)
    before = model.passes.now()
    sweep([losses], [np.ones(3)], [z])  # ends at Z
    assert model.passes.since(before) == type(model.passes)(0, 0, 3)
    before = model.passes.now()
    sweep([losses], [np.ones((2, 3))])  # two seeds in one sweep are two passes
    assert model.passes.since(before) == type(model.passes)(0, 2, 6)
    before = model.passes.now()
    sweep([z], [np.ones(z.shape)])
    assert model.passes.since(before) == type(model.passes)(0, 1, 0)
    before = model.passes.now()
    model.predict(batch.x.data)
    assert model.passes.now() == before


@both_kinds
def test_a_groups_passes_are_its_own(stacked):
    model = network(stacked, dtype="float64")
    batch = model.read(normal(7, 5), targets())
    for group in ([1], [2, 0], [0, 1, 2]):
        before = model.passes.now()
        losses = model.losses(model.represent(batch.x), batch, group)
        assert losses.shape == (len(group),)
        sweep([losses], [np.ones(len(group))])
        assert model.passes.since(before) == type(model.passes)(1, 1, len(group))


# ---------------------------------------------------------------- losses and gradients


@both_kinds
def test_losses_are_the_tasks_losses_in_the_groups_order(stacked):
    model = network(stacked, dtype="float64")
    y = targets()
    batch = model.read(normal(7, 5), y)
    predictions = model.predict(batch.x.data)
    expected = [nn.cross_entropy(tensor(predictions[name]), y[:, k]).item() for k, name in enumerate(NAMES)]
    for group in (None, [0, 1, 2], [2, 0], [1]):
        losses = model.losses(model.represent(batch.x), batch, group)
        np.testing.assert_allclose(losses.data, [expected[k] for k in group or [0, 1, 2]], rtol=1e-13)


@both_kinds
@pytest.mark.parametrize("group", [None, [0, 1, 2], [2, 0], [1]])
def test_flatten_lays_a_sweeps_gradients_out_as_the_parameters(stacked, group):
    model = network(stacked, dtype="float64")
    y = targets()
    batch = model.read(normal(7, 5), y)
    weights = np.array([0.5, 2.0, -1.0])[: len(group or NAMES)]
    found = model.sweep(model.losses(model.represent(batch.x), batch, group), weights)

    plain = network(False, dtype="float64")  # the same network, its losses added up one by one
    z = plain.trunk(batch.x)
    total = sum(
        (
            w * nn.cross_entropy(plain.tasks[k].head(z), y[:, k])
            for w, k in zip(weights, group or [0, 1, 2], strict=True)
        ),
        tensor(0.0),
    )
    trunk = np.concatenate([g.ravel() for g in grad(total, plain.shared_parameters())])
    heads = [
        np.concatenate([g.ravel() for g in grad(total, plain.task_parameters(NAMES[k]))]) for k in group or [0, 1, 2]
    ]
    np.testing.assert_allclose(model.flatten_trunk(found), trunk, rtol=1e-12, atol=1e-15)
    expected = np.zeros(model.layout.size)
    expected[model.layout.trunk] = trunk
    for k, head in zip(group or [0, 1, 2], heads, strict=True):
        np.testing.assert_allclose(model.flatten_head(found, k), head, rtol=1e-12, atol=1e-15)
        expected[model.layout.heads[k]] = head
    np.testing.assert_allclose(model.flatten(found), expected, rtol=1e-12, atol=1e-15)


def test_a_loss_that_is_no_scalar_is_refused_by_task():
    model = SharedBottom(nn.MLP([5, 4]), [Task("odd", nn.Linear(4, 3), lambda p, t: p)])
    batch = model.read(normal(7, 5), targets(tasks=1))
    with pytest.raises(TypeError, match="task 'odd': its loss must return a scalar Tensor"):
        model.losses(model.represent(batch.x), batch)


@both_kinds
@pytest.mark.parametrize("as_dict", [True, False])
def test_labels_out_of_range_name_the_task(stacked, as_dict):
    model = network(stacked)
    y = targets()
    y[3, 1] = 9
    batch = model.read(normal(7, 5), {name: y[:, k] for k, name in enumerate(NAMES)} if as_dict else y)
    z = model.represent(batch.x)
    with pytest.raises(ValueError, match=r"task 'right': labels must lie in 0 … 2 for 3 classes; found 9"):
        model.losses(z, batch)
    model.losses(z, batch, [0, 2])
    with pytest.raises(ValueError, match="task 'right': "):
        model.losses(z, batch, [2, 1])


# ---------------------------------------------------------------- reading a batch


@both_kinds
def test_dicts_and_matrices_say_the_same(stacked):
    model = network(stacked, dtype="float64")
    x, y = normal(7, 5), targets()
    given = [
        y,
        y.tolist(),
        tensor(y).data.astype(int),
        {name: y[:, k] for k, name in enumerate(NAMES)},
        {name: y[:, k].tolist() for k, name in reversed(list(enumerate(NAMES)))},
    ]
    expected = None
    for t in given:
        batch = model.read(x, t)
        for k in range(3):
            np.testing.assert_array_equal(batch.targets[k], y[:, k])
        losses = model.losses(model.represent(batch.x), batch).data
        expected = losses if expected is None else expected
        np.testing.assert_array_equal(losses, expected)


def test_x_comes_in_the_models_dtype():
    model = network(dtype="float64")
    for x in (normal(7, 5).astype("float32"), np.ones((7, 5), int), np.ones((7, 5)).tolist(), tensor(np.ones((7, 5)))):
        assert model.read(x, targets()).x.dtype == np.float64
    x = tensor(normal(7, 5), requires_grad=True)
    assert model.read(x, targets()).x is x  # as it is, so that a gradient can reach it


@both_kinds
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((0, 5)), np.zeros((0, 3), int), r"the batch is empty: x has shape \(0, 5\)"),
        (1.0, targets(), "x has no rows"),
        (normal(6, 5), targets(), r"task 'left': targets of shape \(7,\) for a batch of 6 rows"),
        (normal(7, 5), targets(tasks=2), r"one array \(N, 3\) with a column per task; got an array of shape \(7, 2\)"),
        (normal(7, 5), targets()[:, 0], r"got an array of shape \(7,\)"),
        (normal(7, 5), {"left": 1, "right": 1, "both": 1}, r"task 'left': targets of shape \(\)"),
        (
            normal(7, 5),
            {"left": np.zeros(7, int), "right": np.zeros(6, int), "both": np.zeros(7, int)},
            r"task 'right': targets of shape \(6,\) for a batch of 7 rows",
        ),
        (
            normal(7, 5),
            {"left": np.zeros(7, int), "both": np.zeros(7, int)},
            r"targets miss the task 'right': give an array for each of \['left', 'right', 'both'\]",
        ),
        (
            normal(7, 5),
            {"left": np.zeros(7, int), "rihgt": np.zeros(7, int), "both": np.zeros(7, int)},
            "unknown task 'rihgt': did you mean 'right'",
        ),
        (
            normal(7, 5),
            {name: np.zeros(7, int) for name in [*NAMES, "xyz"]},
            "unknown task 'xyz': use 'left', 'right' or 'both'",
        ),
    ],
)
def test_a_batch_that_does_not_fit(stacked, x, y, message):
    model = network(stacked)
    with pytest.raises(ValueError, match=message):
        model.read(x, y)
    assert model.passes.trunk_forwards == 0


@pytest.mark.parametrize("dtype", ["int32", "float16", "float65", bool])
def test_to_a_dtype_that_would_lose_the_values_changes_nothing(dtype):
    model, free = network(), nn.Linear(3, 2)
    before, weight = model.vector.data.copy(), free.weight.data.copy()
    for module in (model, free):
        with pytest.raises(ValueError, match="parameters are float32 or float64, not"):
            module.to(dtype=dtype)
    np.testing.assert_array_equal(model.vector.data, before)
    np.testing.assert_array_equal(free.weight.data, weight)


def test_represent_takes_any_array_in_the_models_dtype():
    model, x = network(), normal(4, 5)
    z = model.represent(x)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z.data, model.represent(model.read(x, np.zeros((4, 3), int)).x).data)
    np.testing.assert_array_equal(z.data, model.represent(x.tolist()).data)


# ---------------------------------------------------------------- wrong kinds of object


class Odd(nn.Module):
    """A linear layer whose forward returns whatever `make` makes of its output."""

    def __init__(self, outputs, make, inputs=5):
        self.layer, self.make = nn.Linear(inputs, outputs), make

    def forward(self, x):
        return self.make(self.layer(x))


@pytest.mark.parametrize(
    ("make", "returned"),
    [
        (lambda z: (z, z), r"a tuple \(tinymtl.concatenate makes one Tensor of several\)"),
        (lambda z: z.data, r"a ndarray \(no gradient gets past it\)"),
        (lambda z: None, r"nothing \(is a return missing\?\)"),
    ],
)
def test_a_forward_has_to_return_one_tensor(make, returned):
    sentence = f"the forward of Odd returned {returned}; it has to return one Tensor"
    trunk = SharedBottom(Odd(4, make), [Task("a", nn.Linear(4, 3), nn.cross_entropy)])
    head = SharedBottom(nn.MLP([5, 4]), [Task("a", Odd(3, make, 4), nn.cross_entropy)])
    for model, where in ((trunk, "the trunk"), (head, "task 'a'")):
        for call in (
            lambda model=model: model.predict(normal(2, 5)),
            lambda model=model: model.losses(model.represent(normal(2, 5)), model.read(normal(2, 5), {"a": [0, 1]})),
        ):
            with pytest.raises(TypeError, match=f"{where}.*{sentence}"):
                call()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": 3}, "the name of a task is a int: give text"),
        ({"head": nn.mse_loss}, "the head of task 'a' is a function: give a module"),
        ({"head": nn.Linear}, "the head of task 'a' is the class Linear: give a module"),
        ({"loss": "mse"}, "the loss of task 'a' is a str: give a function such as tinymtl.cross_entropy"),
        ({"metric": "r2"}, "the metric of task 'a' is a str: give a function such as tinymtl.lab.r2"),
        ({"missing": "-1"}, "missing of task 'a' is a str: give a number, such as -1"),
    ],
)
def test_a_task_is_made_of_the_right_kinds(fields, sentence):
    with pytest.raises(TypeError, match=sentence):
        Task(**({"name": "a", "head": nn.Linear(4, 3), "loss": nn.cross_entropy} | fields))


def test_a_state_may_hold_lists_and_must_hold_numbers():
    model = network()
    state = {key: value.tolist() for key, value in model.state().items()}
    model.vector.data[:] = 0.0
    model.load_state(state)
    assert {key: value.tolist() for key, value in model.state().items()} == state
    before = model.vector.data.copy()
    for odd, sentence in (
        ([1], "the state of a model is a list: give what model.state\\(\\) returned"),
        (state | {"trunk/layers.0.weight": "abc"}, "'trunk/layers.0.weight' holds text"),
        (state | {"trunk/layers.0.weight": None}, "'trunk/layers.0.weight' is a NoneType"),
    ):
        with pytest.raises(TypeError, match=sentence):
            model.load_state(odd)
    np.testing.assert_array_equal(model.vector.data, before)
