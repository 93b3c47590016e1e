"""Random calls of the public interface: each works, or is refused in one sentence, and then nothing has moved."""

import contextlib
import datetime

import numpy as np
import pytest

import tinymtl as tm
from tinymtl.data import MultiTaskData, Split, TaskSpec

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CALLS = 3_000
ALLOWED = (ValueError, TypeError, KeyError, FloatingPointError, OSError)


def make():
    """A network with a random mask, and every strategy's step on it is one of `tm.STRATEGIES`."""
    trunk = tm.nn.Sequential(tm.nn.MLP([3, 5], rng=1), tm.nn.Dropout(0.2, rng=2))
    heads = [tm.nn.Linear(5, 3, rng=3), tm.nn.Linear(5, 1, rng=4)]
    losses = [tm.cross_entropy, tm.mse_loss]
    return tm.SharedBottom(trunk, [tm.Task(*task) for task in zip("ab", heads, losses, strict=True)])


rng = np.random.default_rng(0)
GOOD_X, GOOD = rng.normal(size=(6, 3)), {"a": np.array([0, 1, 2, 0, 1, 2]), "b": rng.normal(size=6)}
SPECS = [TaskSpec("a", "classes", 3), TaskSpec("b", "regression", 1)]
PART = Split(GOOD_X, GOOD, SPECS)
DATA = MultiTaskData("made", PART, PART, PART)

ARRAYS = [
    GOOD_X,
    GOOD_X.astype(np.float32),
    GOOD_X[:, ::-1],
    np.asfortranarray(GOOD_X),
    GOOD_X.astype(">f8"),
    GOOD_X.astype(np.float16),
    GOOD_X[:0],
    GOOD_X[:, :2],
    GOOD_X[:3],
    GOOD_X * np.nan,
    GOOD_X * np.inf,
    GOOD_X * 1e300,
    GOOD_X * 1j,
    np.ma.masked_array(GOOD_X, GOOD_X > 0),
    np.array([["a", "b", "c"]] * 6),
    np.array([[1, None, 2]] * 6, dtype=object),
    np.array(["2020-01-01"] * 6, dtype="datetime64[D]"),
    np.arange(6),
    np.arange(6, dtype=np.uint64),
    np.array([0, 1, 2, 0, 1, 5]),
    np.array([0.0, 1.0, np.nan, 0.0, 1.0, 2.0]),
    np.array([True, False] * 3),
    np.zeros(()),
    np.eye(2),
    np.array([[1.0, -2.0], [-2.0, 1.0]]),
    np.zeros((6, 3, 2)),
]
PLAIN = [0, 1, 2, -1, 7, 0.0, 0.5, -0.5, 1e-300, 1e300, float("nan"), float("inf"), True, False, None, ""]
PLAIN += ["a", "mean", "own", "per-task", "weather", "active-set", (), [], {}, [1, 2], (0.9, 0.99), {"a": 1}]
PLAIN += [[[1.0, 2.0], [3.0]], {"b": [1]}, object(), datetime.date(2020, 1, 1), b"bytes", 1j, range(3)]
PLAIN += [lambda *a: 1.0, int, tm.SGD(0.1), tm.tensor([1.0, 2.0])]
VALUES = st.sampled_from(ARRAYS + PLAIN)
TARGETS = st.one_of(VALUES, st.fixed_dictionaries({"a": VALUES, "b": VALUES}), st.just(GOOD))
X = st.one_of(VALUES, st.just(GOOD_X))

