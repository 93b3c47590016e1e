"""lessons/strategies.md: every counterexample holds, the search finds all that are known, and no proof is refuted."""

import functools
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinymtl as tm
from tinymtl.cli import main
from tinymtl.lab.promises import page
from tinymtl.lab.promises.page import cell, put_into, read, recomputed, table, written
from tinymtl.lab.promises.proofs import ELSEWHERE, PROOFS
from tinymtl.lab.promises.properties import MARGIN, PROPERTIES
from tinymtl.lab.promises.rules import Point, Rule, lengths
from tinymtl.lab.promises.search import GRIDS, grid, is_telling, pasts, search, size

LESSONS = Path(__file__).parents[2] / "lessons"
PAGE = (LESSONS / "strategies.md").read_text(encoding="utf-8")
SECTIONS = {name: text for name, text in re.findall(r"^### .*? \(`([\w-]+)`\)\n\n((?:- .*\n)+)", PAGE, re.M)}
LINES = [
    (name, *re.match(r"- (\S+) \*\*(.+?)\*\*: (.*?)(?:\. Elsewhere: .*)?$", line).groups())
    for name, text in SECTIONS.items()
    for line in text.splitlines()
]
BROKEN = [(name, mark, property_name, line) for name, mark, property_name, line in LINES if mark.startswith("✗")]
CLAIMS = re.findall(r"^\d+\. (.*(?:\n   .*)*)", PAGE.split("## Claims of papers and codes that fail")[1], re.M)


# ------------------------------------------------------------ the page


def test_the_page_has_every_strategy_and_every_property():
    moving = [name for name, entry in tm.STRATEGIES.items() if Rule(entry).has_v]
    assert list(SECTIONS) == moving
    assert [(name, p) for name, _, p, _ in LINES] == [(name, p) for name in moving for p in PROPERTIES]
    for holds in PROPERTIES.values():
        assert " ".join(holds.__doc__.split()) in PAGE


def test_the_table_is_what_the_lines_say():
    marks = {(name, p): mark for name, mark, p, _ in LINES}
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == [entry.label for entry in tm.STRATEGIES.values()]
    for name, row in zip(tm.STRATEGIES, rows, strict=True):
        assert row[1:] == [marks.get((name, p), "–") for p in PROPERTIES]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_counterexample_is_what_the_strategy_answers_today(name):
    for strategy, mark, property_name, line in BROKEN:
        if strategy == name:
            assert recomputed(name, property_name, line) == line
            at = read(line)
            assert ("°" in mark) is not is_telling(property_name, Rule(tm.STRATEGIES[name])(at))
            assert mark[1:].rstrip("°") == ("" if len(at.losses) == 2 else "₂₃₄"[len(at.losses) - 2])


def numbers(text):
    """The vector that follows a name: fractions stay exact."""
    return [Fraction(x.strip().replace("−", "-")) for x in text.split(",")]


@pytest.mark.parametrize("name", SECTIONS)
def test_the_first_v_of_a_line_is_its_weights_times_its_gradients(name):
    """By hand: the line's own numbers, in fractions; decimals have four digits."""
    for strategy, _, _, line in BROKEN:
        if strategy == name and "D₁" not in line:
            g = [numbers(text) for text in re.findall(r"g[₁-₉] = \(([^)]*)\)", line.split(": ")[0])]
            w, v = (numbers(re.search(rf" {letter} = \(([^)]*)\)", line)[1]) for letter in "wv")
            product = [sum(a * h[j] for a, h in zip(w, g, strict=True)) for j in range(len(v))]
            reach = sum(abs(float(a)) * max(map(abs, map(float, h))) for a, h in zip(w, g, strict=True))
            assert_allclose([float(x) for x in product], [float(x) for x in v], atol=6e-4 * reach)
            if all("." not in text for text in (re.search(r" w = \([^)]*\), v = \([^)]*\)", line)[0],)):
                assert product == v, line


def test_every_tick_has_a_proof_and_every_proof_a_tick():
    ticks = {(name, p): line for name, mark, p, line in LINES if mark == "✓"}
    assert ticks == {(name, p): text for name in SECTIONS for p, text in PROOFS.get(name, {}).items()}
    part = {(name, p) for name, mark, p, _ in LINES if mark.endswith("°")}
    assert {(name, p) for name in SECTIONS for p in ELSEWHERE.get(name, {})} <= part


