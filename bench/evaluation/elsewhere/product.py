"""The product of `kernels/whole_numbers.c`: the same numbers, and the same digest and value of the result."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

_MASK = (1 << 64) - 1


def numbers(size: int, seed: int) -> tuple[list[list[int]], list[int]]:
    """Return the matrix and the vector."""
    random = _random(seed)
    matrix = [[next(random) & 15 for _ in range(size)] for _ in range(size)]
    return matrix, [next(random) & 15 for _ in range(size)]


def product(matrix: Sequence[Sequence[int]], vector: Sequence[int]) -> list[int]:
    """Return what it must be."""
    return [sum(a * x for a, x in zip(row, vector, strict=True)) for row in matrix]


def told(result: Sequence[float]) -> tuple[str, float]:
    """Return the digest and the value of a result."""
    digest = 0
    for each in result:
        (bits,) = struct.unpack("<Q", struct.pack("<d", float(each)))
        digest = next(_random(digest ^ bits))
    return f"{digest:016x}", float(sum((place + 1) * each for place, each in enumerate(result)))


def require_near(result: Sequence[float], want: Sequence[float], tolerance: float) -> None:
    """Refuse a result one of whose numbers is further off than the tolerance, relative to the largest.

    Raises:
        ValueError: It is.
    """
    apart = max(abs(got - wanted) for got, wanted in zip(result, want, strict=True)) / max(map(abs, want))
    if not apart <= tolerance:
        raise ValueError(f"a number is {apart:.3g} of the largest off, more than {tolerance:g}")


def _random(state: int) -> Iterator[int]:
    """Yield SplitMix64's numbers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        yield z ^ (z >> 31)
