"""Standardisation that can be undone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinymtl.arrays import as_doubles
from tinymtl.backend import Array


@dataclass(frozen=True, eq=False)
class Scale:
    """The mean and the standard deviation that a column was standardised with.

    Fit it on the training part alone, so that nothing about the other parts leaks into training.

    Attributes
    ----------
    mean, std
        Of each column, in the original unit, float64: 0-d for one column (N,), (F,) for a table (N, F).
        The standard deviation divides by N.
    unit
        The original unit, such as "mm"; empty where the columns differ in it.

    Examples
    --------
    >>> scale = Scale.fit(np.array([10.0, 20.0, 30.0]), unit="g")
    >>> standard = scale.standardise(np.array([20.0, 30.0]))
    >>> print(standard)
    [0.        1.2247449]
    >>> print(scale.restore(standard).round(4), scale.unit)
    [20. 30.] g
    """

    mean: Array
    std: Array
    unit: str = ""

    @classmethod
    def fit(cls, values: Array, unit: str = "") -> Scale:
        """The scale of `values`, (N,) or (N, F), along the first axis; what is missing (NaN, masked, None) is left out.

        Raises a ValueError for a column without a value.
        """
        values = as_doubles(values, "the array of values", gaps=True)
        if np.isnan(values).all(axis=0).any() or not len(values):
            raise ValueError(f"values of shape {values.shape} with a column of which none is there have no scale")
        return cls(np.asarray(np.nanmean(values, axis=0)), np.asarray(np.nanstd(values, axis=0)), unit)

    def standardise(self, values: Array) -> Array:
        """(values − mean) / std, as float32. What is missing stays so, as NaN."""
        standard: Array = (as_doubles(values, "the array of values", gaps=True) - self.mean) / self.std
        return standard.astype(np.float32)

    def restore(self, values: Array) -> Array:
        """Standardised values in the original unit, as float64."""
        restored: Array = as_doubles(values, "the array of values", gaps=True) * self.std + self.mean
        return restored
