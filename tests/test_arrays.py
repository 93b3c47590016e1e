"""What may stand for an array, and what gets a sentence. pandas, polars and SciPy only if they are installed."""

import datetime
import decimal
import fractions
import operator
from pathlib import Path

import numpy as np
import pytest

import tinymtl as tm
from tinymtl import arrays
from tinymtl.arrays import as_numbers, cast, columns, without_gaps

FOUR = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_a_plain_array_is_taken_as_it_is():
    for dtype in ("f2", "f4", "f8", "g", "i1", "u8", "?"):
        array = FOUR.astype(dtype)
        assert as_numbers(array) is array


@pytest.mark.parametrize(
    "values",
    [
        FOUR.tolist(),
        tuple(map(tuple, FOUR.tolist())),
        FOUR.astype(">f8"),
        FOUR.astype(">i2"),
        FOUR.view(np.matrix),
        np.ma.masked_array(FOUR),
        FOUR.astype(object),
        [[decimal.Decimal(1), fractions.Fraction(2)], [np.float32(3), np.uint8(4)]],
        [[True, 2], [3.0, np.int64(4)]],
        [FOUR[0], list(FOUR[1])],
        memoryview(FOUR),
    ],
    ids=lambda values: type(values).__name__,
)
def test_whatever_holds_numbers_is_used(values):
    found = as_numbers(values)
    assert type(found) is np.ndarray and found.dtype.isnative
    np.testing.assert_array_equal(found.astype(float), FOUR)


def test_the_layout_does_not_matter():
    wide = np.zeros((4, 6))
    for view in (wide[::2, ::3], np.asfortranarray(wide)[:2, :2], wide[::-2, ::-3], wide.T[:2, :2]):
        view[...] = FOUR
        view.flags.writeable = False
        assert as_numbers(view) is view
        model = tm.nn.Linear(2, 3).to("float64")
        np.testing.assert_array_equal(model(view).data, model(FOUR).data)


