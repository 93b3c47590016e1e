"""Numbers and names as a reader wants them: short, and exact if they are exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from tinymtl.ties import nudged

MINUS = "\N{MINUS SIGN}"


def short(value: float, digits: int = 4, noise: float = 0.0) -> str:
    """`value` in a few characters: a whole number, a short decimal or a small fraction if it is one.

    A fraction has a denominator below 1000 and agrees to 12 digits, so that only numbers computed in float64 from
    whole ones become fractions, and it is one that no decimal can say. Everything else is rounded to `digits`
    significant digits, halves away from zero, and to fewer if `noise`, what rounding may have added, says more than
    the last of them.

    Examples
    --------
    >>> short(48.0), short(-0.25), short(3 / 13), short(2**0.5), short(1.5e-7 / 1.1)
    ('48', '−0.25', '3/13', '1.414', '1.364e−7')
    >>> short(2**0.5, noise=0.02), short(1e-17, noise=1e-16)
    ('1.4', '0')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    if abs(value) <= noise:
        return "0"
    if noise:
        digits = min(digits, max(1, 1 + math.floor(math.log10(abs(value) / noise))))
    return (exact(value, noise) or _rounded(value, digits)).replace("-", MINUS)


def exact(value: float, noise: float = 0.0) -> str | None:
    """The digits of a whole number, a decimal with up to three places or a small fraction; None for another number.

    What rounding may have added, `noise`, is allowed for; beyond the tenth digit it would make fractions of anything.
    """
    if not math.isfinite(value) or noise > 1e-10 * abs(value):
        return None
    tolerance = max(1e-12 * abs(value), noise)
    for places in range(4):
        near = round(value, places)
        if abs(near - value) <= tolerance and abs(near) < 10.0 ** (5 - places):
            return f"{near + 0.0:.{places}f}"  # + 0.0: no "-0"
    near_fraction = Fraction(value).limit_denominator(999)
    decimal = 10**9 % near_fraction.denominator == 0  # 2⁹ is the largest power of two below 1000
    if abs(float(near_fraction) - value) <= tolerance and abs(near_fraction.numerator) < 10_000 and not decimal:
        return str(near_fraction)
    return None


def _rounded(value: float, digits: int) -> str:
    text = f"{nudged(value):.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def signed(value: float, noise: float = 0.0) -> str:
    """`short` with three digits, and a plus sign for a positive number."""
    return ("+" if value > noise else "") + short(value, 3, noise)


def degrees(angle: float) -> str:
    """An angle for reading: whole degrees, more places if rounding would say 0°, 90° or 180° of another angle.

    >>> degrees(135.00000000001), degrees(89.7), degrees(90.0)
    ('135°', '89.7°', '90°')
    """
    near = round(nudged(angle))
    if near in (0, 90, 180) and abs(angle - near) > 0.05:
        return f"{nudged(angle):.1f}°"
    return f"{near}°"


def vector(values: Sequence[float]) -> str:
    """(6/13, −4/13): fractions if all the numbers are exact, decimals otherwise.

    >>> vector([6 / 13, -4 / 13]), vector([0.0, 1 / 3, 2**0.5])
    ('(6/13, −4/13)', '(0, 0.3333, 1.414)')
    """
    words = [short(value) for value in values]
    if any(exact(value) is None for value in values):
        words = [
            _rounded(value, 4).replace("-", MINUS) if "/" in word else word
            for value, word in zip(values, words, strict=True)
        ]
    return "(" + ", ".join(words) + ")"


def listing(items: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def clean(name: str) -> str:
    """A task's name as one line of text: XML and a table can do nothing with control characters."""
    return "".join(c if c.isprintable() else "·" for c in name)


def clip(text: str, width: int) -> str:
    """`text`, shortened to `width` characters by a … at its end."""
    return text if len(text) <= width else text[: width - 1] + "…"


def shorten(name: str, width: int) -> str:
    """`name`, shortened to `width` characters by a … inside: names often differ at their ends.

    >>> shorten("task number 12", 10)
    'task n… 12'
    """
    tail = (width - 1) // 3
    return name if len(name) <= width else f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"