def test_the_figure_is_there_and_in_grey():
    from matplotlib.image import imread

    pixels = imread(LESSONS / "figures" / "strategies.png")[..., :3]
    assert pixels.shape[1] > 900
    assert np.ptp(pixels, axis=-1).max() < 0.01


# ------------------------------------------------------------ the search


def imtl_g(G, L):
    """Equal cosines with Σ αₖ = 1."""
    n = np.sqrt(G.diagonal())
    alpha = np.linalg.solve(G / np.outer(n, n), np.ones(len(G))) / n
    return alpha / alpha.sum()


IMTL_G = functools.partial(tm.GradientWeighted, weigh=imtl_g)

#: STRATEGIES: a counterexample's number, the strategy, the property, and the size of the one that was found by hand.
KNOWN = [
    ("CX1", "cagrad", "raises no loss", (2, 2, 2)),
    ("CX4", "ngdiff", "raises no loss", (3, 3, 2)),
    ("CX4", "db-mtl", "raises no loss", (3, 3, 2)),
    ("CX3", "slaw", "raises no loss", (3, 3, 2)),
    ("CX5", "uncertainty", "bounded", (2, 2, 1)),
    ("CX7", "pcgrad", "raises no loss", (3, 3, 2)),
    ("CX8", IMTL_G, "raises no loss", (3, 3, 9)),
    ("CX9", "nash", "continuous", (2, 2, 1)),
    ("CX10", "fairgrad", "bounded", (2, 3, 6)),
    ("CX11", "aligned", "raises no loss", (2, 2, 3)),
    ("CX12", "aligned", "stops only at Pareto", (2, 2, 1)),
    ("CX12", "aligned", "continuous", (2, 2, 1)),
    *(("CX13", name, "raises no loss", (2, 2, 6)) for name in ("averaged", "uncertainty", "famo", "gls")),
    ("CX14", "dualproj", "linear", (2, 2, 2)),
    ("CX15", "gradvac", "raises no loss", (2, 3, 6)),
    ("CX16", "sdmgrad", "raises no loss", (2, 2, 100)),
    ("CX18", "config", "raises no loss", (4, 2, 3)),
    *(("CX20", name, "unit: direction", (2, 2, 4)) for name in ("mgda", "cagrad", "upgrad", "pcgrad", "fairgrad")),
    ("CX21", "aligned", "unit: direction", (2, 2, 2)),
    ("1(b)", "mgda-ub", "raises no loss", (2, 2, 2)),
]


@pytest.mark.parametrize("number, strategy, property_name, known", KNOWN, ids=lambda value: str(value)[:20])
def test_the_search_finds_what_was_found_by_hand_or_smaller(number, strategy, property_name, known):
    rule = Rule(tm.STRATEGIES[strategy] if isinstance(strategy, str) else strategy)
    sizes, draws = page.QUICK if property_name in ELSEWHERE.get(str(strategy), {}) else (GRIDS, page.DRAWS)
    found = search(rule, [property_name], draws, sizes)[property_name]
    seen = found.seen
    assert size(seen.answers[0].at)[:3] <= known
    if isinstance(strategy, str):  # the page has what the search finds
        expected = (cell(property_name, found), written(seen))
        assert [row[1::2] for row in BROKEN if (row[0], row[2]) == (strategy, property_name)] == [expected]


@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "gradvac"])
def test_no_proof_is_refuted(name):
    """A reduced search; the whole one is slow."""
    rule = Rule(tm.STRATEGIES[name])
    found = search(rule, PROOFS.get(name, {}), draws=6, sizes=() if rule.remembers else GRIDS[:1])
    assert {p: written(one.seen) for p, one in found.items() if one.seen is not None} == {}


