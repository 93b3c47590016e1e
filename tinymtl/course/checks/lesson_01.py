"""Checks of lesson 1: one number at a time."""

from __future__ import annotations

from tinymtl.course.checks import Check, numbers

CHECKS: dict[str, Check] = {
    "01.gradients": numbers(
        (48, 28),
        praise="∂L/∂x = 48 and ∂L/∂y = 28, with c's gradient complete before it is passed on",
        look="write the gradient beside every box, from L backwards, and add where two arrows meet",
        mistakes={
            "72 and 44 come from passing c's gradient on before it is complete: d's share is counted twice": (72, 44),
        },
    ),
}
