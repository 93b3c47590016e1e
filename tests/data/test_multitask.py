import numpy as np
import pytest

from tests.gpu.conftest import cupy  # noqa: F401  (the fake device)
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
        (DIGIT, [0.0, 1.5, 2.0], "task 'digit': row 1 has label 1.5, expected 0 to 9"),
        (DIGIT, [0.0, np.nan, np.inf], "task 'digit': row 2 has label inf"),
        (DIGIT, [0, 1], r"task 'digit': targets have shape \(2,\), expected \(3,\)"),
        (DIGIT, [[0], [1], [2]], r"task 'digit': targets have shape \(3, 1\)"),
        (EVEN, [0, 0.5, 1], "task 'even': row 1 has target 0.5, expected 0 or 1"),
        (EVEN, [0, np.nan, 2], "task 'even': row 2 has target 2, expected 0 or 1"),
        (MASS, [1.0, np.inf, 2.0], "task 'mass': row 1 has target inf, expected a finite number"),
        (MASS, [1.0, 1e300, 2.0], r"task 'mass': the target holds 1e\+300, which is too large for float32"),
        (MASS, [1, 2**24 + 1, 0], "task 'mass': the target holds the whole number 16777217"),
    ],
)
def test_bad_targets_are_named(task, targets, sentence):
    with pytest.raises(ValueError, match=sentence):
        Split(np.zeros((3, 2)), {task.name: targets}, [task])


@pytest.mark.parametrize("targets", [["0", "1", "1"], [0, 1j, 1], np.zeros(3, "M8[D]"), [{}, 1, 2], {0, 1}])
def test_targets_that_are_no_numbers_are_named(targets):
    with pytest.raises(TypeError, match="task 'even': the target (holds|is)"):
        Split(np.zeros((3, 2)), {"even": targets}, [EVEN])


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        ([["1"], ["2"]], TypeError, "x holds text"),
        (np.array([["2020-01-01"], ["2020-01-02"]], "M8[s]"), TypeError, "x holds dates"),
        ([[1j], [2.0]], TypeError, "x holds complex"),
        ([[1e300], [0.0]], ValueError, r"x holds 1e\+300, which is too large for float32"),
        ([[2**24 + 1], [0]], ValueError, "x holds the whole number 16777217, and float32 is exact up to 16777216"),
        (np.ma.masked_equal([[1.0], [2.0]], 2.0), ValueError, "x has masked cells"),
        ({"a": [1.0, 2.0]}, TypeError, "x is a dict"),
    ],
)
def test_features_that_are_no_numbers_are_refused(x, error, sentence):
    with pytest.raises(error, match=sentence):
        Split(x, {"mass": [0.0, 1.0]}, [MASS])


def test_a_split_copies():
    x, mass, digit = np.ones((2, 3), np.float32), np.ones(2, np.float32), np.array([1, 2])
    split = Split(x, {"mass": mass, "digit": digit}, [MASS, DIGIT])
    x[:], mass[:], digit[:] = 7, 7, 7
    assert (split.x == 1).all()
    assert split.targets["mass"].tolist() == [1, 1] and split.targets["digit"].tolist() == [1, 2]


# ------------------------------------------------------------ missing labels


def gappy():
    targets = {"digit": [4, None, 2, 3], "even": np.ma.masked_equal([1, 0, 7, 1], 7), "mass": [np.nan, 1, np.nan, 2]}
    return Split(np.arange(8.0).reshape(4, 2), targets, [DIGIT, EVEN, MASS])


def test_missing_labels_are_nan_and_counted():
    split = gappy()
    assert split.labelled == {"digit": 3, "even": 3, "mass": 2}
    assert all(column.dtype == np.float32 for column in split.targets.values())
    np.testing.assert_array_equal(split.targets["digit"], [4, np.nan, 2, 3])
    np.testing.assert_array_equal(split.targets["even"], [1, 0, np.nan, 1])
    assert repr(split) == (
        "Split(4 rows, x (4, 2), targets digit (3 labelled), even (3 labelled), mass (2 labelled))"
    )
    assert "task  mass: regression, 2 of 4 labelled" in repr(MultiTaskData("gaps", split, split, split))
    assert small_split().labelled == {"digit": 7, "even": 7, "mass": 7}


