"""What the report says of concurrent attestation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from bench.evaluation.chapter import (
    NO_FIGURE,
    NOT_MEASURED,
    Cell,
    Chapter,
    Line,
    Plot,
    Point,
    Table,
    duration,
    ratio_table,
)
from bench.evaluation.judge import MOST_OTHERS, UNDER_LOAD, column_summary, unsound
from bench.evaluation.model import Configuration
from bench.evaluation.runs import Column, Measured, Run, Runs

from . import told
from .crowd import places
from .fit import Fit, line

_TEN: Final = 10
_LEAST_POINTS: Final = 5
_COLUMNS: Final = (told.DIRECT, told.BROKER, told.RECEIPTS, told.REAL_DEVICE)


def chapter(runs: Runs) -> Chapter:
    """Return the class's part of the report."""
    return Chapter(
        title="Concurrent attestation",
        paragraphs=(
            "Threads ask at one moment, at a barrier; the first answer is position 1. The device is the simulated "
            "platform's: it answers one request at a time in 4.4 ms, as the paper measured of the real one, and that "
            "it does is proven first. Then the same threads ask through the guest's broker, where all who wait share "
            "one report. In a guest with a real device, that is asked too.",
        ),
        parts=(
            # The real device is in the one run and not in the other, so each has all of it.
            *(part for run in runs.each for part in _of_run(run)),
            ratio_table(runs, "attestation", "All ratios"),
        ),
        conclusions=(
            "One call each, the last of ten waits ten times as long as the first, as in the paper. Together, nobody "
            "waits for more than the report that is being made and the next one, however many ask.",
            "A connection costs its two ends processor time besides, so that of a hundred connections the last waits "
            "for that, and not for the device.",
            "A receipt at the end of a run has a report of its own, so that it stands alone: of T participants the "
            "last waits 4.4 ms x T. That is not batched, nor are there figures that would hide it.",
            "The stand-in says nothing of a real device, but that this is how 4.4 ms one at a time behaves.",
        ),
    )


def _of_run(run: Run) -> tuple[Plot | Table, ...]:
    parts = (_by_position(run), _ten(run), _serial(run), _by_threads(run), _calls(run))
    if run.label == "plain":
        return parts
    return tuple(replace(part, caption=f"In SEV-SNP. {part.caption}") for part in parts)


def _by_position(run: Run) -> Plot:
    measured = run.workload(told.at_once(_TEN))
    # What the table does not tell, the plot does not show.
    lines = [Line(name=each.title, points=tuple(_told(measured, each))) for each in _COLUMNS]
    paper = tuple(Point(x=place, y=ms) for place, ms in enumerate(told.FIGURE_11, 1))
    return Plot(
        caption="Ten at once: when each was answered, beside figure 11 of the paper",
        x_label="position",
        y_label="ms",
        lines=(*(each for each in lines if each.points), Line(name="paper, figure 11 (F)", points=paper, dashed=True)),
    )


def _by_threads(run: Run) -> Plot:
    """When the last of T was answered; the sizes are those that were measured."""
    found: dict[str, list[Point]] = {}
    for measured in run.of_class("attestation"):
        threads = _threads(measured)
        for column in measured.columns:
            if last := tuple(_told(measured, column.configuration))[-1:]:
                found.setdefault(column.configuration.title, []).append(
                    Point(x=threads, y=last[0].y, deviation=last[0].deviation)
                )
    return Plot(
        caption="When the last of T was answered",
        x_label="T at once",
        y_label="ms",
        lines=tuple(Line(name=name, points=tuple(points)) for name, points in found.items()),
        x_log=True,
        y_log=True,
    )


def _ten(run: Run) -> Table:
    measured = run.workload(told.at_once(_TEN))
    there = tuple(each for each in _COLUMNS if _column(measured, each))
    rows = [_position_row(run, measured, there, index) for index in range(_TEN)] if measured else []
    return Table(
        caption="Ten at once: the median of each position's time",
        head=("position", *(each.title for each in there), "broker at most", "paper"),
        rows=tuple(rows),
    )


def _position_row(run: Run, measured: Measured, there: tuple[Configuration, ...], index: int) -> tuple[Cell, ...]:
    return (
        Cell(text=str(index + 1)),
        *(_time(run, measured, each, index) for each in there),
        Cell(text=duration(told.MOST_SECONDS)),
        Cell(text=f"{told.FIGURE_11[index]} ms (F)"),
    )


