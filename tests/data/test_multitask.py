import numpy as np
import pytest

from tinymtl.data import MultiTaskData, Split, TaskSpec, multitask
from tinymtl.data.scale import Scale

DIGIT = TaskSpec("digit", "classes", 10)
EVEN = TaskSpec("even", "binary", 1)
MASS = TaskSpec("mass", "regression", 1)


def small_split(rows=7):
    """Row i has x = (i, 10 i) and targets that follow from i, so that a row can be told from any of them."""
    number = np.arange(rows)
    targets = {"mass": number / 4, "digit": number % 10, "even": number % 2 == 0}
    return Split(np.stack([number, 10 * number], axis=1), targets, [DIGIT, EVEN, MASS])


def test_split_keeps_task_order_and_types():
    split = small_split()
    assert list(split.targets) == ["digit", "even", "mass"]
    assert split.x.dtype == np.float32 and split.x.shape == (7, 2) and len(split) == 7
    assert [split.targets[name].dtype for name in split.targets] == [np.int64, np.float32, np.float32]
    assert split.targets["even"].tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert repr(split) == "Split(7 rows, x (7, 2), targets digit, even, mass)"


@pytest.mark.parametrize(
    ("task", "targets", "sentence"),
    [
        (DIGIT, [0, 10, 3], r"task 'digit': row 1 has label 10, expected 0 to 9 \(10 classes\)"),
        (DIGIT, [0, 1, -1], "task 'digit': row 2 has label -1"),
        (DIGIT, [0.0, 1.0, 2.0], "task 'digit': labels are float64, expected whole numbers"),
        (DIGIT, [True, False, True], "task 'digit': labels are bool"),
        (DIGIT, [0, 1], r"task 'digit': targets have shape \(2,\), expected \(3,\)"),
        (DIGIT, [[0], [1], [2]], r"task 'digit': targets have shape \(3, 1\)"),
        (EVEN, [0, 0.5, 1], "task 'even': row 1 has target 0.5, expected 0 or 1"),
        (EVEN, [0, 1, np.nan], "task 'even': row 2 has target nan"),
        (EVEN, ["0", "1", "1"], "task 'even': targets are <U1, expected numbers"),
        (MASS, [1.0, np.inf, 2.0], "task 'mass': row 1 has target inf, expected a finite number"),
    ],
)
def test_bad_targets_are_named(task, targets, sentence):
    with pytest.raises(ValueError, match=sentence):
        Split(np.zeros((3, 2)), {task.name: targets}, [task])


def test_labels_at_both_ends_of_the_range_are_good():
    assert Split(np.zeros((2, 1)), {"digit": [0, 9]}, [DIGIT]).targets["digit"].tolist() == [0, 9]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_named(bad):
    images = np.zeros((3, 1, 4, 4))
    images[1, 0, 2, 3] = bad
    with pytest.raises(ValueError, match="the features of row 1 hold a NaN or an infinite value"):
        Split(images, {"digit": [1, 2, 3]}, [DIGIT])


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((0, 4)), np.zeros((3, 0))])
def test_inputs_without_rows_or_features_are_refused(x):
    with pytest.raises(ValueError, match=r"x has shape .* give \(N, features\)"):
        Split(x, {"digit": np.zeros(len(x), dtype=int)}, [DIGIT])


def test_targets_must_match_the_tasks():
    x = np.zeros((2, 1))
    with pytest.raises(
        ValueError, match=r"targets are given for \['digit'\], but the tasks are \['digit', 'even'\]"
    ):
        Split(x, {"digit": [1, 2]}, [DIGIT, EVEN])
    with pytest.raises(ValueError, match=r"given for \['digit', 'odd'\], but the tasks are \['digit'\]"):
        Split(x, {"digit": [1, 2], "odd": [1, 0]}, [DIGIT])
    with pytest.raises(ValueError, match="give one task or more"):
        Split(x, {}, [])
    with pytest.raises(ValueError, match="each with its own name"):
        Split(x, {"digit": [1, 2]}, [DIGIT, DIGIT])


