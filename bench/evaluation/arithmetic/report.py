"""What the report says of arithmetic."""

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
from bench.evaluation.runs import Run, Runs
from bench.evaluation.standard import OVER_BEST, OVER_FAST, OVER_PAPERS, PAPER, WASM
from bench.evaluation.whole import OVER_BARE, SETTINGS

# Figure 5 of the paper, printed there: a component over native, both inside SEV-SNP.
FIGURE_5: Final = {32: 1.69, 64: 1.29, 128: 1.31, 256: 1.11, 512: 1.05, 1024: 1.03}
_MODES: Final = (
    ("all in one component", "fused", "fused"),
    ("one crossing a run", "crossing", "one crossing a run"),
    ("one crossing a product", "crossing", "one crossing a product"),
)
_KERNELS: Final = ("streaming", "group-by", "sort", "graph", "dense", "chase-l1", "chase-l2", "chase-l3", "chase-dram")
_LAYERS: Final = (
    ("component over native, outside SEV-SNP", "5.36 ± 0.19 % (P)"),
    ("component in SEV-SNP over component outside", "0.77 ± 0.16 % (P)"),
    ("component in SEV-SNP over native outside", "6.18 ± 0.20 % (P)"),
)


def chapter(runs: Runs) -> Chapter:
    """Return the class's part of the report."""
    first = runs.each[0]
    return Chapter(
        title="Arithmetic",
        paragraphs=(
            "A square matrix times a vector of f64, each product the next one's vector, in strict floating point: in "
            "one component; with the matrix crossing to another component once a run, as in the paper; and with the "
            "vector crossing at every product. Below it, the kernels that this project has bounds for.",
        ),
        parts=(
            _by_size(first),
            _layers(runs),
            _kernels(first),
            ratio_table(runs, "arithmetic", "All ratios"),
            *across_table(runs, "arithmetic"),
            *(seconds_table(run, "arithmetic", f"Times of one unit of work ({run.label})") for run in runs.each),
        ),
        conclusions=(
            "Over strict native code the bare engine costs little where native code waits for each addition, and more "
            "on small matrices, where there is less to wait for. That holds with nothing crossing too, so transfer is "
            "not what makes small matrices dear, as the paper has it.",
            "A sum in strict order is slow natively. Who may reorder it gets several times the speed from the same "
            "source, which a component that keeps to its source's order does not.",
            "A worker's engine makes every NaN canonical, so that results do not tell of the machine. On serial sums "
            "that costs far more than all walls of the runtime together; the row of the engine's settings has it.",
            "The paper's 5.36 % is of one size, one compiler and one machine.",
        ),
    )


def _by_size(run: Run) -> Plot:
    lines = [Line(name=name, points=tuple(_points(run, kind, step))) for name, kind, step in _MODES]
    paper = tuple(Point(x=n, y=ratio) for n, ratio in FIGURE_5.items())
    return Plot(
        caption="A component over native as the paper's, by the size of the matrix",
        x_label="n of n x n",
        y_label="times native",
        lines=(*(line for line in lines if line.points), Line(name="paper, figure 5 (P)", points=paper, dashed=True)),
        x_log=True,
    )


def _points(run: Run, kind: str, step: str) -> Iterator[Point]:
    for n in FIGURE_5:
        verdict = told(run, f"arithmetic/product-{n}-{kind}", OVER_PAPERS, step)
        if verdict and verdict.figure:
            yield Point(x=n, y=verdict.figure.mean, deviation=verdict.figure.deviation)


def _layers(runs: Runs) -> Table:
    """Table 1 of the paper beside what was measured."""
    name, step = "arithmetic/product-512-crossing", "one crossing a run"
    cells = (
        told_cell(told(runs.plain, name, OVER_PAPERS, step)),
        across_cell(runs, name, step, of=(WASM.name,), over=(WASM.name,)),
        across_cell(runs, name, step, of=(WASM.name,), over=PAPER),
    )
    return Table(
        caption="The layers at 512 x 512, beside table 1 of the paper",
        head=("layers", "here", "paper"),
        rows=tuple(
            (Cell(text=layer), cell, Cell(text=paper)) for (layer, paper), cell in zip(_LAYERS, cells, strict=True)
        ),
    )


def _kernels(run: Run) -> Bars:
    found = {
        "bare engine over best strict native": [_bar(run, name, OVER_BEST, _step(run, name)) for name in _KERNELS],
        "bare engine over fast-math native": [_bar(run, name, OVER_FAST, _step(run, name)) for name in _KERNELS],
        "engine's settings": [_bar(run, f"{name}-whole", SETTINGS, "run") for name in _KERNELS],
        "whole runtime over bare engine": [_bar(run, f"{name}-whole", OVER_BARE, "run") for name in _KERNELS],
    }
    return Bars(
        caption="The kernels that have bounds: what each layer multiplies the time by",
        y_label="times",
        groups=_KERNELS,
        series=tuple((name, tuple(bars)) for name, bars in found.items()),
    )


def _step(run: Run, name: str) -> str:
    measured = run.workload(f"arithmetic/{name}")
    return measured.steps[0].name if measured else ""


def _bar(run: Run, name: str, comparison: str, step: str) -> Bar | None:
    verdict = told(run, f"arithmetic/{name}", comparison, step)
    if verdict is None or verdict.figure is None:
        return None
    return Bar(height=verdict.figure.mean, deviation=verdict.figure.deviation)
