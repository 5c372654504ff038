"""A straight line through points, by least squares.

>>> it = line([(1, 4.5), (2, 9.0), (3, 13.5)])
>>> round(it.slope, 6), round(it.intercept, 6), round(it.r_squared, 6)
(4.5, 0.0, 1.0)
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The line, and what share of the variance it explains."""

    slope: float
    intercept: float
    r_squared: float


def line(points: Sequence[tuple[float, float]]) -> Fit:
    """Return the line through points, of which there are two or more of different x and of different y."""
    xs, ys = zip(*points, strict=True)
    slope, intercept = statistics.linear_regression(xs, ys)
    return Fit(slope=slope, intercept=intercept, r_squared=statistics.correlation(xs, ys) ** 2)
