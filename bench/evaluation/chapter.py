"""The parts that a report is made of; the page knows how each looks, and a class what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .judge import Verdict, column_summary, merged, refused, verdict, verdicts
from .model import Comparison
from .runs import Measured, Run, Runs

NOT_MEASURED: Final = "not measured"
NO_FIGURE: Final = "no figure"
# What is held inside over outside: the fastest of these configurations, over the fastest of them.
ACROSS: Final = {
    "best strict native": ("gcc", "clang", "gcc-v3", "clang-v3", "native", "native-gcc"),
    "bare engine": ("wasm", "bare"),
    "whole runtime": ("runtime",),
}
_MANY: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it shows.
        note: What is said beside it, such as why there is no figure.
        holds: Whether a bound holds; None where there is none.
    """

    text: str
    note: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of each row is its head."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a line, with the deviation of y."""

    x: float
    y: float
    deviation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points under one name; `dashed` are those of somebody else, such as the paper's."""

    name: str
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Lines over a common axis."""

    caption: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_log: bool = False
    y_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a group, with the deviation of its height."""

    height: float
    deviation: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Groups of bars: for each group one of every series or None; where `level` is, there is a line, unless it is 0."""

    caption: str
    y_label: str
    groups: tuple[str, ...]
    series: tuple[tuple[str, tuple[Bar | None, ...]], ...]
    level: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A class's part of the report: what it is, what it shows in this order, and what may be concluded."""

    title: str
    paragraphs: tuple[str, ...]
    parts: tuple[Table | Plot | Bars, ...]
    conclusions: tuple[str, ...]


def ratio_table(runs: Runs, class_name: str, caption: str) -> Table:
    """Return all ratios of a class, inside and outside SEV-SNP, beside the bound and the paper's figure."""
    head = ("workload", "ratio of times", "here", "in SEV-SNP", "at most", "paper")
    return Table(caption=caption, head=head, rows=tuple(_ratio_rows(runs, class_name)))


def seconds_table(run: Run, class_name: str, caption: str) -> Table:
    """Return the table of what was measured: each configuration's time a unit, or why it has none."""
    head = ("workload", "configuration", "mean", "sd", "median", "min", "of one")
    return Table(caption=caption, head=head, rows=tuple(_seconds_rows(run, class_name)))


def ratio_cell(judged: Verdict) -> Cell:
    """Return a ratio with its error, its median and minimum; or the reasons why there is none."""
    figure = judged.figure
    if figure is None:
        return Cell(text="no ratio", note="; ".join(judged.reasons))
    mean = f"mean {times(figure.mean, 3)} ± {times(figure.deviation, 3)}"
    return Cell(
        text=times(figure.median),
        note=f"{mean}, min {times(figure.least, 3)}: {judged.of} over {judged.over}",
        holds=judged.holds,
    )


def times(ratio: float, digits: int = 2) -> str:
    """Return a ratio as people read it.

    >>> times(1.234), times(41234.5)
    ('1.23', '41,234')
    """
    return f"{ratio:.{digits}f}" if ratio < _MANY else f"{ratio:,.0f}"


def titled(measured: Measured, step: str) -> str:
    """Return what a table calls one step of a workload."""
    return f"{measured.title}: {step}" if len(measured.steps) > 1 else measured.title


def _ratio_rows(runs: Runs, class_name: str) -> Iterator[tuple[Cell, ...]]:
    first = runs.each[0]
    for measured in first.of_class(class_name):
        for each in measured.comparisons:
            yield (
                Cell(text=titled(measured, each.step)),
                Cell(text=each.name),
                *(told_cell(told(run, measured.name, each.name, each.step)) for run in (runs.plain, runs.snp)),
                Cell(text=f"{each.at_most:g}" if each.at_most else ""),
                Cell(text=each.paper),
            )


def told(run: Run | None, name: str, comparison: str, step: str) -> Verdict | None:
    """Return what was judged of one comparison of one workload, if the run has it."""
    measured = run.workload(name) if run else None
    wanted = (comparison, step)
    found = verdicts(measured) if measured else ()
    return next((each for each in found if (each.comparison.name, each.comparison.step) == wanted), None)


def told_cell(judged: Verdict | None) -> Cell:
    """Return the cell of what was judged, if it was."""
    return ratio_cell(judged) if judged else Cell(text="")


def across_cell(runs: Runs, name: str, step: str, *, of: tuple[str, ...], over: tuple[str, ...]) -> Cell:
    """Return the ratio of configurations inside SEV-SNP over configurations outside, of one workload's step."""
    if runs.plain is None or runs.snp is None:
        return Cell(text="", note="takes a run in an SEV-SNP guest, and one outside")
    inside, outside = runs.snp.workload(name), runs.plain.workload(name)
    if inside is None or outside is None:
        return Cell(text="")
    if runs.plain.machine["cpu"] != runs.snp.machine["cpu"]:
        return Cell(text="no ratio", note="the two runs are of two processors")
    comparison = Comparison(name="", step=step, of=tuple(f"snp-{each}" for each in of), over=over)
    return ratio_cell(verdict(merged(outside=outside, inside=inside), comparison))


def across_table(runs: Runs, class_name: str) -> tuple[Table, ...]:
    """Return the table of what each layer of a class takes inside SEV-SNP over outside; none without both runs."""
    if runs.plain is None or runs.snp is None:
        return ()
    head = ("workload", *ACROSS)
    rows = tuple(_across_rows(runs, runs.plain.of_class(class_name)))
    return (Table(caption="In SEV-SNP over outside, each configuration over itself", head=head, rows=rows),)


def _across_rows(runs: Runs, workloads: tuple[Measured, ...]) -> Iterator[tuple[Cell, ...]]:
    for measured in workloads:
        names = {column.configuration.name for column in measured.columns}
        for step in measured.steps:
            yield (
                Cell(text=titled(measured, step.name)),
                *(
                    across_cell(runs, measured.name, step.name, of=there, over=there)
                    if (there := tuple(each for each in wanted if each in names))
                    else Cell(text="")
                    for wanted in ACROSS.values()
                ),
            )


def _seconds_rows(run: Run, class_name: str) -> Iterator[tuple[Cell, ...]]:
    for measured in run.of_class(class_name):
        for index in range(len(measured.steps)):
            yield from _step_rows(measured, index)


def _step_rows(measured: Measured, index: int) -> Iterator[tuple[Cell, ...]]:
    step = measured.steps[index]
    title = titled(measured, step.name)
    for column in measured.columns:
        name = Cell(text=column.configuration.title, note=column.configuration.flags)
        if not column.samples:
            yield (Cell(text=title), name, Cell(text=NOT_MEASURED, note=column.empty), *([Cell(text="")] * 4))
            continue
        if why := refused(measured, column, index):
            yield (Cell(text=title), name, Cell(text=NO_FIGURE, note="; ".join(why)), *([Cell(text="")] * 4))
            continue
        found = column_summary(measured, column, index)
        figures = (found.mean, found.deviation, found.median, found.least)
        yield (
            Cell(text=title),
            name,
            *(Cell(text=duration(each / step.units)) for each in figures),
            Cell(text=step.unit),
        )


def duration(seconds: float) -> str:
    """Return a time with a unit that suits it.

    >>> duration(0.0000123), duration(0)
    ('12.3 µs', '0 s')
    """
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else "0 s"
