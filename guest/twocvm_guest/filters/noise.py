"""Noise with a price: OpenDP's discrete mechanisms, on whole numbers of the last decimal.

The library draws from the operating system, samples exactly, and says what a scale costs; nothing of it is done here.
Imported only in a worker that adds noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Final

from opendp import combinators, domains, measurements, metrics, mod

from twocvm_guest.runtime.messages import Outcome

from .numbers import MAX_NUMBER, Change
from .refusal import Refused

mod.enable_features("contrib")

_WHOLE: Final = "i64"


def noised(
    *,
    mechanism: str,
    epsilon: Decimal,
    delta: Decimal,
    sensitivity: Decimal,
    digits: int,
    lowest: Decimal,
    highest: Decimal,
) -> Change:
    """Return what adds noise to numbers of at most so many decimals; see `docs/spec/filters.md`."""
    distance = int(_units(sensitivity, digits))
    low, high = int(_units(lowest, digits)), int(_units(highest, digits))
    draw = _laplace(distance, epsilon) if mechanism == "laplace" else _gaussian(distance, epsilon=epsilon, delta=delta)

    def change(numbers: list[Decimal]) -> list[Decimal]:
        units = [_units(number, digits) for number in numbers]
        if any(unit.denominator != 1 for unit in units):
            raise Refused(Outcome.VALUE)
        bounded = [min(max(int(unit), low), high) for unit in units]
        most = MAX_NUMBER - 1
        return [Decimal(min(max(each, -most), most)).scaleb(-digits) for each in draw(bounded)]

    return change


def laplace_scale(distance: int, epsilon: Decimal) -> float:
    """Return a scale that costs at most `epsilon`, as the library counts it, and hardly less."""
    scale = float(Fraction(distance) / Fraction(epsilon))
    while Fraction(_laplace_of(scale).map(distance)) > Fraction(epsilon):
        scale = math.nextafter(scale, math.inf)
    return scale


def gaussian_scale(distance: int, *, epsilon: Decimal, delta: Decimal) -> float:
    """Return a scale that costs at most `epsilon` and `delta`, as the library counts it, and hardly less."""
    price = (_below(epsilon), _below(delta))
    priced = partial(_priced, delta=price[1])
    # Bun and Steinke 2016, proposition 1.3: this scale is certainly enough. The library's own account is closer and
    # finds a lesser one; its search is given bounds, for far from them nothing can be computed.
    root = math.sqrt(math.log(1 / price[1]) + price[0]) - math.sqrt(math.log(1 / price[1]))
    enough = 1.01 * distance / (math.sqrt(2) * root)
    while priced(enough / 2).check(float(distance), price):
        enough /= 2
    return float(mod.binary_search_param(priced, d_in=float(distance), d_out=price, bounds=(enough / 2, enough)))


def _laplace(distance: int, epsilon: Decimal) -> Callable[[list[int]], list[int]]:
    measurement: Callable[[list[int]], list[int]] = _laplace_of(laplace_scale(distance, epsilon))
    return measurement


def _gaussian(distance: int, *, epsilon: Decimal, delta: Decimal) -> Callable[[list[int]], list[int]]:
    measurement: Callable[[list[int]], list[int]] = _gaussian_of(gaussian_scale(distance, epsilon=epsilon, delta=delta))
    return measurement


def _laplace_of(scale: float) -> Any:  # noqa: ANN401 - the library's own
    return measurements.make_laplace(_integers(), metrics.l1_distance(T=_WHOLE), scale=scale)


def _gaussian_of(scale: float) -> Any:  # noqa: ANN401 - the library's own
    return measurements.make_gaussian(_integers(), metrics.l2_distance(T=float), scale=scale)


def _priced(scale: float, *, delta: float) -> Any:  # noqa: ANN401 - the library's own
    return combinators.make_fix_delta(combinators.make_zCDP_to_approxDP(_gaussian_of(scale)), delta)


def _integers() -> Any:  # noqa: ANN401 - the library's own
    return domains.vector_domain(domains.atom_domain(T=_WHOLE))


def _units(value: Decimal, digits: int) -> Fraction:
    scale: int = 10**digits
    return Fraction(value) * scale


def _use_once() -> None:
    """Draw a number from each mechanism, for the library imports parts of itself when they are first used."""
    one = Decimal(1)
    for mechanism, delta in (("laplace", Decimal(0)), ("gaussian", Decimal("0.01"))):
        noised(mechanism=mechanism, epsilon=one, delta=delta, sensitivity=one, digits=0, lowest=one, highest=one)([one])


def _below(value: Decimal) -> float:
    """Return the greatest double that is no more than `value`."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= Fraction(value) else math.nextafter(nearest, 0.0)


_use_once()
