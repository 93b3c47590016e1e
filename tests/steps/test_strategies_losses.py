"""The strategies on the losses: answers in closed form, what they learn, their limits, and losses without an answer.

The fixtures J0, H0, ORT and Q3 are those of the strategies on a Gram matrix.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tests.steps.test_adam_on_linear_losses import linear_losses
from tests.steps.test_strategies_gram import H0, J0, ORT, Q3, close, problem
from tinymtl.steps.gen_rate import lowest

EVERY = [tm.UncertaintyWeighting, tm.IMTLL, tm.SLAW, tm.FAMO, tm.DWA, tm.DTP, tm.RLW, tm.GLS, tm.STCH]
TWO = np.array([2.0, 5.0])


def made(strategy, tasks=2, **options):
    """A step whose `weigh` and `learn` are called with losses made up."""
    return strategy(problem(np.eye(tasks)), tm.SGD(0.1), **options)


def weights(strategy, L, **options):
    L = np.array(L, dtype=float)
    return made(strategy, len(L), **options).weigh(L)


def taught(step, losses):
    """The weights of one minibatch after another."""
    found = []
    for L in np.array(losses, dtype=float):
        found.append(step.weigh(L))
        step.learn(L, found[-1])
    return np.array(found)


# ------------------------------------------------------------ uncertainty weighting, GLS


def test_uncertainty_weighting_learns():
    step = made(tm.UncertaintyWeighting, lr=0.1)
    w, path, values = [], [], []
    for _ in range(3):
        w.append(step.weigh(TWO))
        values.append(w[-1] @ TWO + step.memory["s"].sum() / 2)
        step.learn(TWO, w[-1])
        path.append(step.memory["s"].copy())
    close(w[0], [0.5, 0.5], 0)
    close(values[0], 3.5, 0)
    close(path, [[0.05, 0.2], [0.0951229425, 0.3546826883], [0.1360490565, 0.4800316805]])
    for _ in range(2000):
        step.learn(TWO, step.weigh(TWO))
    close(step.weigh(TWO), [1 / 4, 1 / 10], 1e-12)
    close(step.weigh(TWO) @ TWO + step.memory["s"].sum() / 2, (1 + np.log(TWO)).sum() / 2, 1e-12)


def test_uncertainty_weighting_of_a_classification():
    """a = 1: w = e^(−s), which rests at 1/(2L); it starts where it is told to."""
    step = made(tm.UncertaintyWeighting, classification=["loss 2"], lr=0.1, start=-0.5)
    close(step.weigh(TWO), np.array([0.5, 1]) * np.exp(0.5), 1e-15)
    for _ in range(2000):
        step.learn(TWO, step.weigh(TWO))
    close(step.memory["s"], np.log([2, 10]), 1e-12)
    close(step.weigh(TWO), 0.5 / TWO, 1e-12)


def test_IMTL_L_is_uncertainty_weighting():
    """The same path of s for half the learning rate, and twice the weights; from s = 0 its value is 7."""
    one, two = made(tm.UncertaintyWeighting, lr=0.1), made(tm.IMTLL, lr=0.05)
    close(two.weigh(TWO), [1, 1], 0)
    close(two.weigh(TWO) @ TWO, 7, 0)
    for _ in range(50):
        close(two.weigh(TWO), 2 * one.weigh(TWO), 1e-12)
        one.learn(TWO, one.weigh(TWO))
        two.learn(TWO, two.weigh(TWO))
    close([one.memory["s"], two.memory["s"]], [[0.6546039746, 1.5485993167]] * 2)
    s, L = two.memory["s"], TWO
    close((np.exp(-s) * L + s).sum(), 2 * (np.exp(-s) * L / 2 + s / 2).sum(), 1e-12)


def test_uncertainty_weighting_has_no_bottom_below_0():
    step, values = made(tm.UncertaintyWeighting, 1, lr=1.0), []
    L = np.array([-0.1])
    for _ in range(6):
        step.learn(L, step.weigh(L))
        values.append(float((step.weigh(L) @ L + step.memory["s"] / 2)[0]))
    assert values == sorted(values, reverse=True)
    close(values[:6], [-0.36, -0.72, -1.2, -2.0, -4.0, -33.6], 0.05)
    step = tm.UncertaintyWeighting(linear_losses([[1.0]], start=[-0.1]), tm.SGD(0.0), lr=1.0)
    with pytest.raises(FloatingPointError, match="task 'loss 1': its weight is inf"):
        for _ in range(20):
            step()


def test_no_weight_decay_reaches_s():
    plain, decayed = (tm.SGD(0.0, weight_decay=decay) for decay in (0.0, 0.5))
    steps = [tm.UncertaintyWeighting(problem(J0), rule) for rule in (plain, decayed)]
    for step in steps:
        step()
    close(steps[0].memory["s"], steps[1].memory["s"], 0)


def test_GLS():
    w = weights(tm.GLS, TWO)
    close(w, [0.7905694150, 0.3162277660])
    close(w @ TWO, np.sqrt(10), 1e-15)
    close(weights(tm.GLS, [1e-9] * 40), np.full(40, 1 / 40), 1e-15)  # their product is 0
    h = 1e-6  # the gradient of the geometric mean
    mean = lambda L: np.exp(np.log(L).mean())  # noqa: E731
    close(w, [(mean(TWO + h * e) - mean(TWO - h * e)) / (2 * h) for e in np.eye(2)], 1e-9)
    close(weights(tm.GLS, [20, 5]) * [10, 1], w * np.sqrt(10), 1e-12)  # the direction has no unit, the length has
    resting = made(tm.UncertaintyWeighting, lr=0.1)
    for _ in range(2000):
        resting.learn(TWO, resting.weigh(TWO))
    close(resting.weigh(TWO) / w, [np.sqrt(0.1)] * 2, 1e-12)


# ------------------------------------------------------------ SLAW


def test_SLAW_by_hand():
    close(taught(made(tm.SLAW), [[4, 9], [2, 8], [3, 5]]), [[1, 1], [2 / 3, 4 / 3], [1.3510004003, 0.6489995997]])
    c, rng = np.array([1.0, 10, 0.1]), np.random.default_rng(0)
    common = rng.normal(size=150)
    found = taught(made(tm.SLAW, 3), common[:, None] * c + [5, -7, 100])
    close(found[1:], np.tile([0.2702702703, 0.027027027, 2.7027027027], (149, 1)))
    close(found.sum(axis=1), 3, 1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_SLAW_is_a_window(offset):
    """The plain variance of the first 1/(1 − β) losses, then the exponential one; also on top of a large number."""
    L = np.random.default_rng(1).normal(size=(60, 2)) * [1, 3]
    step = made(tm.SLAW, beta=0.95)
    found = taught(step, L + offset)
    for t in (2, 7, 20):
        inverse = 1 / L[:t].std(axis=0)
        close(found[t - 1], 2 * inverse / inverse.sum(), 1e-9 if offset == 0 else 1e-6)
    m, q = L[:20].mean(axis=0), (L[:20] ** 2).mean(axis=0)
    for each in L[20:]:
        m, q = 0.95 * m + 0.05 * each, 0.95 * q + 0.05 * each**2
    close(step.memory["seen"][2], q - m**2, 1e-9 if offset == 0 else 1e-6)


def closed_loop(J, steps, first=None, lr=1e-3):
    """SLAW with constant gradients: every loss falls along a line. The weights at the end, and the losses."""
    G, L, step = J @ J.T, np.zeros(len(J)), made(tm.SLAW, len(J))
    for t in range(steps):
        w = step.weigh(L) if t or first is None else np.array(first)
        step.learn(L, w)
        L = L - lr * G @ w
    return w, L


def test_SLAW_is_Nash_MTL_without_gradients():
    keys = {0.5923303169: J0, 0.261203875: H0, 4 / 7: ORT}
    draws = np.random.default_rng(2).normal(size=(6, 3, 6))
    for J in [*keys.values(), *draws]:
        w, L = closed_loop(J, 2000)
        alpha = tm.NashMTL(problem(J), tm.SGD(0.1)).weigh(J @ J.T, L).weights
        close(w / len(J), alpha / alpha.sum(), 5e-13)
        assert (L < 0).all()
    close([closed_loop(J, 2000)[0][0] / 2 for J in keys.values()], list(keys))


def test_SLAW_takes_a_rising_loss_for_a_falling_one():
    """Q3 from the weights (1, 1.1, 1.05): it locks where loss 2 rises for ever. From others it goes to Nash's."""
    w, L = closed_loop(Q3, 3000, first=[1, 1.1, 1.05])
    close(w / 3, [1 / 4, 1 / 4, 1 / 2])
    close(w / 3 * (Q3 @ Q3.T @ w / 3), [1 / 8, -1 / 8, 1 / 8])
    assert (np.sign(L) == [-1, 1, -1]).all()