@pytest.mark.parametrize(
    ("values", "error", "sentence"),
    [
        ("abc", TypeError, r"x holds text \(<U3\): give real numbers"),
        (["1", "2"], TypeError, "x holds text"),
        (b"12", TypeError, "x holds text"),
        (np.array(["a"], np.dtypes.StringDType()), TypeError, "x holds text"),
        ([1, 2j], TypeError, r"x holds complex numbers \(complex128\): give real numbers, such as .real and .imag"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, r"x holds dates .*such as the days since a first day"),
        (np.array([5], "m8[s]"), TypeError, "x holds durations"),
        ([datetime.date(2020, 1, 1)], TypeError, r"x holds a date at \[0\]: give real numbers"),
        ([[1, 2], [3, {}]], TypeError, r"x holds a dict at \[1, 1\]"),
        ({"a": 1}, TypeError, "x is a dict: give an array of real numbers"),
        (None, TypeError, "x is a NoneType"),
        ({1, 2}, TypeError, "x is a set"),
        ((i for i in range(3)), TypeError, "x is a generator"),
        (object(), TypeError, "x is a object"),
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), TypeError, "x holds records .*its fields are a, b"),
        ([[1, 2], [3]], ValueError, "x is ragged: give rows of one length"),
        (np.ma.masked_array([1, 2], [0, 1]), ValueError, "x has masked cells: fill them, or leave their rows out"),
        ([1.0, None], ValueError, r"x has no value at \[1\]"),
        ([10**400], ValueError, "x holds a number that is too large for float64"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_holds_none_gets_a_sentence(values, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        as_numbers(values, "x")
    assert "\n" not in str(caught.value)


def test_gaps_are_nan():
    for values in (np.ma.masked_array([1, 99, 3], [0, 1, 0]), [1, None, 3], [1, np.nan, 3.0]):
        np.testing.assert_array_equal(as_numbers(values, gaps=True), [1.0, np.nan, 3.0])
    untouched = np.ma.masked_array([1, 2], [0, 0])
    assert as_numbers(untouched, gaps=True).dtype == untouched.dtype


def test_units_are_not_dropped():
    class Quantity(np.ndarray):
        unit = "m"

    class Pint:
        magnitude, units = FOUR, "m"

    for values in (FOUR.view(Quantity), Pint()):
        with pytest.raises(TypeError, match="x has a unit .*: give the bare numbers, in one unit throughout"):
            as_numbers(values, "x")
    assert type(as_numbers(FOUR.view(type("Plain", (np.ndarray,), {})))) is np.ndarray


def test_what_refuses_to_be_an_array_says_why():
    class Elsewhere:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("these values are on a GPU")

    with pytest.raises(TypeError, match=r"x cannot be read as an array \(Elsewhere\): these values are on a GPU"):
        as_numbers(Elsewhere(), "x")


# ------------------------------------------------------------ into floats of the model's width


@pytest.mark.parametrize("source", ["f8", "g"])
def test_a_number_too_large_is_refused_and_infinity_is_not(source):
    good = np.array([3e38, -np.inf, np.nan, 1e-300], source)
    np.testing.assert_array_equal(cast(good, "f4"), np.float32([3e38, -np.inf, np.nan, 0]))
    for bad in (1e300, -3.5e38):
        sentence = f"x holds {abs(bad):g}, which is too large for float32: scale it, or use float64".replace("+", r"\+")
        with pytest.raises(ValueError, match=sentence):
            cast(np.array([1.0, np.inf, bad], source), "f4", "x")
    with pytest.raises(ValueError, match="too large for float16"):
        cast(np.array([70000.0]), "f2")


@pytest.mark.parametrize(("dtype", "exact"), [("f2", 2**11), ("f4", 2**24), ("f8", 2**53)])
def test_integers_that_would_run_together_are_refused(dtype, exact):
    for sign in (1, -1):
        good = np.array([exact, 0], np.int64) * sign
        np.testing.assert_array_equal(cast(good, dtype).astype(int), good)
        with pytest.raises(ValueError, match=rf"holds the whole number {exact + 1}, and float.* exact up to {exact}"):
            cast(np.array([exact + 1, 0], np.int64) * sign, dtype)
    with pytest.raises(ValueError, match=f"whole number {2**64 - 1}"):
        cast(np.array([2**64 - 1], np.uint64), dtype)
    assert cast(np.zeros((0, 3), int), dtype).shape == (0, 3)


def test_cast_makes_no_copy_of_what_fits():
    assert cast(FOUR, "f8") is FOUR


def test_one_number_too_large_is_refused_at_every_door():
    model = tm.SharedBottom(tm.nn.MLP([2, 3]), [tm.Task("a", tm.nn.Linear(3, 1), tm.mse_loss)])
    x = np.array([[1e300, 0.0]])
    for call in (
        lambda: model.predict(x),
        lambda: model.represent(x),
        lambda: model.read(x, {"a": [1.0]}),
        lambda: tm.mse_loss(tm.tensor([1.0]), [1e300]),
        lambda: tm.tensor([1.0]) + [1e300],
        lambda: tm.tensor([1e300]),
        lambda: model.trunk([[1e300, 0.0]]),
    ):
        with pytest.raises(ValueError, match="holds 1e\\+300, which is too large for float32"):
            call()


# ------------------------------------------------------------ every door is the same one

SQUARE = tm.tensor(FOUR, requires_grad=True)
DOORS = {
    "an operand on the right": lambda v: SQUARE * v,
    "an operand on the left": lambda v: np.add(v, SQUARE),
    "a comparison": lambda v: operator.lt(SQUARE, v),
    "where": lambda v: tm.where(v, SQUARE, 0.0),
    "stack": lambda v: tm.stack([SQUARE, v]),
    "a seed of backward": lambda v: tm.tensor(FOUR, requires_grad=True).backward(v),
    "a seed of grad": lambda v: tm.grad(SQUARE, SQUARE, [v]),
    "tensor": tm.tensor,
    "a layer": lambda v: tm.nn.Linear(2, 2, rng=0).to("float64")(v),
    "a parameter": tm.nn.Parameter,
    "a parameter's values": lambda v: setattr(tm.nn.Linear(2, 2).weight, "data", v),
    "a bound parameter's values": lambda v: setattr(square_model().shared_parameters()[0], "data", v),
    "a buffer": tm.nn.Buffer,
    "a prediction": lambda v: tm.mse_loss(v, FOUR),
    "predict": lambda v: square_model().predict(v),
    "represent": lambda v: square_model().represent(v),
    "read": lambda v: square_model().read(v, {"a": [0.0, 1.0]}),
    "Split": lambda v: tm.data.Split(v, {"a": [0.0, 1.0]}, [tm.data.TaskSpec("a", "regression", 1)]),
    "min_norm": tm.min_norm,
    "a problem": lambda v: tm.problems.Quadratics([1.0, 1.0], v, [0.0, 0.0]),
    "accuracy": lambda v: tm.lab.accuracy(v, [0, 1]),
}
LIKE_AN_ARRAY = {
    "matrix": FOUR.view(np.matrix),
    "masked, with nothing masked": np.ma.masked_array(FOUR),
    "big-endian": FOUR.astype(">f8"),
    "objects": FOUR.astype(object),
}
MORE_THAN_AN_ARRAY = {
    "masked": np.ma.masked_equal(FOUR, 2.0),
    "text": FOUR.astype(str),
    "dates": FOUR.astype("M8[s]"),
    "complex": FOUR + 1j,
}


def square_model():
    tasks = [tm.Task("a", tm.nn.Linear(2, 1, rng=1), tm.mse_loss)]
    return tm.SharedBottom(tm.nn.MLP([2, 2], rng=0), tasks).to("float64")


def numbers_of(found):
    if isinstance(found, dict):
        return [numbers_of(value) for value in found.values()]
    if isinstance(found, list | tuple):
        return [numbers_of(value) for value in found]
    if isinstance(found, tm.nn.Buffer) or hasattr(found, "edges"):
        found = found.data
    assert not isinstance(found, np.ndarray) or type(found) is np.ndarray
    return found.tolist() if isinstance(found, np.ndarray) else None


@pytest.mark.parametrize("values", LIKE_AN_ARRAY.values(), ids=LIKE_AN_ARRAY)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_what_is_like_an_array_is_one(door, values):
    assert numbers_of(door(values)) == numbers_of(door(FOUR))


@pytest.mark.parametrize("values", MORE_THAN_AN_ARRAY.values(), ids=MORE_THAN_AN_ARRAY)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_what_says_more_than_numbers_is_refused(door, values):
    with pytest.raises((TypeError, ValueError)) as caught:
        door(values)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------ what is missing


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
def test_without_gaps(dtype):
    full = np.array([[1.0, -2.0], [np.inf, -np.inf]], dtype)
    assert without_gaps(full) == (full, None)
    array = np.array([[1.0, np.nan], [np.inf, -2.0]], dtype)[:, ::-1]
    filled, there = without_gaps(array)
    assert filled.dtype == array.dtype and filled.tolist() == [[0.0, 1.0], [-2.0, np.inf]]
    assert there.tolist() == [[False, True], [True, True]]
    assert np.isnan(array[0, 0])


def test_large_numbers_are_no_gaps():
    with np.errstate(all="raise"):
        assert without_gaps(np.array([1e200, -1e200, np.inf, -np.inf]))[1] is None
        assert without_gaps(np.float16([6e4, -6e4]))[1] is None
    assert without_gaps(np.zeros(0))[1] is None


def test_integers_have_no_gaps():
    labels = np.array([3, -1])
    assert without_gaps(labels) == (labels, None)


# ------------------------------------------------------------ tables


def test_a_structured_array_is_a_table():
    table = np.array([(1.0, 2), (3.0, 4)], [("a", "f4"), ("b", "i8")])
    assert {name: column.tolist() for name, column in columns(table).items()} == {"a": [1.0, 3.0], "b": [2, 4]}
    assert columns(FOUR) is None and columns([1]) is None


def model_of(*names):
    tasks = [tm.Task(name, tm.nn.Linear(3, 1, rng=k), tm.mse_loss) for k, name in enumerate(names)]
    return tm.SharedBottom(tm.nn.MLP([2, 3]), tasks)


def test_pandas():
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame(FOUR, columns=["height", "width"])
    np.testing.assert_array_equal(as_numbers(x), FOUR)
    np.testing.assert_array_equal(as_numbers(x["width"]), [2.0, 4.0])
    np.testing.assert_array_equal(as_numbers(x.assign(height=[True, False], width=[1, 2])), [[1, 1], [0, 2]])
    for dtype in ("Int64", "UInt8", "Float32", "boolean"):
        column = pd.Series([1, None, 0], dtype=dtype)
        np.testing.assert_array_equal(as_numbers(column, gaps=True), [1, np.nan, 0])
    for odd, kind in (
        (pd.Series(["a", "b"]), "text|a str at"),
        (pd.Series(["a", "b"], dtype="category"), "text|a str at"),
        (pd.to_datetime(pd.Series(["2020-01-01"])), "dates"),
        (pd.Series([1j]), "complex"),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"]), "n": [1]}), "a Timestamp at"),
    ):
        with pytest.raises(TypeError, match=f"x holds ({kind})"):
            as_numbers(odd, "x")


def test_the_columns_of_a_table_are_the_tasks_of_their_names():
    pd = pytest.importorskip("pandas")
    model = model_of("a", "b")
    y = pd.DataFrame({"b": [1.0, 2.0], "a": [3.0, np.nan]})
    batch = model.read(FOUR, y)
    assert [target.tolist() for target in batch.targets] == [[3.0, 0.0], [1.0, 2.0]]
    assert batch.weights[0].tolist() == [1.0, 0.0] and batch.weights[1] is None
    assert [t.tolist() for t in model.read(FOUR, {"a": y["b"], "b": y["a"].fillna(7)}).targets] == [[1, 2], [3, 7]]
    records = np.array([(1.0, 2.0), (3.0, 4.0)], [("b", "f4"), ("a", "f4")])
    assert [t.tolist() for t in model.read(FOUR, records).targets] == [[2.0, 4.0], [1.0, 3.0]]
    with pytest.raises(ValueError, match="targets name an unknown task 'c': use 'a' or 'b'"):
        model.read(FOUR, y.assign(c=0.0))
    with pytest.raises(ValueError, match="targets miss the task 'b'"):
        model.read(FOUR, y[["a"]])
    with pytest.raises(ValueError, match="the table has two columns 'a'"):
        model.read(FOUR, y.set_axis(["a", "a"], axis=1))


def test_a_named_column_is_the_task_of_its_name():
    pd = pytest.importorskip("pandas")
    model, y = model_of("a"), pd.Series([1.0, None], name="a")
    batch = model.read(FOUR, y)
    assert batch.targets[0].tolist() == [1.0, 0.0] and batch.labelled == [1]
    with pytest.raises(ValueError, match="targets name an unknown task 'b': use 'a'"):
        model.read(FOUR, y.rename("b"))
    with pytest.raises(ValueError, match=r"targets are a dict .* got an array of shape \(2,\)"):
        model.read(FOUR, y.rename(None))


def test_rows_are_not_paired_against_their_labels():
    pd = pytest.importorskip("pandas")
    model = model_of("a")
    x, y = pd.DataFrame(FOUR, index=[7, 3]), pd.DataFrame({"a": [1.0, 2.0]}, index=[7, 3])
    assert model.read(x, y).targets[0].tolist() == [1.0, 2.0]
    for other in (y.loc[[3, 7]], y.reset_index(drop=True)):
        for targets in (other, {"a": other["a"]}):
            with pytest.raises(ValueError, match="task 'a': the target has other row labels than x"):
                model.read(x, targets)
        assert model.read(x, {"a": other["a"].to_numpy()}).targets[0].tolist() == other["a"].tolist()


def test_polars():
    pl = pytest.importorskip("polars")
    y = pl.DataFrame({"b": [1.0, 2.0], "a": [3, None]})
    batch = model_of("a", "b").read(pl.DataFrame(FOUR, schema=["height", "width"]), y)
    assert batch.x.data.tolist() == FOUR.tolist()
    assert [t.tolist() for t in batch.targets] == [[3.0, 0.0], [1.0, 2.0]] and batch.weights[0].tolist() == [1, 0]
    with pytest.raises(TypeError, match="x holds (text|a str at)"):
        as_numbers(pl.Series(["a"]), "x")


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "coo_array"])
def test_sparse_matrices_are_refused(kind):
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=rf"x is sparse \({kind}\): give x.toarray\(\)"):
        as_numbers(getattr(sparse, kind)(FOUR), "x")


def test_none_of_these_libraries_is_imported_here():
    source = Path(arrays.__file__).read_text()
    assert not [name for name in ("pandas", "polars", "scipy") if f"import {name}" in source]
