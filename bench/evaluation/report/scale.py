"""Axes: where on a plot a number lies, and at which numbers there are marks.

>>> axis = Axis.over([32, 1024], log=True)
>>> [mark.text for mark in axis.marks()], axis.share(32), axis.share(1024)
(['32', '64', '128', '256', '512', '1024'], 0.0, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_MOST_MARKS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark on an axis: how far along it is, from 0 to 1, and what it says."""

    share: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From the least to the most, evenly or by powers of two."""

    least: float
    most: float
    log: bool = False

    @classmethod
    def over(cls, numbers: Iterable[float], *, log: bool = False, from_zero: bool = False) -> Axis:
        """Return an axis on which all the numbers lie, on a logarithmic one all positive; it is never of length 0."""
        found = sorted(numbers) or [1.0]
        least, most = (0.0 if from_zero and not log else found[0]), found[-1]
        if most <= least:
            most = least * 2 if least > 0 else least + 1
        return cls(least=least, most=most if log else most + (most - least) * 0.05, log=log)

    def share(self, number: float) -> float:
        """Return how far along the axis a number is."""
        if self.log:
            return math.log(number / self.least) / math.log(self.most / self.least)
        return (number - self.least) / (self.most - self.least)

    def marks(self) -> tuple[Mark, ...]:
        """Return the marks, at round numbers."""
        return tuple(Mark(share=self.share(each), text=_text(each)) for each in self._round_numbers())

    def _round_numbers(self) -> Iterator[float]:
        if self.log:
            first, last = math.ceil(math.log2(self.least) - 1e-9), math.floor(math.log2(self.most) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / _MOST_MARKS))
            yield from (2.0**power for power in range(first, last + 1, step))
            return
        width = (self.most - self.least) / 5
        magnitude = 10 ** math.floor(math.log10(width))
        step_width = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= width)
        number = math.ceil(self.least / step_width - 1e-9) * step_width
        while number <= self.most:
            yield number
            number += step_width


def _text(number: float) -> str:
    for power, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if number >= 4096 and number % (1 << power) == 0:
            return f"{int(number) >> power} {unit}"
    return f"{number:g}"