def test_a_strategy_of_ones_own_is_searched_as_well():
    """The longest gradient alone: it raises the others' losses, with three tasks their mean, and it jumps."""
    longest = functools.partial(tm.GradientWeighted, weigh=lambda G, L: 1.0 * (G.diagonal() >= G.diagonal().max()))
    found = search(Rule(longest), draws=0)
    kept = {p for p, one in found.items() if one.seen is None}
    assert kept == {"order of the tasks", "stops only at Pareto", "bounded"}
    assert cell("raises no loss", found["raises no loss"]) == "✗"


def test_it_finds_the_same_again():
    first, second = (search(Rule(tm.NGDiff), ["mean falls"], 100, ())["mean falls"].seen for _ in range(2))
    assert written(first) == written(second)


def test_small_points_are_each_gram_matrix_once():
    for K, n, largest in GRIDS[:5]:
        every = {tuple(sorted(map(tuple, np.round(J @ J.T, 6).tolist()))) for J in grid(K, n, largest)}
        assert len(every) > 5 and all(abs(J).max() <= largest and J.shape == (K, n) for J in grid(K, n, largest))
    # two tasks, numbers up to 1: lengths 0, 1 or √2 and the products that they allow, but not both 0
    pairs = {tuple(sorted((int(J[0] @ J[0]), int(J[1] @ J[1])))) + (int(J[0] @ J[1]),) for J in grid(2, 2, 1)}
    assert pairs == {
        (0, 1, 0), (0, 2, 0), (1, 1, -1), (1, 1, 0), (1, 1, 1), (1, 2, -1), (1, 2, 1), (2, 2, -2), (2, 2, 0), (2, 2, 2)
    }  # fmt: skip
    assert len(grid(2, 2, 1)) == len(pairs)


def test_nothing_counts_within_the_margin():
    """A v that is off by half the margin is no violation, one that is off by twice the margin is."""
    J = np.array([[1.0, 0.0], [0.0, 1.0]])
    for part, broken in ((0.5, False), (2.0, True)):
        tilted = np.array([1.0, -part * MARGIN])
        rule = Rule(functools.partial(tm.GradientWeighted, weigh=lambda G, L, w=tilted: w))
        (seen,) = PROPERTIES["raises no loss"](rule, rule(Point(J, np.ones(2))))
        assert (seen.excess > 0.0) == broken


def test_pcgrads_mean_is_over_all_orders():
    """STRATEGIES: (17/10, 7/3, 5/2) on Q3, over all 8 combinations of orders."""
    Q3 = np.array([[-1.0, 2, 0], [1, -1, -1], [0, 0, 1]])
    assert_allclose(Rule(tm.STRATEGIES["pcgrad"])(Point(Q3, np.ones(3))).weights, [1.7, 7 / 3, 2.5], atol=1e-12)


def test_a_past_is_training():
    """GradVac fades to the plain sum; the memory of one point does not leak into the next."""
    H0, rule = np.array([[2.0, 2], [0, -1]]), Rule(tm.STRATEGIES["gradvac"])
    first = rule(Point(H0, np.ones(2)))
    later = rule(Point(H0, np.ones(2), past=Point(H0, np.ones(2))))
    assert_allclose(first.weights, [1.25, 3])
    assert_allclose(later.weights, [1, 1], atol=1e-3)
    assert (rule(Point(H0, np.ones(2))).weights == first.weights).all()


def test_what_is_weighed_at_z_is_judged_at_theta():
    """v_Z = (1, 0), which lowers both losses at Z; g₁ = (3, 1), g₂ = (−1, −1), v = (1, 0) at θ."""
    rule = Rule(tm.MGDAUB)
    here = rule(Point(np.array([[1.0, 1], [1, -1]]), np.ones(2), np.array([[1.0, 0], [2, 1]])))
    (seen,) = PROPERTIES["raises no loss"](rule, here)
    assert seen.excess > 0.0 and seen.inequality() == "g₂·v = −1 < 0"
    (seen,) = PROPERTIES["mean falls"](rule, here)
    assert seen.excess < 0.0


