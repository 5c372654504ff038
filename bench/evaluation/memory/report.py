"""What the report says of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench.evaluation.chapter import (
    Bar,
    Bars,
    Cell,
    Chapter,
    Line,
    Plot,
    Point,
    Table,
    across_cell,
    across_table,
    ratio_table,
    seconds_table,
    told,
    told_cell,
)
from bench.evaluation.judge import MOST_OTHERS, column_summary, unsound
from bench.evaluation.runs import Run, Runs
from bench.evaluation.standard import OVER_PAPERS, PAPER, WASM

SQLITE: Final = "memory/sqlite"

# Figure 9 of the paper, printed there: throughput of the component, native as 1, outside SEV-SNP.
FIGURE_9: Final = {"insert": 0.48, "point reads": 0.51, "full scans": 0.68}
# What follows from that figure as times: each layer, for the three steps.
_LAYERS: Final = (
    ("component over native, outside SEV-SNP", ("2.08", "1.96", "1.47")),
    ("native in SEV-SNP over outside", ("1.03", "1.03", "1.00")),
    ("component in SEV-SNP over outside", ("1.00", "1.06", "1.00")),
    ("component in SEV-SNP over native outside", ("2.08", "2.08", "1.47")),
)
# Figure 10 of the paper, read off by eye: nanoseconds an element by bytes, natively and in the component.
FIGURE_10: Final = {
    1 << 10: (0.10, 0.22),
    1 << 12: (0.05, 0.10),
    1 << 15: (0.16, 0.55),
    1 << 18: (0.45, 1.5),
    1 << 21: (1.1, 4.4),
    1 << 23: (2.5, 14),
    1 << 24: (3.5, 34),
    1 << 27: (8.3, 92),
    1 << 28: (4.2, 45),
}
_WALKERS: Final = (("clang-v3", "native, clang x86-64-v3"), ("gcc", "native, gcc x86-64"), ("wasm", "bare wasmtime"))


def chapter(runs: Runs) -> Chapter:
    """Return the class's part of the report."""
    first = runs.each[0]
    return Chapter(
        title="Memory",
        paragraphs=(
            "SQLite with its database in memory, asked by text for every request: rows inserted in one transaction, "
            "single rows read 97 apart, whole tables read. As a component it is asked by another one, so that each "
            "request crosses. Then two diagnostics: the four kernels of STREAM, and a walk along a list of nodes of 16 "
            "bytes in random order.",
        ),
        parts=(
            _throughput(first),
            _layers(runs),
            _walks(first),
            ratio_table(runs, "memory", "All ratios"),
            *across_table(runs, "memory"),
            *(seconds_table(run, "memory", f"Times of one unit of work ({run.label})") for run in runs.each),
        ),
        conclusions=(
            "SQLite as a component takes about twice the time of native SQLite. What of it the paper's own build did "
            "otherwise cannot be told: neither its table, its version nor its settings are stated.",
            "Reading memory in order costs what it costs natively, or little more.",
            "The walk's ratio falls to 1 as soon as memory is what is waited for. The paper's figure 10 has 0.05 to "
            "0.16 ns for a load that depends on the one before, in caches whose latency is a nanosecond or more, and "
            "4 to 8 ns from DRAM: no processor does that, and from figures like these no ratio follows. The walk "
            "here uses its result, and a ratio is refused where a node takes less than 1 ns.",
        ),
    )


def _throughput(run: Run) -> Bars:
    here = tuple(_relative(run, step) for step in FIGURE_9)
    return Bars(
        caption="SQLite as a component: throughput, native as the paper's being 1",
        y_label="throughput, native = 1",
        groups=tuple(FIGURE_9),
        series=(
            ("here, bare wasmtime", here),
            ("paper, figure 9 (P)", tuple(Bar(height=each) for each in FIGURE_9.values())),
        ),
    )


def _layers(runs: Runs) -> Table:
    """The layers on SQLite, beside what follows from figure 9."""
    rows = []
    for place, step in enumerate(FIGURE_9):
        cells = (
            told_cell(told(runs.plain, SQLITE, OVER_PAPERS, step)),
            across_cell(runs, SQLITE, step, of=PAPER, over=PAPER),
            across_cell(runs, SQLITE, step, of=(WASM.name,), over=(WASM.name,)),
            across_cell(runs, SQLITE, step, of=(WASM.name,), over=PAPER),
        )
        for (layer, paper), cell in zip(_LAYERS, cells, strict=True):
            rows.append((Cell(text=f"{step}: {layer}"), cell, Cell(text=f"{paper[place]} (P)")))
    return Table(
        caption="The layers on SQLite, as times, beside figure 9 of the paper",
        head=("layers", "here", "paper"),
        rows=tuple(rows),
    )


def _relative(run: Run, step: str) -> Bar | None:
    verdict = told(run, SQLITE, OVER_PAPERS, step)
    if verdict is None or verdict.figure is None:
        return None
    height = 1 / verdict.figure.mean
    return Bar(height=height, deviation=height * verdict.figure.deviation / verdict.figure.mean)


def _walks(run: Run) -> Plot:
    lines = [Line(name=title, points=tuple(_points(run, name))) for name, title in _WALKERS]
    lines += [
        Line(name=f"paper, {who} (F)", points=tuple(Point(x=x, y=y[at]) for x, y in FIGURE_10.items()), dashed=True)
        for at, who in enumerate(("native", "component"))
    ]
    return Plot(
        caption="One step along a list, by its size",
        x_label="bytes",
        y_label="ns a node",
        lines=tuple(line for line in lines if line.points),
        x_log=True,
        y_log=True,
    )


def _points(run: Run, configuration: str) -> Iterator[Point]:
    for measured in run.of_class("memory"):
        column = measured.column(configuration)
        if not measured.name.startswith("memory/list-") or column is None or not column.samples:
            continue
        if unsound(column, measured.steps[0], 0) or measured.others > MOST_OTHERS:
            continue
        found, units = column_summary(measured, column, 0), measured.steps[0].units
        size = int(measured.name.rpartition("-")[2])
        yield Point(x=size, y=found.median / units * 1e9, deviation=found.deviation / units * 1e9)
