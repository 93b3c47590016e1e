"""Exact values of the logistic functions, in decimals, and how far a float is from one."""

import decimal
import math

import numpy as np

decimal.getcontext().prec = 60

#: Where an implementation loses digits if it is going to: near 0, the ends of either float's range, infinity.
POINTS = [0, 1e-30, 1e-8, 0.3, 1, 2.5, 4.95, 10, 17, 20, 37, 87, 89, 100, 300, 700, 740, math.inf]


def points(dtype):
    """`POINTS` on both sides of 0, and what lies between them."""
    between = np.random.default_rng(0).standard_normal(500) * 4
    return np.concatenate([POINTS, np.negative(POINTS), between]).astype(dtype)


def exponential(x):
    """eˣ as a Decimal; x a number."""
    return decimal.Decimal(float(x)).exp()


def sigmoid(x):
    """1/(1 + e⁻ˣ)."""
    return 1 / (1 + exponential(-x))


def log_sigmoid(x):
    """−ln(1 + e⁻ˣ); by its series where e⁻ˣ is too small to be added to 1."""
    e = exponential(-abs(x))
    log1p = (1 + e).ln() if e > decimal.Decimal("1e-25") else e - e * e / 2
    return decimal.Decimal(min(float(x), 0.0)) - log1p


def ulps(found, exact):
    """The largest distance in units of the last place of `found`'s dtype; infinite values must be just those."""
    worst = 0.0
    for value, right in zip(found.tolist(), exact, strict=True):
        if right.is_infinite() or not math.isfinite(value):
            assert value == float(right)
        else:
            unit = float(np.spacing(np.abs(found.dtype.type(right))))
            worst = max(worst, float(abs(decimal.Decimal(value) - right)) / unit)
    return worst
