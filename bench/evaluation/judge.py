"""Decides which ratios may be told, and says of each other one why not.

No ratio is told where a result differs, a compiler removed the loop, a clock went back or ran differently from the
other one, the machine was busy with something else, or one side is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from .model import Comparison, Configuration, Step, Timing
from .runs import Column, Measured
from .statistic import RatioFigure, Summary, ratio, summary

# A sample that had less of its core than this was disturbed, and so is a workload most of whose samples were.
LEAST_SHARE: Final = 0.9
# Cores that something else kept busy: what shares caches and memory shows in the time even on the other core.
MOST_OTHERS: Final = 0.2
UNDER_LOAD: Final = "the machine was under load"
# How far the monotonic and the wall clock may be apart: a wall clock is slewed by at most 500 ppm.
_CLOCKS_APART_NS: Final = 20_000_000
_CLOCKS_APART_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """On one comparison: a ratio, or the reasons why there is none.

    Attributes:
        of: The configuration that the numerator is of; empty without a ratio.
        over: The configuration that the denominator is of; empty without a ratio.
    """

    comparison: Comparison
    figure: RatioFigure | None
    reasons: tuple[str, ...]
    of: str = ""
    over: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds, by the medians; None where there is no bound or no ratio."""
        if self.figure is None or not self.comparison.at_most:
            return None
        return self.figure.median <= self.comparison.at_most


def verdicts(measured: Measured) -> tuple[Verdict, ...]:
    """Judge every comparison of a workload."""
    return tuple(verdict(measured, comparison) for comparison in measured.comparisons)


def verdict(measured: Measured, comparison: Comparison) -> Verdict:
    """Judge one comparison."""
    reasons: list[str] = list(_missing(measured, comparison))
    columns = _columns(measured, (*comparison.of, *comparison.over))
    index = measured.step_index(comparison.step)
    step = measured.steps[index]
    # The results of all that was measured are held together, not of these two sides only.
    reasons += differing(measured, index)
    reasons += _under_load(measured, columns, index)
    for column in columns:
        reasons += (f"{column.configuration.title}: {why}" for why in unsound(column, step, index))
    if reasons:
        return Verdict(comparison=comparison, figure=None, reasons=tuple(dict.fromkeys(reasons)))
    above, of = _fastest(measured, comparison.of, index)
    below, over = _fastest(measured, comparison.over, index)
    return Verdict(comparison=comparison, figure=ratio(above, below), reasons=(), of=of.name, over=over.name)


def disturbed(measured: Measured | None) -> bool:
    """Return whether any of its ratios is not told because of what else the machine did, or it was not measured."""
    return measured is None or any(UNDER_LOAD in reason for each in verdicts(measured) for reason in each.reasons)


def merged(*, outside: Measured, inside: Measured) -> Measured:
    """Return one workload of two runs, where the columns from inside SEV-SNP are named `snp-...`."""
    columns = [replace(each, configuration=_inside(each.configuration)) for each in inside.columns]
    others = max(outside.others, inside.others)
    return replace(outside, columns=(*outside.columns, *columns), comparisons=(), others=others)


def _inside(configuration: Configuration) -> Configuration:
    return replace(configuration, name=f"snp-{configuration.name}", title=f"{configuration.title} in SEV-SNP")


def column_summary(measured: Measured, column: Column, index: int) -> Summary:
    """Summarise the seconds of one step, over the samples that were not disturbed, or over all if there are no such."""
    repeats = column.configuration.repeats
    calm = [each[index].seconds / repeats for each in column.samples if _had_its_core(each[index], busy=measured.busy)]
    return summary(calm or [each[index].seconds / repeats for each in column.samples])


def differing(measured: Measured, index: int) -> tuple[str, ...]:
    """Say which configurations computed something else than the first exact one did, or than themselves before."""
    there = [column for column in measured.columns if column.samples]
    first = next((column for column in there if column.configuration.exact), None)
    if first is None:
        return ()
    want = first.samples[0][index]
    return tuple(
        f"{column.configuration.title}: its result differs from that of {first.configuration.title}"
        for column in there
        if not all(_agrees(column.configuration, each[index], want, measured.tolerance) for each in column.samples)
    )


def refused(measured: Measured, column: Column, index: int) -> tuple[str, ...]:
    """Say why no time of a configuration is told either: a result of the step differs, or its clocks or loop are wrong.

    That the machine was busy is no such reason: how long it took then, is how long it took.
    """
    return (*differing(measured, index), *unsound(column, measured.steps[index], index))


def _agrees(configuration: Configuration, got: Timing, want: Timing, tolerance: float) -> bool:
    if configuration.exact:
        return got.digest == want.digest
    return math.isclose(got.value, want.value, rel_tol=tolerance, abs_tol=0.0)


def _missing(measured: Measured, comparison: Comparison) -> Iterator[str]:
    for side in (comparison.of, comparison.over):
        if not _columns(measured, side):
            empty = (measured.column(name) for name in side)
            yield "; ".join(f"{each.configuration.title}: {each.empty}" for each in empty if each) or f"no {side[0]}"


def _under_load(measured: Measured, columns: Iterable[Column], index: int) -> Iterator[str]:
    if measured.others > MOST_OTHERS:
        yield f"{UNDER_LOAD}: {measured.others:.2f} cores were busy with something else"
        return
    for column in columns:
        calm = sum(_had_its_core(each[index], busy=measured.busy) for each in column.samples)
        if calm * 2 <= len(column.samples):
            yield (
                f"{column.configuration.title}: {UNDER_LOAD}: it had its core in only {calm} of "
                f"{len(column.samples)} samples"
            )


def unsound(column: Column, step: Step, index: int) -> tuple[str, ...]:
    """Say what is wrong with what the clocks said of a configuration."""
    return tuple(_unsound(column, step, index))


def _unsound(column: Column, step: Step, index: int) -> Iterator[str]:
    timings = [each[index] for each in column.samples]
    if any(each.end_ns <= each.start_ns or each.wall_end_ns < each.wall_start_ns for each in timings):
        yield "a clock went back"
    elif any(map(_clocks_differ, timings)):
        yield "the monotonic and the wall clock disagree"
    elif min(each.seconds for each in timings) / column.configuration.repeats / step.units < step.least_seconds:
        yield f"the loop was removed: one of its {step.unit} took less than {step.least_seconds * 1e9:g} ns"


def _clocks_differ(timing: Timing) -> bool:
    monotonic = timing.end_ns - timing.start_ns
    apart = abs(timing.wall_end_ns - timing.wall_start_ns - monotonic)
    return apart > max(_CLOCKS_APART_NS, _CLOCKS_APART_SHARE * monotonic)


def _had_its_core(timing: Timing, *, busy: bool) -> bool:
    return not busy or timing.cpu_ns >= LEAST_SHARE * (timing.end_ns - timing.start_ns)


def _columns(measured: Measured, names: Iterable[str]) -> list[Column]:
    columns = (measured.column(name) for name in names)
    return [column for column in columns if column and column.samples]


def _fastest(measured: Measured, names: Iterable[str], index: int) -> tuple[Summary, Configuration]:
    summaries = [(column_summary(measured, each, index), each.configuration) for each in _columns(measured, names)]
    return min(summaries, key=lambda each: each[0].median)