def test_written_lines_are_read():
    at = Point(np.array([[2.0, -1], [0, 3]]), np.array([1.0, 2.0]))
    there, elsewhere = replace(at, past=at), replace(at, past=pasts(2)[3])
    for name, asked in (
        ("gradnorm", at), ("gradnorm", there), ("uncertainty", elsewhere),
        ("mgda-ub", replace(at, trunk=np.array([[1.0, 0], [-2, 1]]))),
    ):  # fmt: skip
        rule = Rule(tm.STRATEGIES[name])
        (seen,) = PROPERTIES["raises no loss"](rule, rule(asked))
        again = read(written(seen))
        for now, then in ((asked, again), (asked.past, again.past)):
            assert (now is None) == (then is None)
            for part in ("gradients", "losses", "trunk") if now is not None else ():
                assert np.array_equal(getattr(now, part), getattr(then, part))


# ------------------------------------------------------------ the command


def test_the_command(capsys):
    assert main(["promises", "averaged", "alternating", "--draws", "0"]) == 0
    out = capsys.readouterr().out
    assert "✗ raises no loss: g₁ = (2, 1), g₂ = (−1, 0): w = (0.5, 0.5)" in out
    assert "takes turns" in out
    assert main(["promises", "avereged"]) == 2
    assert "did you mean 'averaged'?" in capsys.readouterr().err


# ------------------------------------------------------------ the claims

Q3 = [[-1.0, 2, 0], [1, -1, -1], [0, 0, 1]]


def answer(make, J, **point):
    J = np.array(J, dtype=float)
    return Rule(make)(Point(J, np.ones(len(J)), **point))


def slopes(make, J, **point):
    found = answer(make, J, **point)
    return found.g @ found.v


def said(number, *texts):
    """Each text is in the claim."""
    claim = " ".join(CLAIMS[number - 1].split())
    for text in texts:
        assert text in claim, text


def test_there_are_nine_claims():
    assert len(CLAIMS) == 9


def test_theorem_1b():
    trunk = np.array([[1.0, 0], [-2, 1]])
    found = answer(tm.MGDAUB, [[0, 1], [1, 0]], trunk=trunk)
    assert_allclose([*found.weights, *found.v, *found.g[1], np.linalg.det(trunk)], [0.5, 0.5, -0.5, 0.5, 1, 0, 1])
    assert_allclose(found.g[1] @ found.v, -0.5)
    said(1, "D₁ = (0, 1), D₂ = (1, 0)", "(1, 0), (−2, 1)", "α = (½, ½)", "v = (−½, ½)", "(1, 0)·v = −½")


def test_imtl_g():
    J = np.array([[9.0, 0, 0], [0, 9, 0], [2, 2, 1]])
    assert (J @ J.T >= 0).all()
    assert_allclose(answer(IMTL_G, J).weights, [-1, -1, 3])
    assert_allclose(slopes(IMTL_G, J), [-27, -27, -9])
    J[2] *= 3
    assert_allclose(answer(IMTL_G, J).weights, [1, 1, -1])
    assert_allclose(answer(IMTL_G, J).v, [3, 3, -3])
    said(2, "(9, 0, 0), (0, 9, 0), (2, 2, 1)", "(−1, −1, 3)", "−27, −27, −9", "(1, 1, −1)", "(3, 3, −3)")


def test_aligned_stops_elsewhere():
    problem = tm.problems.Quadratics([1.0, 1.0], [[0.0, 0.0], [4.0, 0.0]], start=[1.0, 3.0])
    step = tm.AlignedMTL(problem, tm.SGD(lr=0.02))
    for steps, rank, end in ((700, 2, [1.600, 0.0]), (1000, 1, [2.0, 0.0])):
        for _ in range(steps):
            report = step()
        assert report.min_norm.rank == rank
        assert_allclose(problem.theta.data, end, atol=1e-4)
    assert_allclose(problem.averaged_optimum(), [2, 0])
    for eps in (1e-2, 1e-3):
        assert_allclose(lengths(answer(tm.AlignedMTL, [[1, 0], [1, eps]]).v[None])[0], eps / 2, rtol=1e-3)
    said(3, "(1.600, 0)", "(2, 0)", "‖v‖ = ε/2", "10⁻⁸")