def _time(run: Run, measured: Measured, which: Configuration, index: int) -> Cell:
    column = _column(measured, which)
    if column is None:
        return Cell(text="")
    if why := reasons(measured, column, index):
        return Cell(text=NO_FIGURE, note="; ".join(why))
    found = column_summary(measured, column, index)
    bounded = which == told.BROKER and is_serial(run.workload(told.at_once(_TEN))) is True
    return Cell(
        text=duration(found.median),
        note=f"mean {duration(found.mean)} ± {duration(found.deviation)}",
        holds=found.median <= told.MOST_SECONDS if bounded else None,
    )


def reasons(measured: Measured, column: Column, index: int) -> tuple[str, ...]:
    """Say why a time of this workload is not to be told, if it is not."""
    load = (f"{UNDER_LOAD}: {measured.others:.2f} cores",) if measured.others > MOST_OTHERS else ()
    return (*load, *unsound(column, measured.steps[index], index))


def serial_fit(measured: Measured, which: Configuration) -> Fit | None:
    """Return the line through the medians of the positions; None where there are too few to say."""
    points = [(point.x, point.y / 1000) for point in _points(measured, which)]
    return line(points) if len(points) >= _LEAST_POINTS else None


def is_serial(measured: Measured | None) -> bool | None:
    """Return whether the stand-in answered one at a time in 4.4 ms; None where that cannot be told."""
    column = _column(measured, told.DIRECT)
    if measured is None or column is None or reasons(measured, column, 0):
        return None
    fit = serial_fit(measured, told.DIRECT)
    if fit is None:
        return None
    least, most = told.SLOPE_SECONDS
    return least <= fit.slope <= most and fit.r_squared > told.LEAST_R_SQUARED


def _serial(run: Run) -> Table:
    found = [
        _serial_row(measured, which)
        for measured in run.of_class("attestation")
        for which in (told.DIRECT, told.REAL_DEVICE)
        if measured.column(which.name)
    ]
    return Table(
        caption="One at a time: what each further position adds. Of the stand-in 4.4 ± 0.1 ms, r² over 0.99",
        head=("workload", "device", "a position", "r²"),
        rows=tuple(row for row in found if row),
    )


def _serial_row(measured: Measured, which: Configuration) -> tuple[Cell, ...]:
    head = (Cell(text=measured.title), Cell(text=which.title))
    column = _column(measured, which)
    if column is None:
        absent = measured.column(which.name)
        return (*head, Cell(text=NOT_MEASURED, note=absent.empty if absent else ""), Cell(text=""))
    fit = serial_fit(measured, which)
    if fit is None:
        return ()
    note = "; ".join(reasons(measured, column, 0))
    proven = is_serial(measured) if which == told.DIRECT else None
    if proven is False:
        note = "this is not the device that it stands for: nothing is judged by it"
    slope = Cell(text=f"{fit.slope * 1000:.3f} ms", note=note, holds=proven or None)
    return (*head, slope, Cell(text=f"{fit.r_squared:.5f}"))


def _calls(run: Run) -> Table:
    rows = []
    for measured in run.of_class("attestation"):
        for column in measured.columns:
            if column.samples:
                most, more = device_calls(column), sum(sample[0].value > told.MOST_CALLS for sample in column.samples)
                bounded = column.configuration == told.BROKER
                rows.append(
                    (
                        Cell(text=measured.title),
                        Cell(text=column.configuration.title),
                        Cell(
                            text=str(most),
                            note=f"in {more} of {len(column.samples)} barriers" if bounded and more else "",
                            holds=most <= told.MOST_CALLS if bounded else None,
                        ),
                    )
                )
    return Table(
        caption="Calls of the device for one barrier, the most of all rounds; through the broker at most 2",
        head=("workload", "asked", "calls"),
        rows=tuple(rows),
    )


def device_calls(column: Column) -> int:
    """Return the most calls of the device that any barrier took."""
    return max(int(sample[0].value) for sample in column.samples)


def _points(measured: Measured | None, which: Configuration) -> Iterator[Point]:
    column = _column(measured, which)
    if measured is None or column is None:
        return
    for index, place in enumerate(places(_threads(measured))):
        found = column_summary(measured, column, index)
        yield Point(x=place, y=found.median * 1000, deviation=found.deviation * 1000)


def _told(measured: Measured | None, which: Configuration) -> tuple[Point, ...]:
    """Return the points of a line; none where one of them is not to be told."""
    column = _column(measured, which)
    if measured is None or column is None:
        return ()
    if any(reasons(measured, column, index) for index in range(len(measured.steps))):
        return ()
    return tuple(_points(measured, which))


def _threads(measured: Measured) -> int:
    return int(measured.name.rpartition("-")[2])


def _column(measured: Measured | None, which: Configuration) -> Column | None:
    column = measured.column(which.name) if measured else None
    return column if column and column.samples else None
