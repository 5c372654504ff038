"""What is timed as group-by is one: a few lines of Python come to the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bench.evaluation import build
from bench.evaluation.build import KERNELS, Sources
from bench.evaluation.model import MissingError
from bench.evaluation.process import Hosted, Request

# Not whole blocks: the last one is short.
ROWS = 5000
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def test_group_by_comes_to_what_python_does() -> None:
    """Every group is there once, with all of its rows and none of another's, in each of two rounds."""
    sources = Sources(files=(KERNELS / "group_by.c",), includes=(KERNELS,))
    try:
        library = build.library(build.PAPER[0], sources)
    except MissingError as missing:
        pytest.skip(str(missing))
    kernel = Hosted("native", library, Request(size=ROWS, seed=7, times=(2,)))
    try:
        (timing,) = kernel.sample()
    finally:
        kernel.close()
    groups: dict[int, list[int]] = {}
    for key, amount in _rows(ROWS, 7):
        groups.setdefault(key, []).append(amount)
    sums = ((key ^ sum(of)) * (len(of) + min(of) & 0xFFFFFFFF) + max(of) for key, of in groups.items())
    assert timing.digest == f"{2 * sum(sums) & _MASK:016x}"


def _rows(count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield the rows that the kernel makes."""
    for number in range(count):
        key = _mixed(seed + (2 * number + 1) * _STEP) % (count // 4)
        yield _mixed(key + _STEP) | 1, _mixed(seed + (2 * number + 2) * _STEP) & 0xFFFFFFFF


def _mixed(z: int) -> int:
    """SplitMix64, of a state that has moved on."""
    z &= _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)
