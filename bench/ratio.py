"""What a benchmark reports: a ratio of two things measured in turn in one run, and the bound it is held to.

These machines are noisy, so absolute times mean little; a ratio of interleaved rounds holds. The median of the rounds'
ratios is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One figure: `value` and the bound that the project sets itself (`at_least` or `at_most`)."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is within its bounds."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def line(self) -> str:
        """Return the line that `make bench` prints."""
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        mark = "ok  " if self.holds else "MISS"
        return f"{mark} {self.name:58} {self.value:10.3f}   {', '.join(bounds):16} {self.detail}"


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call of `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int) -> float:
    """Return the median over `rounds` of (time of `theirs` / time of `ours`): above 1 means that ours is faster.

    The order changes every round, so that neither always runs on the warmer machine.
    """
    ratios = []
    for number in range(rounds):
        if number % 2:
            second, first = seconds(theirs), seconds(ours)
            ratios.append(second / first)
        else:
            first, second = seconds(ours), seconds(theirs)
            ratios.append(second / first)
    return statistics.median(ratios)


def fastest(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int) -> float:
    """Return the ratio of the fastest of `rounds` (`theirs` / `ours`), in CPU time of this thread, taken in turn.

    For work that waits for nothing: whatever else the machine does can only add to it, so the fastest is the truest.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, taken in zip((ours, theirs), times, strict=True):
            start = time.thread_time()
            work()
            taken.append(time.thread_time() - start)
    return min(times[1]) / min(times[0])