def test_a_task_says_which_number_means_missing():
    task = TaskSpec("digit", "classes", 10, missing=-1)
    split = Split(np.zeros((3, 1)), {"digit": [3, -1, 0]}, [task])
    np.testing.assert_array_equal(split.targets["digit"], [3, np.nan, 0])
    whole = Split(np.zeros((3, 1)), {"digit": [3, 1, 0]}, [task])
    assert whole.targets["digit"].dtype == np.int64 and whole.labelled["digit"] == 3
    with pytest.raises(ValueError, match="row 1 has label -1"):
        Split(np.zeros((3, 1)), {"digit": [3, -1, 0]}, [DIGIT])


def test_the_batches_and_the_matrix_of_a_split_with_gaps():
    split = gappy()
    for x, targets in split.batches(2, rng=0):
        rows = (x[:, 0] / 2).astype(int)
        for name, column in targets.items():
            np.testing.assert_array_equal(column, split.targets[name][rows])
    pair = [TaskSpec("left", "classes", 10), TaskSpec("right", "classes", 10)]
    matrix = Split(np.zeros((2, 1)), {"left": [1, 2], "right": [3, None]}, pair).matrix()
    np.testing.assert_array_equal(matrix, [[1, 3], [2, np.nan]])


def test_targets_with_gaps_stay_on_the_host(cupy):  # noqa: F811
    moved, full = gappy().to("cuda"), small_split().to("cuda")
    assert isinstance(moved.x, cupy.ndarray) and isinstance(full.targets["mass"], cupy.ndarray)
    assert all(type(column) is np.ndarray for column in moved.targets.values())
    for x, targets in moved.batches(2, rng=0):
        assert isinstance(x, cupy.ndarray) and type(targets["mass"]) is np.ndarray
    assert len(list(full.batches(2, rng=0))) == 4


# ------------------------------------------------------------ tables


def test_a_split_of_tables():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"h": [1.0, 2, 3], "w": [4, 5, 6], "mass": [1.0, None, 2], "even": [1, 0, 1]}, index=[5, 3, 9])
    split = Split(frame[["h", "w"]], frame[["even", "mass"]], [MASS, EVEN])
    assert split.columns == ("h", "w") and list(split.targets) == ["mass", "even"]
    np.testing.assert_array_equal(split.targets["mass"], [1, np.nan, 2])
    assert MultiTaskData("table", split, split, split).feature_names == ("h", "w")
    other = Split(frame[["w", "h"]], frame[["even", "mass"]], [MASS, EVEN])
    with pytest.raises(ValueError, match=r"the columns of the test part are \['w', 'h'\], those of the training part"):
        MultiTaskData("table", split, split, other)
    with pytest.raises(ValueError, match="task 'even': the target has other row labels than x"):
        Split(frame[["h", "w"]], {"even": frame["even"].sort_index()}, [EVEN])
    with pytest.raises(ValueError, match=r"targets are given for \['even', 'mass', 'w'\], but the tasks are"):
        Split(frame[["h"]], frame[["even", "mass", "w"]], [MASS, EVEN])
    with pytest.raises(TypeError, match="targets are a dict .* or a table, not a ndarray"):
        Split(frame[["h"]], np.zeros((3, 1)), [MASS])


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


def test_a_scale_leaves_out_what_is_missing():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 9.0]])
    for given in (values, np.ma.masked_invalid(values), [[1, None], [3, 5], [None, 9]]):
        scale = Scale.fit(given)
        np.testing.assert_allclose([scale.mean, scale.std], [[2, 7], [1, 2]])
        np.testing.assert_array_equal(scale.standardise(given), [[-1, np.nan], [1, -1], [np.nan, 1]])
    with pytest.raises(ValueError, match="a column of which none is there"):
        Scale.fit([[np.nan, 1.0], [np.nan, 2.0]])
    with pytest.raises(TypeError, match="the array of values holds text"):
        Scale.fit(["a"])


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


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Split(np.zeros((2, 1)), {"a": [0, 1]}, ["a"]), "a task of a Split is a str: give a TaskSpec"),
        (lambda: Split(np.zeros((2, 1)), {"a": [0, 1]}, EVEN), "tasks is a TaskSpec: give a list of TaskSpec"),
        (lambda: MultiTaskData("a", [1.0], small_split(), small_split()), "train is a list: give a Split"),
        (lambda: MultiTaskData("a", small_split(), small_split(), None), "test is a NoneType: give a Split"),
        (lambda: TaskSpec(3, "binary", 1), "the name of a task is a int: give text"),
        (lambda: TaskSpec("a", "binary", 1, missing="-1"), "missing of task 'a' is a str: give a number, such as -1"),
    ],
)
def test_wrong_kinds_of_object(make, sentence):
    with pytest.raises(TypeError, match=sentence):
        make()
