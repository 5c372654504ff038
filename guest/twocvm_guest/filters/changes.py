"""What the built-in filters do to numbers: nothing but judge them, or round them.

>>> rounded(Decimal("0.5"))([Decimal("1.26"), Decimal("1.25"), Decimal("-7")])
[Decimal('1.5'), Decimal('1.0'), Decimal('-7.0')]
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from twocvm_guest.runtime.messages import Outcome

from .numbers import MAX_NUMBER, Change
from .refusal import Refused


def groups(minimum: int) -> Change:
    """Return what refuses a number that is not whole, or less than `minimum`."""

    def change(counts: list[Decimal]) -> list[Decimal]:
        for count in counts:
            if count != int(count):
                raise Refused(Outcome.VALUE)
            if count < minimum:
                raise Refused(Outcome.GROUP)
        return counts

    return change


def rounded(step: Decimal) -> Change:
    """Return what replaces each number by the nearest multiple of `step`, of two by the even one."""
    exact = Fraction(step)

    def one(number: Decimal) -> Decimal:
        multiple = round(Fraction(number) / exact)
        if abs(multiple) >= MAX_NUMBER:
            raise Refused(Outcome.VALUE)
        # At most 16 digits before the point and 12 after it: exact in the default context of 28.
        return multiple * step

    return lambda numbers: [one(number) for number in numbers]


def digits_of(step: Decimal) -> int:
    """Return how many decimals a multiple of `step` is written with."""
    exponent = step.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