def test_SLAW_on_a_plateau():
    """A loss that stays takes all."""
    losses = np.stack([np.full(10, 3.0), np.linspace(5, 1, 10)], axis=1)
    close(taught(made(tm.SLAW), losses)[-1], [1.99998, 1.6e-5], 5e-6)


def test_SLAW_on_moving_gradients():
    """Isotropic quadratics: it follows Nash's weights, 1/‖gₖ‖, and ends near the foot of the bisector."""
    model = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [4.0, 0.0]], start=[1.0, 3.0])
    step, x = tm.SLAW(model, tm.SGD(1e-4)), np.array([1.0, 3.0])
    for t in range(22_000):
        g = x - model.centers
        n = np.sqrt((g * g).sum(axis=1))
        (w,) = taught(step, [n * n / 2])
        if t >= 16_000:
            close(w, 2 / n / (1 / n).sum(), 3e-7)
        if x[1] < 0.05:
            break
        x = x - 1e-4 * w @ g
    close(x, [1.4626, 0.05], 3e-4)


# ------------------------------------------------------------ FAMO


def test_FAMO_by_hand():
    close(weights(tm.FAMO, TWO), [5 / 7, 2 / 7], 1e-15)
    delta = np.log(TWO) - np.log([1, 4])
    close(delta, [0.6931471806, 0.2231435513])
    gradient = np.array([0.1175009073, -0.1175009073])
    step = made(tm.FAMO)
    step.learn_from(delta)
    close(step.memory["xi"], -0.025 * gradient, 1e-11)
    adam = made(tm.FAMO, rule="adam")
    adam.learn_from(delta)
    close(adam.memory["xi"], [-0.025, 0.025], 1e-8)
    close(adam.weigh(np.array([1.0, 4.0])), [0.7918798894, 0.2081201106], 1e-8)
    xi = adam.memory["xi"].copy()
    adam.learn_from(delta)  # γξ is a part of the gradient
    z = np.exp(xi) / np.exp(xi).sum()
    second = z * (delta - z @ delta) + 0.01 * xi
    m, v = 0.9 * 0.1 * gradient + 0.1 * second, 0.999e-3 * gradient**2 + 1e-3 * second**2
    expected = xi - 0.025 * (m / (1 - 0.9**2)) / (np.sqrt(v / (1 - 0.999**2)) + 1e-8)
    close(adam.memory["xi"], expected, 1e-11)


