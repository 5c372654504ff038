"""Mean, sample standard deviation, median and minimum, and a ratio with the error that follows from both sides.

>>> two, four = summary((2.0, 2.0, 2.0)), summary((3.9, 4.0, 4.1))
>>> ratio(four, two).mean, round(ratio(four, two).deviation, 3)
(2.0, 0.05)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Of some samples of one thing."""

    count: int
    mean: float
    deviation: float
    median: float
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioFigure:
    """Of two summaries; the deviation is that of the means' ratio, propagated to the first order as in the paper."""

    mean: float
    deviation: float
    median: float
    least: float


def summary(samples: Sequence[float]) -> Summary:
    """Summarise samples, of which there is at least one; one alone has no deviation."""
    return Summary(
        count=len(samples),
        mean=statistics.fmean(samples),
        deviation=statistics.stdev(samples) if len(samples) > 1 else 0.0,
        median=statistics.median(samples),
        least=min(samples),
    )


def ratio(above: Summary, below: Summary) -> RatioFigure:
    """Divide one by the other; both are of something that takes time, hence positive."""
    mean = above.mean / below.mean
    relative = math.hypot(above.deviation / above.mean, below.deviation / below.mean)
    return RatioFigure(
        mean=mean,
        deviation=mean * relative,
        median=above.median / below.median,
        least=above.least / below.least,
    )