@pytest.mark.parametrize(
    ("kind", "outputs", "sentence"),
    [
        ("labels", 3, "task 't' has kind 'labels': use 'classes', 'binary' or 'regression'"),
        ("classes", 1, r"outputs of task 't' \(its number of classes\) is 1"),
        ("binary", 2, "task 't' is binary with outputs=2: give 1"),
        ("regression", 0, "task 't' is regression with outputs=0: give 1"),
    ],
)
def test_bad_task_descriptions_are_refused(kind, outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        TaskSpec("t", kind, outputs)


def test_matrix_has_a_column_per_task():
    labels = {"right": [5, 6, 7], "left": [1, 2, 3]}
    tasks = [TaskSpec("left", "classes", 10), TaskSpec("right", "classes", 10)]
    matrix = Split(np.zeros((3, 1)), labels, tasks).matrix()
    assert matrix.tolist() == [[1, 5], [2, 6], [3, 7]] and matrix.dtype == np.int64
    binary = Split(np.zeros((2, 1)), {"a": [0, 1], "b": [1, 1]}, [TaskSpec(n, "binary", 1) for n in "ab"])
    assert binary.matrix().tolist() == [[0, 1], [1, 1]] and binary.matrix().dtype == np.float32


def test_matrix_refuses_tasks_that_differ():
    with pytest.raises(ValueError, match=r"use .targets instead: digit \(classes, 10\), even \(binary, 1\)"):
        small_split().matrix()
    tasks = [DIGIT, TaskSpec("coarse", "classes", 3)]
    with pytest.raises(ValueError, match="differ in kind or outputs"):
        Split(np.zeros((2, 1)), {"digit": [1, 2], "coarse": [0, 1]}, tasks).matrix()
    with pytest.raises(ValueError, match="differ in kind or outputs"):  # both are columns of floats
        Split(np.zeros((2, 1)), {"even": [1, 0], "mass": [0, 1]}, [EVEN, MASS]).matrix()


@pytest.mark.parametrize(("size", "sizes"), [(3, [3, 3, 1]), (7, [7]), (100, [7]), (1, [1] * 7)])
def test_batches_visit_every_row_once(size, sizes):
    seen, lengths = [], []
    for x, targets in small_split().batches(size, rng=0):
        number = x[:, 0]
        assert (x[:, 1] == 10 * number).all() and (targets["digit"] == number % 10).all()
        assert (targets["even"] == (number % 2 == 0)).all() and (targets["mass"] == number / 4).all()
        assert list(targets) == ["digit", "even", "mass"]
        seen += number.tolist()
        lengths.append(len(x))
    assert lengths == sizes
    assert sorted(seen) == list(range(7))


def test_batches_are_shuffled_by_the_generator_alone():
    split = small_split(50)

    def order(rng):
        return [int(n) for x, _ in split.batches(8, rng) for n in x[:, 0]]

    assert order(3) == order(3) == order(np.random.default_rng(3))
    assert order(3) != order(4) and order(3) != list(range(50))
    rng = np.random.default_rng(3)
    first, second = order(rng), order(rng)
    assert first == order(3) and second != first
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    split.batches(8, rng)
    twin.permutation(50)
    assert rng.random() == twin.random()  # one permutation per call, drawn at the call


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "8", None])
def test_a_bad_batch_size_is_refused_at_the_call(size):
    with pytest.raises(ValueError, match="the batch size is .*: give a whole number of at least 1"):
        small_split().batches(size, rng=0)


def test_data_checks_that_its_parts_agree():
    split = small_split()
    data = MultiTaskData("numbers", split, split, split, feature_names=["n", "ten n"])
    assert data.features == 2 and data.input_shape == (2,) and data.tasks == [DIGIT, EVEN, MASS]
    wide = Split(np.zeros((7, 3)), split.targets, split.tasks)
    with pytest.raises(ValueError, match=r"the inputs of the test part have shape \(3,\)"):
        MultiTaskData("numbers", split, split, wide)
    other = Split(split.x, {"digit": split.targets["digit"]}, [DIGIT])
    with pytest.raises(ValueError, match="the validation part has other tasks"):
        MultiTaskData("numbers", split, other, split)
    with pytest.raises(ValueError, match="1 feature names for 2 features"):
        MultiTaskData("numbers", split, split, split, feature_names=["n"])


def test_features_of_images_are_all_their_numbers():
    split = Split(np.zeros((2, 3, 4, 5)), {"even": [0, 1]}, [EVEN])
    data = MultiTaskData("images", split, split, split)
    assert data.features == 60 and data.input_shape == (3, 4, 5)


def test_to_moves_every_array_and_leaves_the_original(monkeypatch):
    class OnDevice(np.ndarray):
        """Stands for an array on a GPU."""

    def upload(array, device):
        assert device == "cuda"
        return array.view(OnDevice)

    monkeypatch.setattr(multitask, "to_device", upload)
    split = small_split()
    data = MultiTaskData("numbers", split, small_split(4), small_split(5))
    moved = data.to("cuda")
    for part, rows in ((moved.train, 7), (moved.validation, 4), (moved.test, 5)):
        assert len(part) == rows
        assert all(type(array) is OnDevice for array in (part.x, *part.targets.values()))
    assert all(type(array) is np.ndarray for array in (data.train.x, *data.train.targets.values()))
    assert moved.tasks == data.tasks and repr(moved) == repr(data)


def test_to_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        small_split().to("gpu")


def test_scale_standardises_and_restores():
    values = np.random.default_rng(0).normal([5, -40], [2, 0.1], size=(200, 2))
    scale = Scale.fit(values)
    np.testing.assert_allclose(scale.mean, [sum(c) / 200 for c in values.T], rtol=1e-12)
    deviation = [(sum((v - sum(c) / 200) ** 2 for v in c) / 200) ** 0.5 for c in values.T]
    np.testing.assert_allclose(scale.std, deviation, rtol=1e-12)
    standard = scale.standardise(values)
    assert standard.dtype == np.float32
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(scale.restore(standard), values, rtol=1e-6)