@pytest.mark.parametrize("gamma, z", [(0.0, [0.3570057582, 0.6429942418]), (0.01, [0.3582227776, 0.6417772224])])
def test_FAMO_rests_where_MGDA_of_the_logarithms_is(gamma, z):
    H = J0 / TWO[:, None]
    step = made(tm.FAMO, gamma=gamma, lr=0.1)
    for _ in range(8000):
        e = np.exp(step.memory["xi"])
        step.learn_from(H @ H.T @ (e / e.sum()))
    close(e / e.sum(), z)
    if gamma == 0:
        close(e / e.sum(), tm.min_norm(H).weights)


def test_FAMO_sees_the_losses_after_its_step():
    """In whole steps: δ is the fall of this batch's log losses; its unit counts neither for ξ nor for the direction."""
    states = []
    for unit in (1.0, 1000.0):
        model = tm.problems.Quadratics([1.0, unit], [[0.0, 0.0], [3.0, 1.0]], start=[1.0, 4.0])
        step = tm.FAMO(model, tm.SGD(0.1 if unit == 1 else 0.0), gamma=0.0)
        before, report = model.losses().data, step()
        assert (report.trunk_forwards, report.trunk_backwards) == (2, 1)
        delta = np.log(before) - np.log(model.losses().data)
        assert unit > 1 or abs(delta[0] - delta[1]) > 0.01
        close(step.memory["xi"], -0.025 * 0.5 * (delta - delta.mean()), 1e-15)
        states.append(report.weights * [1, unit])
    close(states[1] / states[1].sum(), states[0] / states[0].sum(), 1e-12)


def test_FAMO_draws_the_same_masks_again():
    """With dropout and a learning rate of 0 nothing has changed; and whoever comes next draws what it would have."""
    x, y = np.random.default_rng(0).normal(size=(8, 4)), np.ones((8, 2)) * [1, 2]
    means = []
    for strategy in (tm.FAMO, tm.Averaged):
        norm = tm.nn.BatchNorm1d(6)
        trunk = tm.nn.Sequential(tm.nn.MLP([4, 6], rng=0), norm, tm.nn.Dropout(0.5, rng=3))
        tasks = [tm.Task(name, tm.nn.Linear(6, 1, rng=1), tm.mse_loss) for name in "ab"]
        step = strategy(tm.SharedBottom(trunk, tasks).to("float64"), tm.SGD(0.0))
        first, second = step(x, y), step(x, y)
        assert first.losses.tolist() != second.losses.tolist()
        means.append([*first.losses, *second.losses, *norm.running_mean.data])
        if strategy is tm.FAMO:
            close(step.memory["xi"], [0, 0], 0)
    close(*means, 0)


# ------------------------------------------------------------ DWA, DTP, RLW, STCH


def epochs(step, *means):
    for each in means:
        for share in (0.5, 1.5):  # two minibatches
            step.learn(np.array(each) * share, None)
        step.end_epoch()
    return step


def test_DWA_by_hand():
    step = made(tm.DWA)
    for each in ((4, 3), (2, 3)):
        close(step.weigh(TWO), [1, 1], 0)
        epochs(step, each)
    close(step.weigh(TWO), [0.8756469982, 1.1243530018])
    close(step.weigh(TWO), [1 - np.tanh(1 / 8), 1 + np.tanh(1 / 8)], 1e-15)
    scaled = epochs(made(tm.DWA), (40, 3), (20, 3))
    close(scaled.weigh(TWO), step.weigh(TWO), 1e-15)
    assert abs(epochs(made(tm.DWA), (5, 4), (3, 4)).weigh(TWO) - step.weigh(TWO)).max() > 0.01  # an offset counts
    close(epochs(made(tm.DWA, temperature=np.inf), (4, 3), (2, 3)).weigh(TWO), [1, 1], 0)
    close(epochs(step, (1, 1.5)).weigh(TWO), [1, 1], 1e-15)  # both halved: the epoch before the last is forgotten
    far = epochs(made(tm.DWA, temperature=0.5), (1, 100), (1, 1)).weigh(TWO)
    close(far - 1, np.tanh(0.99) * np.array([1, -1]), 1e-12)