def test_config_conflicts():
    J = np.array([[1.0, 1], [-1, -2], [2, 3], [1, 0]])
    assert f"{slopes(tm.ConFIG, J)[1]:.4f}" == "-0.2541"
    assert (J @ [5, -3] > 0).all()
    said(4, "(1, 1), (−1, −2), (2, 3), (1, 0)", "g₂·v = −0.2541", "(5, −3)")
    v, turned = (answer(tm.ConFIG, J * np.array([[1], [c], [1], [1]])).v for c in (1, 100))
    assert_allclose(v / lengths(v[None]), -turned / lengths(turned[None]))


def test_nash_by_the_published_solver():
    G = np.array(Q3) @ np.array(Q3).T
    assert (G.sum(axis=1) == [2, -1, 0]).all()
    found = answer(tm.NashMTL, Q3)
    assert [f"{w:.4f}" for w in found.weights] == ["2.3705", "3.8103", "4.0568"]
    assert_allclose(found.g @ found.v, 1 / found.weights)
    said(5, "(−1, 2, 0), (1, −1, −1), (0, 0, 1)", "2, −1, 0", "(2.3705, 3.8103, 4.0568)")


def test_cagrad_where_one_task_is_done():
    assert_allclose(answer(tm.CAGrad, [[3, 4], [0, 0]]).v, [1.5, 2])
    said(6, "(3, 4), (0, 0)", "(3/2, 2)", "5/2", "0.4·5/2 = 1")
    assert np.hypot(1.5, 2) == 5 / 2 > 0.4 * 5 / 2 == 1


def test_cagrad_conflicts():
    found = answer(tm.CAGrad, [[2, 1], [-1, 0]])
    assert [f"{x:.4f}" for x in [*found.v, found.g[1] @ found.v]] == ["0.2172", "0.5000", "-0.2172"]
    assert slopes(functools.partial(tm.CAGrad, c=1.0), [[2, 1], [-1, 0]]).min() >= -1e-12
    said(7, "(2, 1) and (−1, 0)", "v = (0.2172, 0.5)", "g₂·v = −0.2172")


def test_upgrad_by_the_libraries():
    J = [[100, 0], [-1, 0.1]]
    theirs, exact = (answer(functools.partial(tm.UPGrad, ridge=ridge), J) for ridge in (1e-4, 0.0))
    assert [f"{x:.4g}" for x in [*theirs.v, theirs.g[1] @ theirs.v]] == ["25.13", "2.537", "-24.87"]
    assert [f"{x:#.4g}" for x in [*exact.v, exact.g[1] @ exact.v]] == ["0.4950", "5.000", "0.005000"]
    assert slopes(functools.partial(tm.DualProj, ridge=1e-4), J)[1] < -1
    said(8, "(100, 0) and (−1, 0.1)", "(25.13, 2.537)", "−24.87", "(0.4950, 5.000)", "0.005000")


def test_pcgrad_raises_the_mean():
    found = answer(tm.STRATEGIES["pcgrad"], [[-1, 0, 1], [0, 1, 0], [2, -2, -3]])
    assert_allclose(found.v * 17, [-14, 8, -10])
    assert_allclose(found.g.mean(axis=0) @ found.v, -2 / 51)
    said(9, "(−1, 0, 1), (0, 1, 0), (2, −2, −3)", "(−14/17, 8/17, −10/17)", "−2/51")


# ------------------------------------------------------------ slow


@pytest.mark.slow
def test_the_page_and_its_figure_are_rebuilt(tmp_path):
    """Two minutes."""
    from tinymtl.lab.promises.rebuild import main as rebuild

    (tmp_path / "figures").mkdir()
    (tmp_path / "strategies.md").write_text(put_into(PAGE, ""), encoding="utf-8")
    rebuild(tmp_path)
    assert (tmp_path / "strategies.md").read_text(encoding="utf-8") == PAGE
    assert (tmp_path / "figures" / "strategies.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_a_hundred_thousand_draws_break_no_promise_that_one_answer_can_break(name):
    kept = [p for p in ("raises no loss", "mean falls") if p in PROOFS.get(name, {})]
    found = search(Rule(tm.STRATEGIES[name]), kept, draws=100_000, sizes=())
    assert {p: written(one.seen) for p, one in found.items() if one.seen is not None} == {}


def test_the_table_is_markdown():
    lines = list(table(dict.fromkeys(["mgda"])))
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == len(PROPERTIES) + 2