#: name → what is called with (model, step, value, x, targets)
INTERFACE = {
    "step": lambda m, s, v, x, t: s(x, t),
    "stages": lambda m, s, v, x, t: list(s.stages(x, t)),
    "trace": lambda m, s, v, x, t: tm.trace(s, x, t),
    "predict": lambda m, s, v, x, t: m.predict(x),
    "read": lambda m, s, v, x, t: m.read(x, t),
    "task_parameters": lambda m, s, v, x, t: m.task_parameters(v),
    "model.load_state": lambda m, s, v, x, t: m.load_state({**m.state(), "heads/a/bias": v}),
    "step.load_state": lambda m, s, v, x, t: s.load_state(v),
    "to": lambda m, s, v, x, t: make().to(v),
    "SharedBottom": lambda m, s, v, x, t: tm.SharedBottom(v, x),
    "Task": lambda m, s, v, x, t: tm.Task(v, x, t),
    "Averaged": lambda m, s, v, x, t: tm.Averaged(make(), tm.SGD(0.1), weights=v),
    "MGDA": lambda m, s, v, x, t: tm.MGDA(make(), v),
    "MGDAUB": lambda m, s, v, x, t: tm.MGDAUB(make(), tm.SGD(0.1), v, x),
    "Alternating": lambda m, s, v, x, t: tm.Alternating(v, tm.SGD(0.1), x),
    "RandomGrouped": lambda m, s, v, x, t: tm.RandomGrouped(make(), tm.SGD(0.1), v),
    "weigh": lambda m, s, v, x, t: tm.LossWeighted(make(), tm.SGD(0.1), weigh=lambda L: v)(GOOD_X, GOOD),
    "weigh G": lambda m, s, v, x, t: tm.GradientWeighted(make(), tm.SGD(0.1), weigh=lambda G, L: v)(GOOD_X, GOOD),
    "SGD": lambda m, s, v, x, t: tm.SGD(v, x),
    "Adam": lambda m, s, v, x, t: tm.Adam(v, betas=x),
    "AdamW": lambda m, s, v, x, t: tm.AdamW(0.1, weight_decay=v),
    "tensor": lambda m, s, v, x, t: tm.tensor(v),
    "grad": lambda m, s, v, x, t: tm.grad(v, x),
    "cross_entropy": lambda m, s, v, x, t: tm.cross_entropy(x, v),
    "binary": lambda m, s, v, x, t: tm.binary_cross_entropy_with_logits(x, v),
    "mse": lambda m, s, v, x, t: tm.mse_loss(x, v),
    "l1": lambda m, s, v, x, t: tm.l1_loss(x, v),
    "min_norm": lambda m, s, v, x, t: tm.min_norm(v),
    "min_norm gram": lambda m, s, v, x, t: tm.min_norm(gram=v),
    "Linear": lambda m, s, v, x, t: tm.nn.Linear(v, 2),
    "MaxPool2d": lambda m, s, v, x, t: tm.nn.MaxPool2d(v),
    "Dropout": lambda m, s, v, x, t: tm.nn.Dropout(v),
    "Split": lambda m, s, v, x, t: Split(x, {"a": v, "b": GOOD["b"]}, SPECS),
    "load": lambda m, s, v, x, t: tm.data.load(v),
    "evaluate": lambda m, s, v, x, t: tm.lab.evaluate(m, v),
    "build": lambda m, s, v, x, t: tm.lab.build(DATA, v),
    "fit": lambda m, s, v, x, t: tm.lab.fit(s, DATA, 1, batch_size=v, progress=False),
    "fit data": lambda m, s, v, x, t: tm.lab.fit(s, v, 1, progress=False),
}


def everything(model, step):
    memory = {key: value.tobytes() for key, value in step.state().items()}
    generators = [str(g.bit_generator.state) for g in model.generators]
    return model.vector.data.tobytes(), memory, generators


@settings(max_examples=CALLS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(INTERFACE)), st.sampled_from(sorted(tm.STRATEGIES)), VALUES, X, TARGETS)
def test_a_random_call_works_or_is_refused_in_one_sentence(call, strategy, value, x, targets):
    model = make()
    step = tm.STRATEGIES[strategy](model, tm.Adam(0.01))
    step(GOOD_X, GOOD)
    before = everything(model, step)
    try:
        with np.errstate(all="ignore"):
            INTERFACE[call](model, step, value, x, targets)
    except ALLOWED as error:
        said = str(error)
        assert said and "\n" not in said, (call, said)
        assert everything(model, step) == before, (call, said)
    with contextlib.suppress(FloatingPointError):  # whatever happened, the step goes on
        step(GOOD_X, GOOD)