def test_fit_tells_DWA_where_an_epoch_ends(tmp_path):
    data, rule = tm.data.load("attributes"), tm.Adam(0.01)
    options = {"batch_size": 256, "rng": 3}
    whole, part = (tm.DWA(tm.lab.build(data, [4]), rule) for _ in "ab")
    history = tm.lab.fit(whole, data, epochs=4, checkpoint=tmp_path / "whole.npz", **options)
    assert not whole.memory["count"].any()
    batches = -(-len(data.train) // 256)
    for name, epoch in (("last epoch", 3), ("epoch before", 2)):
        expected = np.array(history.train_losses[epoch])  # over rows; the last minibatch is smaller
        assert_allclose(whole.memory[name], expected, rtol=0.05)
    assert batches > 2 and abs(whole.weigh(np.ones(len(data.tasks))) - 1).max() > 1e-3
    tm.lab.fit(part, data, epochs=2, checkpoint=tmp_path / "part.npz", **options)
    resumed = tm.DWA(tm.lab.build(data, [4]), rule)
    tm.lab.fit(resumed, data, epochs=4, checkpoint=tmp_path / "part.npz", resume=True, **options)
    close(resumed.model.vector.data, whole.model.vector.data, 0)
    close(resumed.memory["last epoch"], whole.memory["last epoch"], 0)


def test_DTP_by_hand():
    def weight(kappa, gamma):
        return weights(tm.DTP, [1.0], kpi=lambda L: [kappa], gamma=gamma)[0]

    found = [weight(0.5, 1), weight(0.5, 2), weight(0.9, 1), weight(0.1, 2), weight(1, 1)]
    close(found, [0.3465735903, 0.1732867951, 0.0105360516, 1.8650939253, 0])
    kappas = np.linspace(0.01, 1, 100)
    for gamma in (0.0, 1.0, 2.0):
        assert (np.diff([weight(kappa, gamma) for kappa in kappas]) < 0).all()
    close(weights(tm.DTP, [0.5, 2.0]), (1 - np.exp([-0.5, -2])) * [0.5, 2], 1e-15)  # κ = e^(−L)
    kpis = iter([[0.5, 0.9], [0.9, 0.9]])
    step = made(tm.DTP, kpi=lambda L: next(kpis))
    taught(step, [TWO, TWO])
    close(step.memory["kpi"], [0.54, 0.9], 1e-15)


def test_RLW():
    """Weights that add up to 1, equal on average, with the known variance; the Dirichlet draw's is 1/12."""
    nodes, parts = np.polynomial.hermite_e.hermegauss(80)  # of z₁ − z₂ ~ N(0, 2)
    variance = parts @ (1 / (1 + np.exp(-np.sqrt(2) * nodes)) - 0.5) ** 2 / np.sqrt(2 * np.pi)
    close(variance, 0.0684190770)
    for draw, expected in (("normal", variance), ("dirichlet", 1 / 12)):
        step = made(tm.RLW, draw=draw, rng=1)
        found = np.array([step.weigh(TWO) for _ in range(20_000)])
        close(found.sum(axis=1), 1, 1e-15)
        assert (found > 0).all()
        close(found.mean(axis=0), [0.5, 0.5], 0.006)  # four standard deviations
        close(found[:, 0].var(), expected, 0.003)
        again = made(tm.RLW, draw=draw, rng=1)
        close([again.weigh(TWO) for _ in range(5)], found[:5], 0)


def test_STCH_by_hand():
    w = weights(tm.STCH, TWO, mu=1.0)
    close(w, [0.0912127619, 0.4087872381])
    value = lambda L, mu: mu * np.log(np.exp(np.array(L) / 2 / mu).sum())  # noqa: E731
    close([value(TWO, 1.0), value([2, 2], 1.0)], [2.7014132780, 1 + np.log(2)])
    h = 1e-5
    close(w, [(value(TWO + h * e, 1.0) - value(TWO - h * e, 1.0)) / (2 * h) for e in np.eye(2)])
    close(weights(tm.STCH, TWO)[0], 1.53e-7, 5e-10)
    close(weights(tm.STCH, TWO, mu=1e6), [1 / 4, 1 / 4], 1e-6)
    close(weights(tm.STCH, TWO, mu=1e9), [1 / 4, 1 / 4], 1e-9)
    close(weights(tm.STCH, TWO, mu=1e-3), [0, 1 / 2], 0)  # Tchebycheff: the worst loss alone
    close(weights(tm.STCH, [2, 2], mu=1.0), [1 / 4, 1 / 4], 0)
    close(weights(tm.STCH, [1e5, 1e5]), [1 / 4, 1 / 4], 0)
    for mu in (0.1, 1.0, 10.0):
        assert 5 / 2 <= value(TWO, mu) <= 5 / 2 + mu * np.log(2)


def test_STCH_with_weights_an_ideal_and_units():
    softmax = np.exp([0.2 * 1, 0.8 * 5]) / np.exp([0.2 * 1, 0.8 * 5]).sum()
    found = weights(tm.STCH, TWO, mu=1.0, weights=[1, 4], ideal={"loss 1": 1.0})
    close(found, np.array([0.2, 0.8]) * softmax, 1e-15)
    assert made(tm.STCH, weights={"loss 1": 1, "loss 2": 4}).equivariant
    assert not made(tm.STCH, weights=[1, 4]).equivariant  # they go by the tasks' places
    step = made(tm.STCH, scale="first", mu=0.25)
    close(step.weigh(TWO), [0.25 / 2, 0.25 / 5], 1e-15)
    taught(step, [TWO, [1, 4]])
    e = np.exp(np.array([1 / 2, 4 / 5]) / 2 / 0.25)
    close(step.weigh(np.array([1.0, 4.0])), e / e.sum() / 2 / TWO, 1e-15)


def test_STCH_as_in_the_authors_code():
    """log(L/nadir) after a warm-up; at μ = 1 that is the direction of Σ Lₖ/nadirₖ."""
    step = made(tm.STCH, scale="log", mu=1.0)
    for epoch in range(5):
        mean = np.array([8, 10] if epoch == 4 else [1, 1])
        taught(step, [0.5 * mean])
        close(step.weigh(TWO), 1 / TWO, 0)
        taught(step, [1.5 * mean])
        step.end_epoch()
    L, nadir = TWO, np.array([8, 10])
    close(step.weigh(L), 2 / (L / nadir).sum() / nadir, 1e-15)
    epochs(step, [1, 1])
    close(step.weigh(L), 2 / (L / nadir).sum() / nadir, 1e-15)
    sharp = made(tm.STCH, scale="log", mu=0.01)
    sharp.memory |= {"epoch": 6, "sum": nadir * 3.0, "count": np.full(2, 3.0)}
    close(sharp.weigh(L), [0, 2 / 5], 1e-12)  # L/nadir = (¼, ½)


def test_STCH_reaches_the_middle_of_a_concave_front():
    """No fixed weights rest there: from a start beside it they run to an end."""
    ends = {}
    for name, strategy in (("smooth", lambda m, o: tm.STCH(m, o, mu=0.01)), ("fixed", tm.Averaged)):
        model = tm.problems.FonsecaFleming([0.3, 0.1])
        step = strategy(model, tm.SGD(0.02))
        for _ in range(2000):
            step()
        ends[name] = model.theta.data.copy()
    assert abs(ends["smooth"]).max() < 0.02 and abs(ends["fixed"]).min() > 0.6


# ------------------------------------------------------------ AdaTask


def adatask(slopes, steps, lr=0.01):
    model = linear_losses(slopes)
    step = tm.STRATEGIES["adatask"](model, tm.Adam(lr=lr))
    for _ in range(steps):
        step()
    return model.theta.data


def test_AdaTask_is_one_group_with_moments_per_task():
    """Each task moves each coordinate by lr: votes, which cancel; its first step counts signs and no sizes."""
    close(adatask([[1], [2]], 10), [-0.2], 1e-8)
    close(adatask([[3], [-1]], 10), [0], 1e-8)
    assert abs(adatask([[1], [-100]], 10)) < 2e-9
    pooled = linear_losses([[1.0], [-100.0]])
    step = tm.Averaged(pooled, tm.Adam(lr=0.01), reduction="sum")
    for _ in range(10):
        step()
    close(pooled.theta.data, [0.1], 1e-8)
    J = np.array([[1.0, 1], [1, 1], [-4, 1]])
    d = -adatask(J, 1, lr=1.0)
    close(d, [1, 3], 1e-7)
    close(J @ d, [4, 4, -1], 1e-6)  # the third loss rises, though (0, 1) serves all
    close(adatask(J * [[1e3], [1], [1e-3]], 5), adatask(J, 5), 1e-6)
    rng = np.random.default_rng(3)
    for J in rng.normal(size=(20, 2, 5)):
        assert (J @ -adatask(J, 1) > -1e-9).all()  # two tasks never conflict there
    model = tm.problems.Quadratics([[1.0, 9.0], [4.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]], start=[3.0, -1.0])
    twin = tm.problems.Quadratics([[1.0, 9.0], [4.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]], start=[3.0, -1.0])
    steps = tm.STRATEGIES["adatask"](model, tm.Adam(0.05)), [tm.Adam(0.05) for _ in range(2)]
    theta, memories = [tm.tensor(twin.theta.data.copy()) for _ in range(2)], None
    memories = [rule.init([theta[k]]) for k, rule in enumerate(steps[1])]
    for _ in range(50):  # by hand: two optimizers at one point, and the sum of what they do
        here, moved = theta[0].data.copy(), 0.0
        for k, rule in enumerate(steps[1]):
            theta[k].data[...] = here
            rule.update([theta[k]], [twin.curvatures[k] @ (here - twin.centers[k])], memories[k])
            moved = moved + theta[k].data - here
        theta[0].data[...] = here + moved
        steps[0]()
    close(model.theta.data, theta[0].data, 1e-12)


# ------------------------------------------------------------ GeN


def test_GeN_finds_the_bottom_of_a_parabola():
    H, theta, d = np.diag([1.0, 3.0]), np.array([2.0, -1.0]), np.array([1.0, -2.0])
    loss = lambda x: x @ H @ x / 2  # noqa: E731
    for eta in (1e-3, 0.1, 10):
        close(lowest(eta, loss(theta + eta * d), loss(theta), loss(theta - eta * d)), 8 / 13)
    quartic = lambda eta: lowest(eta, (1 + 4 * eta) ** 4, 1.0, (1 - 4 * eta) ** 4)  # noqa: E731
    for eta in (0.1, 0.01):  # 0.0941558, 0.0834444
        close(quartic(eta), (16 + 256 * eta**2) / (192 + 512 * eta**2))
    close(quartic(1e-4), 1 / 12, 1e-7)
    assert lowest(0.1, 1.0, 1.0, 1.2) is None and lowest(0.1, 1.0, 1.0, 0.9) is None


RULES = [tm.SGD(0.1), tm.SGD(0.1, momentum=0.9), tm.Adam(0.1), tm.AdamW(0.1, weight_decay=0.1)]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", ["averaged", "mgda", "famo", "alternating"])
def test_GeN_makes_the_best_of_a_step(name, rule):
    """keep = 0: each update ends where the mean loss along it is least, up to a factor of 2 for f."""
    model = tm.problems.Quadratics([[1.0, 3.0], [2.0, 1.0]], [[0.0, 0.0], [1.0, 2.0]], start=[6.0, -9.0])
    step = tm.GeN(tm.STRATEGIES[name](model, rule), keep=0.0)
    for _ in range(4):
        f, start = step.memory["factor"], model.theta.data.copy()
        for stage in step.stages():
            if stage.name == "update":
                mine = stage.update.group
                moved = (model.theta.data - start) / step.memory["factor"]
                H = model.curvatures[mine].mean(axis=0)
                slope = np.mean([model.curvatures[k] @ (start - model.centers[k]) for k in mine], axis=0)
                best = -(slope @ moved) / (moved @ H @ moved)
                expected = min(max(best, f / 2), 2 * f) if slope @ moved < 0 else f
                close(step.memory["factor"], expected)
                f, start = step.memory["factor"], model.theta.data.copy()


def test_GeN_keeps_nine_tenths():
    model = tm.problems.Quadratics([2.0], [[0.0]], start=[1.0])
    step = tm.GeN(tm.Averaged(model, tm.SGD(0.25)))
    report = step()
    close(step.memory["factor"], 0.9 + 0.1 * 2, 1e-15)
    close(model.theta.data, [1 - 1.1 * 0.5], 1e-15)
    assert (report.trunk_forwards, report.trunk_backwards) == (3, 1)
    for _ in range(200):
        step()
    assert abs(step.memory["factor"] - 2) < 0.3 and abs(model.theta.data) < 1e-6


def test_GeN_passes_on_where_an_epoch_ends():
    step = made(tm.DWA)
    step.learn(TWO, None)
    tm.GeN(step).end_epoch()
    close(step.memory["last epoch"], TWO, 0)


def test_GeN_of_a_wrong_thing():
    with pytest.raises(TypeError, match="GeN makes a step's length right: give a Step, not a SGD"):
        tm.GeN(tm.SGD(0.1))
    with pytest.raises(ValueError, match="keep is 1.0: give a number from 0 to below 1"):
        tm.GeN(tm.Averaged(problem(J0), tm.SGD(0.1)), keep=1.0)


@pytest.mark.parametrize("name", ["averaged", "nash", "alternating", "dwa"])
def test_GeN_keeps_what_a_strategy_keeps(name, capsys):
    tm.check_strategy(lambda model, optimizer: tm.GeN(tm.STRATEGIES[name](model, optimizer)))


def test_a_run_with_GeN_resumes_and_knows_its_strategy(tmp_path):
    data = tm.data.load("attributes")
    step = lambda c: tm.GeN(tm.CAGrad(tm.lab.build(data, [4]), tm.Adam(0.01), c=c))  # noqa: E731
    options = {"batch_size": 512, "checkpoint": tmp_path / "run.npz"}
    tm.lab.fit(step(0.4), data, epochs=1, **options)
    tm.lab.fit(step(0.4), data, epochs=2, resume=True, **options)
    with pytest.raises(ValueError, match="step"):
        tm.lab.fit(step(0.5), data, epochs=3, resume=True, **options)


# ------------------------------------------------------------ all of them


@pytest.mark.parametrize("strategy", EVERY)
def test_one_task_and_forty(strategy):
    assert weights(strategy, [3.0])[0] == pytest.approx({
        tm.UncertaintyWeighting: 0.5, tm.DTP: 3 * (1 - np.exp(-3)),
    }.get(strategy, 1), abs=1e-15)  # fmt: skip
    L = 10.0 ** np.linspace(-2, 2, 40)
    for seed in range(3):
        w = weights(strategy, np.random.default_rng(seed).permutation(L))
        assert w.shape == (40,) and np.isfinite(w).all() and (w >= 0).all()
    total = {tm.SLAW: 40, tm.DWA: 40, tm.FAMO: 1, tm.RLW: 1, tm.STCH: 1 / 40}.get(strategy)
    assert total is None or w.sum() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("strategy", EVERY)
def test_a_fixed_sum_may_raise_a_loss(strategy):
    """Gradients (−3, 0) and (1, ½) at equal losses: who weighs losses alone cannot know. v = (−1, ¼), g₂·v = −7/8."""
    w = weights(strategy, [1.0, 1.0])
    J = np.array([[-3, 0], [1, 0.5]])
    v = J.T @ w / w.sum()
    if strategy is not tm.RLW:
        close(v, [-1, 0.25], 1e-15)
        close(J[1] @ v, -0.875, 1e-15)
    assert J[1] @ v < 0


@pytest.mark.parametrize("strategy", [s for s in EVERY if s.equivariant])
def test_the_order_of_the_tasks(strategy):
    """Of three minibatches, each an epoch of its own."""
    losses, order = np.array([[3.0, 1, 2], [2, 2, 1], [1, 1, 1.5]]), [2, 0, 1]
    found = []
    for each in (losses, losses[:, order]):
        step = made(strategy, 3)
        for L in each[:2]:
            if strategy is tm.FAMO:
                step.learn_from(L - 1)
            else:
                step.learn(L, step.weigh(L))
            step.end_epoch()
        found.append(step.weigh(each[2]))
    close(found[1], found[0][order], 1e-12)


REFUSALS = [
    (tm.GLS, {}, "GLS takes the logarithm of each loss, but that of task 'loss 2' is 0.0"),
    (tm.FAMO, {}, "FAMO takes the logarithm of each loss, but that of task 'loss 2' is 0.0"),
    (tm.STCH, {"scale": "first"}, "STCH with scale='first' divides by each first loss, but that of task 'loss 2' is 0"),
    (tm.STCH, {"scale": "log"}, "STCH with scale='log' takes the logarithm of each loss, but that of task 'loss 2'"),
    (tm.DTP, {"kpi": lambda L: [0.5, 0.0]}, "DTP takes indicators above 0 and up to 1, but that of task 'loss 2' is 0"),
    (tm.DTP, {"kpi": lambda L: [0.5, 1.1]}, "DTP takes indicators above 0 and up to 1, but that of task 'loss 2' is 1"),
    (tm.DTP, {"kpi": lambda L: [0.5]}, r"kpi must return 2 numbers, one per task in self.group; it returned \(1,\)"),
]


@pytest.mark.parametrize("strategy, options, sentence", REFUSALS, ids=lambda value: str(value)[:30])
def test_a_loss_without_an_answer_is_refused(strategy, options, sentence):
    """In whole steps: the task is named, and nothing has moved or been learned."""
    model = tm.problems.Quadratics([1.0, 1.0], [[1.0], [0.0]], start=[0.0])
    step = strategy(model, tm.Adam(0.1), **options)
    before = {key: value.tobytes() for key, value in step.state().items()}
    with pytest.raises(ValueError, match=sentence):
        step()
    assert model.theta.data.tolist() == [0] and step.group == [0, 1]
    assert {key: value.tobytes() for key, value in step.state().items()} == before


@pytest.mark.parametrize("strategy", EVERY)
def test_nothing_is_learned_if_the_optimizer_refuses(strategy):
    """Some learn just before the update: they go back as well."""
    step = strategy(problem(J0), tm.SGD(lr=lambda t: 0.1 if t < 3 else np.nan))
    step(), step()
    before = {key: value.tobytes() for key, value in step.state().items()}
    with pytest.raises(ValueError, match="the learning rate of update 3"):
        step()
    assert {key: value.tobytes() for key, value in step.state().items()} == before


def test_what_does_not_divide_by_a_loss_takes_one_of_0():
    for strategy in (tm.UncertaintyWeighting, tm.SLAW, tm.DWA, tm.DTP, tm.RLW, tm.STCH):
        model = tm.problems.Quadratics([1.0, 1.0], [[1.0], [0.0]], start=[0.0])
        assert strategy(model, tm.SGD(0.1))().losses[1] == 0 and model.theta.data > 0


def test_DWA_refuses_to_divide_by_0():
    step = epochs(made(tm.DWA), [1, 0], [1, 1])
    with pytest.raises(ValueError, match="DWA divides by the mean loss of an epoch, but that of task 'loss 2' is 0.0"):
        step.weigh(TWO)


def test_FAMO_goes_back_if_a_loss_is_0_after_its_step():
    model = tm.problems.Quadratics([1.0, 1.0], [[0.0], [0.0]], start=[1.0])
    step = tm.FAMO(model, tm.SGD(1.0, momentum=0.5))  # to the common optimum in one step
    with pytest.raises(ValueError, match="logarithm of each loss after the update, but that of task 'loss 1' is 0.0"):
        step()
    assert model.theta.data.tolist() == [1] and not step.memory["xi"].any() and "all" not in step.memory


@pytest.mark.parametrize(
    ("strategy", "options", "sentence"),
    [
        (tm.UncertaintyWeighting, {"lr": 0.0}, "start is 0.0 and lr is 0.0: give a finite start and a positive lr"),
        (tm.UncertaintyWeighting, {"classification": ["loss 3"]}, "unknown classification task 'loss 3': did you mean"),
        (tm.SLAW, {"beta": 1.0}, "beta is 1.0 and eps is 1e-05: give 0 ≤ beta < 1 and a positive eps"),
        (tm.FAMO, {"gamma": -1.0}, "lr is 0.025 and gamma is -1.0: give a positive lr, and a gamma of 0 or more"),
        (tm.FAMO, {"rule": "sgd"}, "unknown rule 'sgd': use 'plain' or 'adam'"),
        (tm.DWA, {"temperature": 0.0}, "temperature is 0.0: give a positive number"),
        (tm.DTP, {"rate": 0.0}, "gamma is 1.0 and rate is 0.0: give a gamma of 0 or more, and 0 < rate ≤ 1"),
        (tm.RLW, {"draw": "uniform"}, "unknown draw 'uniform': did you mean 'normal'"),
        (tm.STCH, {"mu": 0.0}, "mu is 0.0: give a positive number, such as 0.1"),
        (tm.STCH, {"ideal": {"loss 3": 1.0}}, "unknown task in ideal 'loss 3': did you mean"),
        (tm.STCH, {"weights": [1.0]}, "weights are 2 finite numbers"),
        (tm.STCH, {"scale": "log", "weights": [1, 2]}, "scale='log' is the authors' code, which has neither weights"),
    ],
    ids=str,
)
def test_options_are_refused(strategy, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(strategy, **options)


# ------------------------------------------------------------ missing labels

KEPT = {
    tm.UncertaintyWeighting: {},
    tm.SLAW: {},
    tm.FAMO: {"rule": "adam"},
    tm.DWA: {},
    tm.DTP: {},
    tm.STCH: {"scale": "first", "weights": [1.0, 5.0, 2.0]},
}


@pytest.mark.parametrize("strategy", [*KEPT, tm.GLS])
def test_what_is_kept_of_a_task_waits_for_its_labels(strategy, network, batch):
    """Who is absent keeps what is known of it; the others are weighed as if it did not exist."""
    x, labels = batch(3)
    options = KEPT.get(strategy, {})
    step = strategy(network(3), tm.SGD(0.1), **options)
    fewer = options | ({"weights": [1.0, 2.0]} if "weights" in options else {})
    alone = strategy(network(2, order=[0, 2]), tm.SGD(0.1), **fewer)
    gap = labels | {"t1": np.full(len(x), np.nan)}
    for _ in range(3):
        report = step(x, gap)
        smaller = alone(x, {name: labels[name] for name in ("t0", "t2")})
        step.end_epoch(), alone.end_epoch()
        assert np.isnan(report.weights).tolist() == [False, True, False]
        close(report.weights[[0, 2]], smaller.weights, 1e-12)
    new = strategy(network(3), tm.SGD(0.1), **options)
    for name, value in new.memory.items():
        if name not in ("all", "epoch"):
            assert np.array_equal(step.memory[name][..., 1], value[..., 1], equal_nan=True), name
            assert not np.array_equal(step.memory[name], value, equal_nan=True) or name in ("sum", "count"), name
    known = {name: value[..., 1].copy() for name, value in step.memory.items() if name not in ("all", "epoch")}
    step(x, labels)
    step(x, gap)
    assert not known or any(not np.array_equal(known[name], step.memory[name][..., 1]) for name in known)


def test_SLAW_gives_a_newcomer_the_weight_1(network, batch):
    x, labels = batch(3)
    step = tm.SLAW(network(3), tm.SGD(0.1))
    for _ in range(4):
        step(x, labels | {"t1": np.full(len(x), np.nan)})
    w = step(x, labels).weights
    close(w[1], 1, 0)
    close(w.sum(), 3, 1e-12)


def test_DWA_waits_for_two_epochs_of_a_task():
    step = epochs(made(tm.DWA, 3), (4, 3, 1), (2, 3, 2))
    step.group = [0, 1]
    epochs(step, (1, 3))  # an epoch without loss 3
    step.group = [0, 1, 2]
    r = np.array([1 / 2, 1, 2])
    close(step.weigh(np.ones(3)), 3 * np.exp(r / 2) / np.exp(r / 2).sum(), 1e-15)
    close(step.memory["last epoch"], [1, 3, 2], 1e-15)
    close(step.memory["epoch before"], [2, 3, 1], 1e-15)


def test_fixed_weights_are_the_averaged_step_s():
    fixed = tm.Averaged(problem(np.eye(2)), tm.SGD(0.1), weights={"loss 2": 3, "loss 1": 1})
    close(fixed.weigh(TWO), [1 / 4, 3 / 4], 0)
    summed = tm.Averaged(problem(np.eye(2)), tm.SGD(0.1), weights=[1, 3], reduction="sum")
    close(summed.weigh(TWO), [1, 3], 0)
